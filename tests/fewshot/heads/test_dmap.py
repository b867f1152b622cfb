"""DMAP's own: which foreground is kept, and the repairs."""

import numpy as np
import pytest
import torch

from medfs.errors import UsageError
from medfs.fewshot.heads import DMAPHead

SIZE = (8, 8)


def head(**options):
    """Reductions that pass the two channels through, thresholds 0."""
    built = DMAPHead((2, 2), channels=2, hidden=4, **options)
    with torch.no_grad():
        for reduction in built.reduce:
            reduction.weight.copy_(torch.eye(2)[..., None])
        for scalar in built.thresholds.scalars:
            scalar.weight.zero_()
            scalar.bias.zero_()
    return built


def directions(degrees):
    """Features (1, 1, 2, *S) of unit length by angle."""
    angle = torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float32)).expand(SIZE)
    return torch.stack([angle.cos(), angle.sin()])[None, None]


def two_tissues(share_of_odd):
    """Foreground everywhere; the first rows point 60 degrees away from the rest."""
    degrees = torch.zeros(SIZE)
    degrees[: round(share_of_odd * SIZE[0])] = 60
    features = directions(degrees)
    return (features, features[..., ::2, ::2]), torch.ones(1, 1, *SIZE, dtype=torch.bool)


def test_only_foreground_that_resembles_its_mean_is_averaged():
    support, mask = two_tissues(0.25)
    (prototype,) = head().extract(support, mask)
    # By hand: the mean points at atan2(.25 sin 60, .75 + .25 cos 60) = 13.9 degrees; acos(.9) is 25.8, below 60 - 13.9
    torch.testing.assert_close(prototype.foreground[0, 0], torch.tensor([1.0, 0.0]))
    assert prototype.side["kept"].item() == 0.75


def test_without_filter_the_mean_is_kept():
    support, mask = two_tissues(0.25)
    (prototype,) = head(filter="none").extract(support, mask)
    expected = 0.25 * np.array([0.5, np.sqrt(0.75)]) + 0.75 * np.array([1.0, 0.0])
    np.testing.assert_allclose(prototype.foreground[0, 0].detach(), expected, rtol=1e-5)


def test_where_nothing_is_similar_enough_all_is_kept():
    support, mask = two_tissues(0.5)
    (prototype,) = head(tau=0.99).extract(support, mask)  # the mean lies 30 degrees from both, cosine 0.866
    assert prototype.side["kept"].item() == 1
    assert prototype.foreground.norm() > 0


def test_equal_features_give_their_own_value():
    mask = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    mask[..., 2:4, 3:6] = True
    (prototype,) = head().extract((directions(40.0), directions(40.0)), mask)
    torch.testing.assert_close(prototype.foreground[0, 0], directions(40.0)[0, 0, :, 0, 0])


def test_the_second_level_counts_by_its_weight_only():
    support, mask = two_tissues(0.25)
    query = tuple(stage[:, 0] for stage in support)
    other = (query[0], torch.randn(1, 2, *SIZE))
    same, mixed = head(), head(level_weights=(0.5, 0.5))
    results = [
        h.match(q, support, mask, h.extract(support, mask)).logits for h in (same, mixed) for q in (query, other)
    ]
    assert torch.equal(results[0], results[1])
    assert not torch.allclose(results[2], results[3])


def test_every_shot_counts_the_same_however_large_its_organ():
    features = torch.cat([directions(0.0), directions(90.0)], dim=1)
    mask = torch.zeros(1, 2, *SIZE, dtype=torch.bool)
    mask[:, 0] = True
    mask[:, 1, :2, :2] = True
    (prototype,) = head(filter="none").extract((features, features), mask)
    torch.testing.assert_close(prototype.foreground[0, 0], torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("pool", ["image", "feature"])
def test_the_learned_filter_has_a_gradient_and_a_hard_gate_in_evaluation(pool):
    support, mask = two_tissues(0.25)
    query = tuple(stage[:, 0] for stage in support)
    learned = head(filter="learned", pool=pool).train()
    learned.match(query, support, mask, learned.extract(support, mask)).logits[:, 1].mean().backward()
    of_filter = learned.thresholds.scalars[1]
    assert of_filter.bias.grad.abs() > 0
    assert of_filter.weight.grad.abs().max() > 0
    with torch.no_grad():
        of_filter.bias.fill_(np.log(9))  # the threshold becomes the published 0.9
        hard = learned.eval().match(query, support, mask, learned.extract(support, mask))
        published = head(pool=pool)
        expected = published.match(query, support, mask, published.extract(support, mask))
    torch.testing.assert_close(hard.logits, expected.logits)
    assert hard.side["kept"].item() == 0.75


def test_the_threshold_of_the_filter_listens_to_support_and_query():
    support, _ = two_tissues(0.25)
    learned = head(filter="learned").eval()
    with torch.no_grad():
        learned.thresholds.shared.weight.fill_(0.5)
        learned.thresholds.scalars[1].weight.fill_(1.0)
    first = learned._tau((support[0][:, 0], directions(0.0)[:, 0]), support)
    assert learned._tau((support[0][:, 0], directions(180.0)[:, 0]), support) != first
    assert learned._tau((support[0][:, 0], directions(0.0)[:, 0]), (support[0], directions(180.0))) != first


def test_pooling_on_the_feature_grid_keeps_a_tiny_organ():
    features = torch.randn(1, 1, 2, 4, 4)
    mask = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    mask[0, 0, 5, 5] = True
    (prototype,) = head(pool="feature").extract((features, features), mask)
    torch.testing.assert_close(prototype.foreground[0, 0], features[0, 0, :, 2, 2])


def test_what_the_head_cannot_do_is_said():
    with pytest.raises(UsageError, match="expected none, fixed or learned"):
        DMAPHead(filter="soft")
    with pytest.raises(UsageError, match="not both weights 0"):
        DMAPHead(level_weights=(0, 0))
