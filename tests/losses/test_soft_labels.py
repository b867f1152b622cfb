"""Cross-entropy and Dice with soft labels."""

import pytest
import torch
from monai.losses import DiceLoss

from medfs.losses import SoftLabelLoss


@pytest.fixture(params=[(5, 6), (3, 4, 5)])
def case(request):
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn((2, 4, *request.param), generator=generator) for _ in range(2)]
    return draws[0], draws[1].softmax(1)


def test_it_is_the_weighted_sum_of_torch_and_monai(case):
    logits, probability = case
    dice = DiceLoss(softmax=True, squared_pred=True, batch=True)(logits, probability)
    entropy = -(probability * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(SoftLabelLoss(0.5, 2.0)(logits, probability), 0.5 * entropy + 2 * dice)


def test_it_is_stationary_where_prediction_and_label_are_equal(case):
    logits = case[0].double().requires_grad_()
    SoftLabelLoss()(logits, logits.detach().softmax(1)).backward()
    assert logits.grad.abs().max() < 1e-6


def test_hard_labels_give_the_cross_entropy_of_torch(case):
    logits, probability = case
    label = probability.argmax(1)
    hard = torch.nn.functional.one_hot(label, 4).movedim(-1, 1).float()
    expected = torch.nn.functional.cross_entropy(logits, label)
    torch.testing.assert_close(SoftLabelLoss(dice_weight=0)(logits, hard), expected)
