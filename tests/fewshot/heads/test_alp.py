"""SSL-ALPNet's own: which windows are prototypes, how they vote, its loss."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medfs.errors import UsageError
from medfs.fewshot.heads import ALPHead
from medfs.losses import IGNORED, alignment_loss
from medfs.types import Prediction

GRID = (8, 8)


def head(**options):
    """A reduction that passes the two channels through."""
    built = ALPHead((2, 2), channels=2, **options)
    with torch.no_grad():
        built.reduce.weight.copy_(torch.eye(2)[..., None])
    return built


def episode(size=GRID, shots=1, seed=0):
    """Random features on the grid of the mask, whose foreground fills one window of 4 places and a bit."""
    random = torch.Generator().manual_seed(seed)
    support = (torch.randn(1, shots, 2, *size, generator=random),)
    mask = torch.zeros(1, shots, *size, dtype=torch.bool)
    mask[(..., *[slice(0, 5)] * len(size))] = True
    return (torch.randn(1, 2, *size, generator=random),), support, mask


def valid_prototypes(prototypes):
    (each,) = prototypes
    return each.foreground[each.side["foreground_valid"]], each.background[each.side["background_valid"]]


def scores(built, query, support, mask):
    with torch.no_grad():
        return built.match(query, support, mask, built.extract(support, mask)).logits


def test_prototypes_are_the_means_of_full_windows_and_of_the_foreground():
    _, support, mask = episode()
    picture, organ = support[0][0, 0].numpy(), mask[0, 0].numpy()
    windows = [(slice(r, r + 4), slice(c, c + 4)) for r in (0, 4) for c in (0, 4)]
    full = [picture[:, r, c].mean(axis=(1, 2)) for r, c in windows if organ[r, c].all()]
    assert all(organ[r, c].any() for r, c in windows)  # no window is background: the mean stands in
    foreground, background = valid_prototypes(head().train().extract(support, mask))
    expected = [picture[:, organ].mean(axis=1), *full]
    np.testing.assert_allclose(foreground.detach(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(background.detach(), [picture[:, ~organ].mean(axis=1)], rtol=1e-5, atol=1e-6)


def test_evaluation_has_smaller_windows():
    _, support, mask = episode()
    foreground, background = valid_prototypes(head().eval().extract(support, mask))
    assert len(foreground) == 1 + 2 * 2
    assert len(background) == 16 - 3 * 3
    assert len(valid_prototypes(head(test_window=(1, 2)).eval().extract(support, mask))[0]) == 1 + 5 * 2


def test_foreground_that_fills_no_window_of_training_is_its_mean_alone():
    _, support, mask = episode()
    mask[..., 3:, :] = False
    foreground, _ = valid_prototypes(head().eval().extract(support, mask))  # though it fills a window of 2
    assert len(foreground) == 1
    foreground, _ = valid_prototypes(head(foreground="grid").eval().extract(support, mask))
    assert len(foreground) == 1


def test_a_score_is_the_softmax_weighted_mean_of_scaled_cosines():
    query, support, mask = episode()
    built = head().eval()
    (prototypes,) = built.extract(support, mask)
    found, _ = valid_prototypes((prototypes,))
    cosine = F.cosine_similarity(query[0][0, :, 2, 3][None].double(), found.double()) * 20
    expected = (cosine.softmax(0) * cosine).sum().item()
    assert scores(built, query, support, mask)[0, 1, 2, 3].item() == pytest.approx(expected, rel=1e-5)


def test_an_empty_mask_scores_foreground_0():
    query, support, mask = episode()
    result = scores(head().eval(), query, support, torch.zeros_like(mask))
    assert (result[:, 1] == 0).all()
    assert torch.isfinite(result).all()


def test_shots_share_one_bank():
    query, support, mask = episode(shots=2)
    each = [tuple(stage[:, k : k + 1] for stage in support) for k in (0, 1)]
    built = head(foreground="grid").eval()
    both, _ = valid_prototypes(built.extract(support, mask))
    one_by_one = [valid_prototypes(built.extract(shot, mask[:, :1]))[0] for shot in each]
    torch.testing.assert_close(both, torch.cat(one_by_one))
    twice = tuple(stage[:, :1].repeat(1, 2, 1, 1, 1) for stage in support)
    torch.testing.assert_close(scores(built, query, twice, mask), scores(built, query, each[0], mask[:, :1]))


def test_volumes_have_windows_of_every_axis_and_no_more_than_asked_for():
    query, support, mask = episode((8, 8, 8))
    foreground, background = valid_prototypes(head(test_window=(1, 2, 2)).eval().extract(support, mask))
    assert len(foreground) == 1 + 5 * 2 * 2
    bounded = head(test_window=(1, 2, 2), max_prototypes=10).eval()
    foreground, background = valid_prototypes(bounded.extract(support, mask))
    assert (len(foreground), len(background)) == (11, 10)
    assert scores(bounded, query, support, mask).shape == (1, 2, 8, 8, 8)


def test_a_small_organ_is_lost_between_places_but_not_by_area():
    features = (torch.randn(1, 1, 2, 4, 4),)
    mask = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    mask[..., 14:17, 14:17] = True
    (linear,), (area,) = (head(mask_reduction=how).extract(features, mask) for how in ("linear", "area"))
    assert (linear.foreground[:, 0] == 0).all()
    assert (area.foreground[:, 0] != 0).all()


def test_alignment_takes_what_was_found_on_the_grid_of_the_features():
    query, support, mask = episode()
    mask = mask.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    built = head()
    prediction = built.match(query, support, mask, built.extract(support, mask))
    assert prediction.logits.shape[2:] == (16, 16)
    assert prediction.found.shape[1:] == GRID
    assert torch.isfinite(alignment_loss(built, prediction, query, support, mask))


def test_the_loss_is_weighted_cross_entropy_even_where_probabilities_vanish():
    logits = torch.tensor([[[20.0, 20.0, 1.0, 7.0], [-20.0, 15.0, 2.0, 0.0]]], requires_grad=True)
    target = torch.tensor([[1, 0, 1, IGNORED]])
    expected = F.cross_entropy(logits, target, torch.tensor([0.05, 1.0]), ignore_index=IGNORED)
    loss = head().loss(Prediction(logits), target)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad[0, 1, 0] == pytest.approx(-1 / 2.05)
    assert math.isclose(head().loss(Prediction(logits), torch.full((1, 4), IGNORED)).item(), 0)


def test_what_the_head_cannot_do_is_said():
    with pytest.raises(UsageError, match=r"expected mask, grid or grid\+"):
        ALPHead(foreground="gridconv")
    with pytest.raises(UsageError, match="expected linear or area"):
        ALPHead(mask_reduction="nearest")
    with pytest.raises(UsageError, match=r"windows of \(1, 2, 2\) places for features of 2 axes"):
        ALPHead((2, 2), test_window=(1, 2, 2)).eval().extract(*episode()[1:])
