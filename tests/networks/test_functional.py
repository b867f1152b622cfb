"""Means, similarities and masks of the few-shot heads."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medfs.networks.functional import (
    cosine_map,
    foreground_of_shots,
    mask_on_grid,
    mean_of_shots,
    resize,
    threshold_decision,
    values_under,
)


def test_the_cosine_is_torchs_at_every_place_and_for_every_prototype():
    features, prototypes = torch.randn(2, 5, 3, 4, 2), torch.randn(2, 6, 5)
    expected = F.cosine_similarity(features[:, None], prototypes[..., None, None, None], dim=2)
    torch.testing.assert_close(cosine_map(features, prototypes), expected)


def test_a_zero_vector_is_similar_to_nothing_and_has_a_finite_gradient():
    features = torch.zeros(1, 3, 2, 2, requires_grad=True)
    prototype = torch.zeros(1, 1, 3, requires_grad=True)
    cosine = cosine_map(features, prototype)
    cosine.sum().backward()
    assert (cosine == 0).all()
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(prototype.grad).all()


def test_half_precision_knows_zero_vectors_and_places():
    mask = torch.ones(1, 300, 4, dtype=torch.bool)
    features = torch.linspace(0, 1, 300, dtype=torch.float16)[None, None, :, None].expand(1, 1, 300, 4)
    assert (cosine_map(torch.zeros(1, 3, 2, 2).half(), torch.zeros(1, 1, 3).half()) == 0).all()
    torch.testing.assert_close(values_under(features, mask)[0][0, 0].view(300, 4), features[0, 0].float())


def test_masks_on_a_coarse_grid_hold_places_that_are_half_covered():
    mask = torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(0)) > 0.5
    blocks = mask.numpy().reshape(3, 4, 2, 6, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(mask_on_grid(mask, (4, 6)).numpy(), blocks >= 0.5)


def test_an_object_smaller_than_a_place_stays_and_nothing_stays_nothing():
    mask = torch.zeros(2, 8, 8, 8, dtype=torch.bool)
    mask[0, 1, 2, 3] = True
    coarse = mask_on_grid(mask, (2, 2, 2))
    assert coarse[0].nonzero().tolist() == [[0, 0, 0]]
    assert not coarse[1].any()


@pytest.mark.parametrize(
    ("small", "large"), [((4, 5), (13, 20)), ((3, 4, 2), (9, 8, 7)), ((3, 3), (3, 3)), ((2, 1), (5, 1))]
)
@pytest.mark.parametrize("align_corners", [True, False])
def test_values_under_a_mask_are_those_of_the_resized_features(small, large, align_corners):
    features = torch.randn(3, 6, *small)
    mask = torch.rand(3, *large, generator=torch.Generator().manual_seed(1)) > 0.6
    mask[1] = False
    values, valid = values_under(features, mask, align_corners=align_corners)
    everywhere = resize(features, large, align_corners=align_corners)
    for item in range(3):
        torch.testing.assert_close(values[item][:, valid[item]], everywhere[item][:, mask[item]], rtol=1e-4, atol=1e-5)
    assert not valid[1].any()


def test_resizing_keeps_the_corners():
    image = torch.randn(1, 2, 3, 4)
    large = resize(image, (9, 16))
    torch.testing.assert_close(large[..., [0, -1], :][..., [0, -1]], image[..., [0, -1], :][..., [0, -1]])
    assert resize(image, (3, 4)) is image


@pytest.mark.parametrize("pool", ["image", "feature"])
def test_the_mean_of_shots_counts_each_once_and_empty_ones_not(pool):
    features, mask = torch.randn(2 * 3, 5, 4, 6), torch.zeros(2, 3, 8, 12, dtype=torch.bool)
    mask[0, 0, 2:6, 4:8] = mask[0, 2, :2] = True
    mean = mean_of_shots(*foreground_of_shots(features, mask, pool))
    on_grid = resize(features, (8, 12)) if pool == "image" else features
    at = mask[0] if pool == "image" else mask[0, :, ::2, ::2]
    expected = (on_grid[0][:, at[0]].mean(dim=1) + on_grid[2][:, at[2]].mean(dim=1)) / 2
    torch.testing.assert_close(mean[0], expected)
    assert (mean[1] == 0).all()


def test_the_decision_is_one_half_where_the_scaled_cosine_meets_the_threshold():
    angle = torch.deg2rad(torch.tensor([[0.0, 60.0], [45.0, 180.0]]))
    features = torch.stack([angle.cos(), angle.sin()])[None].expand(2, -1, -1, -1)
    prototype = torch.tensor([[[3.0, 0.0]]]).expand(2, -1, -1)
    probability = threshold_decision(features, prototype, torch.tensor([[-10.0], [20.0]]))
    assert probability.shape == (2, 1, 2, 2)
    # by hand, 1 / (1 + exp(-(20 cos - 10) / 2)) and 1 / (1 + exp(-(20 cos + 20) / 2))
    torch.testing.assert_close(probability[0, 0, 0], torch.tensor([1 / (1 + np.exp(-5.0)), 0.5]).float())
    torch.testing.assert_close(probability[1, 0, 1, 1], torch.tensor(0.5))
