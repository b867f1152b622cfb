"""The anchor transformation in rank 2 is what its matrix of C x C does."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from medfs.networks.anchor_space import anchor_coordinates, dual_directions, prototype_weights, unit_anchors


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def transformed(features, prototypes, anchors):
    """By the matrix, in double precision, (C, n)."""
    rows = prototypes.double().numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    matrix = np.linalg.pinv(rows) @ unit_anchors(anchors.double()).double().numpy()
    return matrix.T @ features.double().numpy()


@given(st.integers(0, 1000), st.floats(0.02, 1))
def test_the_dual_directions_are_the_pseudo_inverse(seed, apart):
    first = random(16, seed=seed)
    pair = torch.stack([first, first + apart * random(16, seed=seed + 1)])
    unit = torch.nn.functional.normalize(pair.double(), dim=1)
    expected = np.linalg.pinv(unit.numpy()).T
    np.testing.assert_allclose(dual_directions(pair[None])[0], expected, rtol=0, atol=1e-3 * abs(expected).max())


def test_equal_prototypes_share_what_lies_along_them():
    pair = random(1, 1, 8).expand(1, 2, 8)
    expected = np.linalg.pinv(torch.nn.functional.normalize(pair[0].double(), dim=1).numpy()).T
    np.testing.assert_allclose(dual_directions(pair)[0], expected, atol=1e-6)


def test_a_zero_prototype_has_no_part():
    pair = torch.stack([random(8), torch.zeros(8)])
    dual = dual_directions(pair[None])[0]
    torch.testing.assert_close(dual[0], pair[0] / pair[0].norm())
    assert not dual[1].any()


def test_coordinates_keep_lengths_and_angles_of_the_transformed_features():
    features, prototypes, anchors = random(32, 20), random(2, 32, seed=1), random(2, 32, seed=2)
    wanted = transformed(features, prototypes, anchors)
    found = anchor_coordinates(prototype_weights(features[None], prototypes[None]), anchors)[0]
    np.testing.assert_allclose(found.T @ found, wanted.T @ wanted, rtol=1e-3, atol=1e-3)


def test_prototypes_land_on_the_anchors():
    prototypes, anchors = torch.nn.functional.normalize(random(2, 32, seed=1), dim=1), random(2, 32, seed=2)
    found = anchor_coordinates(prototype_weights(prototypes.T[None], prototypes[None]), anchors)[0]
    unit = unit_anchors(anchors)
    torch.testing.assert_close(found.T @ found, unit @ unit.T, rtol=1e-4, atol=1e-4)


def test_weights_of_the_first_anchors_agree_with_weights_of_all():
    anchors, weights = random(4, 32), random(1, 2, 6, seed=1)
    found = anchor_coordinates(weights, anchors)
    filled = anchor_coordinates(torch.cat([weights, torch.zeros_like(weights)], dim=1), anchors)
    torch.testing.assert_close(filled[:, :2], found)
    assert not filled[:, 2:].any()


def test_equal_anchors_are_one_direction():
    weights = random(1, 2, 6)
    found = anchor_coordinates(weights, random(1, 32).expand(2, 32))
    torch.testing.assert_close(found.norm(dim=1), weights.sum(dim=1).abs(), rtol=1e-2, atol=1e-2)
