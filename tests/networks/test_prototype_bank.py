"""Banks of window means, and similarity by angle and magnitude."""

import numpy as np
import pytest
import torch

from medfs.networks.prototype_bank import angle_and_magnitude, evenly_spaced, prototype_bank

ONE = torch.ones(1, 1, dtype=torch.bool)


def bank(features, mask, window=4, stride=2, counts=None, **options):
    axes = mask.ndim - 2
    counts = mask.flatten(2).any(dim=2) if counts is None else counts
    return prototype_bank(features, mask, counts, window=[window] * axes, stride=[stride] * axes, **options)


@pytest.mark.parametrize("size", [(12, 10), (8, 6, 10)])
def test_local_prototypes_are_the_masked_means_of_all_windows_that_count(size):
    random = torch.Generator().manual_seed(1)
    features = torch.randn(1, 1, 3, *size, generator=random, dtype=torch.float64)
    mask = torch.rand(1, 1, *size, generator=random) < 0.6
    found = bank(features, mask, rate=0.6)
    values, inside = features[0, 0].numpy(), mask[0, 0].numpy()
    expected = [values[:, inside].mean(axis=1)]
    for corner in np.ndindex(*[(n - 4) // 2 + 1 for n in size]):
        window = tuple(slice(2 * i, 2 * i + 4) for i in corner)
        if inside[window].sum() >= min(0.6 * 4 ** len(size), inside.sum() / 100):
            expected.append(values[(slice(None), *window)][:, inside[window]].mean(axis=1))
    assert found.valid.all()
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-9)


def test_a_picture_of_256_pixels_has_961_windows_of_16():
    features, mask = torch.zeros(1, 1, 1, 256, 256), torch.ones(1, 1, 256, 256, dtype=torch.bool)
    assert bank(features, mask, 16, 8, most=10_000).values.shape[1] == 1 + 961
    assert bank(features, mask, 16, 8).values.shape[1] == 1 + 150


def test_single_voxels_stand_in_where_no_window_holds_enough():
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[..., ::2, ::2] = True  # 1024 voxels, of which each window of 4 x 4 holds 4
    features = torch.arange(64.0**2).view(1, 1, 1, 64, 64)
    found = bank(features, mask).values[0, 1:, 0]
    assert len(found) == 100
    assert set(found.tolist()) <= set(features[mask[:, :, None]].tolist())
    assert (found.diff() > 0).all()


def test_an_absent_class_leaves_one_zero_prototype():
    mask = torch.zeros(2, 3, 8, 8, dtype=torch.bool)
    found = bank(torch.randn(2, 3, 5, 8, 8), mask, counts=torch.ones(2, 3, dtype=torch.bool))
    assert found.values.shape == (2, 1, 5)
    assert (found.values == 0).all()


def test_shots_count_alike_in_the_mean_and_those_that_do_not_count_are_left_out():
    features = torch.stack([torch.full((2, 8, 8), value) for value in (1.0, 3.0, 100.0)])[None]
    mask = torch.ones(1, 3, 8, 8, dtype=torch.bool)
    mask[:, 0, 2:] = False
    found = bank(features, mask, counts=torch.tensor([[True, True, False]]))
    assert found.values[0, 0].tolist() == [2.0, 2.0]
    assert set(found.values[0, 1:, 0].tolist()) == {1.0, 3.0}


def test_even_spacing_takes_all_there_are_or_spreads_over_them():
    wanted = torch.zeros(2, 1000, dtype=torch.bool)
    wanted[0, 100:900] = True
    wanted[1, [3, 7]] = True
    places, chosen = evenly_spaced(wanted, 40)
    assert (places[0].diff() == 20).all()
    assert places[1][chosen[1]].tolist() == [3, 7]
    assert chosen.sum(dim=1).tolist() == [40, 2]


def test_similarity_is_cosine_plus_weighted_closeness_by_hand():
    random = np.random.default_rng(2)
    places, prototypes = random.normal(size=(3, 4, 5)), random.normal(size=(6, 3))
    actual = angle_and_magnitude(torch.from_numpy(places)[None], torch.from_numpy(prototypes)[None], torch.tensor(0.7))
    for p, prototype in enumerate(prototypes):
        norms = np.linalg.norm(places, axis=0) * np.linalg.norm(prototype)
        distance = np.sqrt(np.mean((places - prototype[:, None, None]) ** 2, axis=0))
        expected = np.tensordot(prototype, places, 1) / norms + 0.7 * 2 / (1 + np.exp(3.5 * distance))
        np.testing.assert_allclose(actual[0, p], expected, rtol=1e-6)


def test_gradients_stay_finite_at_distance_zero_and_far_away():
    for value in (0.0, 1.0, 1e4):
        features = torch.tensor([value, 0.5]).view(1, 2, 1, 1).requires_grad_()
        prototypes = torch.tensor([[[value, 0.5], [0.0, 0.0]]], requires_grad=True)
        angle_and_magnitude(features, prototypes, torch.tensor(0.5)).sum().backward()
        assert torch.isfinite(features.grad).all()
        assert torch.isfinite(prototypes.grad).all()
