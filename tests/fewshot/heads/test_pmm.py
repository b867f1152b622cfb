"""PMMs and RPMMs beyond the contract: rounds, and what a mixture finds."""

import pytest
import torch
import torch.nn.functional as F

from medfs.errors import UsageError
from medfs.fewshot.heads import PMMHead
from medfs.networks.prototype_mixture import mixture_directions, mixture_probability
from medfs.types import Prediction

MASK = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
MASK[..., 4:12, 4:12] = True


def features(seed=0, channels=6):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, 8, 8, generator=random)


def test_a_mixture_finds_directions_that_are_far_apart():
    axes = torch.eye(3)
    noise = 0.05 * torch.randn(1, 90, 3, generator=torch.Generator().manual_seed(1))
    values = axes.repeat_interleave(30, dim=0)[None] + noise
    found = mixture_directions(values, F.normalize(axes + 0.4, dim=1))[0]
    expected = F.normalize(values[0].unflatten(0, (3, 30)).mean(dim=1), dim=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_zeros_count_nowhere_in_a_mixture():
    values, start = features().flatten(2).transpose(1, 2), torch.eye(6)[:2]
    padded = torch.cat([values, torch.zeros_like(values)], dim=1)
    torch.testing.assert_close(mixture_directions(padded, start), mixture_directions(values, start))


def test_the_probability_of_two_equal_mixtures_is_one_half():
    directions = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(mixture_probability(features(), directions, directions), torch.tensor(0.5))


def test_each_residual_round_has_its_loss():
    head = PMMHead((6,), 4, mixtures=(1, 3, 6)).train()
    support, query = (features(1)[:, None],), (features(2),)
    prototypes = head.extract(support, MASK)
    assert [entry.foreground.shape[1] for entry in prototypes] == [1, 3, 6]
    prediction = head.match(query, support, MASK, prototypes)
    terms = head.auxiliary(prediction, query, support, MASK, MASK[:, 0].long())
    assert list(terms) == ["round_0", "round_1"]
    (head.loss(prediction, MASK[:, 0].long()) + sum(terms.values())).backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_a_round_reads_the_one_before():
    torch.manual_seed(0)
    head = PMMHead((6,), 4, mixtures=(1, 3)).eval()
    support, query = (features(1)[:, None],), (features(2),)
    first, second = head.extract(support, MASK)
    with torch.no_grad():
        rounds = head.match(query, support, MASK, (first, second))
        other = head.match(query, support, MASK, (second, second))
    assert not torch.allclose(rounds.logits, other.logits)


def test_directions_to_begin_with_are_saved():
    assert "initial_0" in PMMHead((6,), 4).state_dict()


def test_a_mixture_needs_a_direction():
    with pytest.raises(UsageError, match="expected at least one above 0"):
        PMMHead((6,), 4, mixtures=(3, 0))


def test_the_loss_weighs_its_classes():
    target = MASK[:, 0].long()
    prediction = Prediction(torch.randn(*target.shape[:1], 2, *target.shape[1:], generator=torch.manual_seed(0)), {})
    for weights in ((1.0, 1.0), (0.1, 1.0)):
        expected = F.cross_entropy(prediction.logits, target, torch.tensor(weights))
        torch.testing.assert_close(PMMHead((6,), 4, class_weights=weights).loss(prediction, target), expected)
