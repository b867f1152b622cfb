"""ADNet's own: its prototype, its threshold and the grid of its alignment."""

import pytest
import torch

from medfs.errors import UsageError
from medfs.fewshot.heads import ADNetHead
from medfs.losses import alignment_loss

SIZE = (8, 8)


def head(**options):
    """A reduction that passes the two channels through."""
    built = ADNetHead((2, 2), channels=2, **options)
    with torch.no_grad():
        built.reduce.weight.copy_(torch.eye(2)[..., None])
    return built


def halves():
    """Features (1, 1, 2, 4, 4) of two tissues, left and right, 90 degrees apart; the left one is the foreground."""
    features = torch.zeros(1, 1, 2, 4, 4)
    features[:, :, 0, :, :2] = features[:, :, 1, :, 2:] = 3.0
    mask = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    mask[..., :4] = True
    return (torch.randn(1, 1, 2, 8, 8), features), mask


def test_what_resembles_the_mean_foreground_is_found_and_the_rest_is_not():
    support, mask = halves()
    query, built = tuple(stage[:, 0] for stage in support), head(pool="feature")
    (prototype,) = built.extract(support, mask)
    torch.testing.assert_close(prototype.foreground, torch.tensor([[[3.0, 0.0]]]))
    prediction = built.match(query, support, mask, (prototype,))
    assert torch.equal(prediction.logits.argmax(dim=1) == 1, mask[0])
    assert torch.equal(prediction.found, mask[0, :, ::2, ::2])


def test_a_lower_threshold_of_the_score_finds_less_and_costs_less():
    support, mask = halves()
    query = (support[0][:, 0], torch.randn(1, 2, 4, 4))
    shares, costs = [], []
    for threshold in (-15.0, -10.0, 5.0):
        built = head(initial_threshold=threshold)
        prediction = built.match(query, support, mask, built.extract(support, mask))
        shares.append(prediction.probability[:, 1].mean().item())
        costs.append(built.auxiliary(prediction, query, support, mask, mask[:, 0])["threshold"].item())
    assert shares == sorted(shares)
    assert costs == pytest.approx([-0.75, -0.5, 0.25])


def test_alignment_takes_what_was_found_on_the_grid_of_the_features():
    support, mask = halves()
    query, built = tuple(stage[:, 0] for stage in support), head()
    prediction = built.match(query, support, mask, built.extract(support, mask))
    roles = tuple(stage[:, None] for stage in query)
    (prototype,) = built.extract(roles, prediction.found[:, None])
    torch.testing.assert_close(prototype.foreground, torch.tensor([[[3.0, 0.0]]]))
    assert alignment_loss(built, prediction, query, support, mask) < 0.2


def test_an_unknown_pool_is_said():
    with pytest.raises(UsageError, match="expected image or feature"):
        ADNetHead(pool="slice")
