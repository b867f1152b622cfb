"""The likelihood of logits and that of probabilities."""

import pytest
import torch

from medfs.losses import IGNORED, logit_nll, probability_nll

WEIGHTS = (0.3, 1.0)


def test_logits_and_their_probabilities_have_one_likelihood():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 2, 5, 6), generator=random)
    target = torch.randint(0, 2, (2, 5, 6), generator=random)
    target[0, :2] = IGNORED
    expected = probability_nll(logits.softmax(dim=1), target, WEIGHTS)
    torch.testing.assert_close(logit_nll(logits, target, WEIGHTS), expected)
    reference = torch.nn.functional.cross_entropy(
        logits, target, torch.tensor(WEIGHTS), ignore_index=IGNORED, reduction="mean"
    )
    torch.testing.assert_close(logit_nll(logits, target, WEIGHTS), reference)


def test_nothing_counted_costs_nothing():
    assert logit_nll(torch.zeros(1, 2, 3), torch.full((1, 3), IGNORED), WEIGHTS) == 0


@pytest.mark.parametrize("height", [20.0, 300.0])
def test_a_network_that_is_sure_and_wrong_still_learns(height: float):
    logits = torch.tensor([[[height, height], [0.0, 0.0]]], requires_grad=True)
    logit_nll(logits, torch.tensor([[1, 0]]), (1.0, 1.0)).backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[[0.5, 0.0], [-0.5, 0.0]]]))
