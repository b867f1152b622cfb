"""Interpolation along the axes of a volume, against SciPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medfs.transforms import separable
from medfs.transforms.separable import AxisSamples, sample, vote

axis_grids = st.tuples(st.integers(1, 9), st.floats(-2, 6), st.floats(0.2, 4), st.integers(1, 14))


def by_scipy(volume, grids):
    """Values by scipy, and which samples lie in the field."""
    positions = [np.round(start + step * np.arange(count), 9) for _, start, step, count in grids]
    inside = np.ones([count for *_, count in grids], dtype=bool)
    for axis, (position, n) in enumerate(zip(positions, volume.shape, strict=True)):
        shape = [-1 if a == axis else 1 for a in range(volume.ndim)]
        inside &= ((position >= -0.5) & (position < n - 0.5)).reshape(shape)
    where = np.meshgrid(*positions, indexing="ij")
    return ndimage.map_coordinates(volume, where, order=1, mode="nearest") * inside, inside


@settings(max_examples=60, deadline=None)
@given(st.lists(axis_grids, min_size=1, max_size=3), st.integers(0, 5))
def test_values_are_those_of_scipy_inside_the_field_and_0_outside(grids, seed):
    volume = np.random.default_rng(seed).normal(size=[n for n, *_ in grids])
    found = sample(torch.from_numpy(volume), [AxisSamples.regular(*grid) for grid in grids], torch.float64)
    np.testing.assert_allclose(found.numpy(), by_scipy(volume, grids)[0], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(axis_grids, min_size=2, max_size=3), st.integers(0, 5))
def test_votes_are_those_of_scipy_label_by_label(grids, seed):
    labels = np.random.default_rng(seed).integers(0, 4, size=[n for n, *_ in grids])
    expected, near_half = np.zeros([count for *_, count in grids], dtype=int), False
    for value in range(4):
        share, inside = by_scipy((labels == value).astype(float), grids)
        expected[(share >= 0.5 - 1e-6) & inside] = value
        near_half |= np.abs(share - 0.5) < 1e-5
    found = vote(torch.from_numpy(labels), [AxisSamples.regular(*grid) for grid in grids]).numpy()
    np.testing.assert_array_equal(found[~near_half], expected[~near_half])
    assert np.isin(found[near_half], np.arange(4)).all()


@pytest.fixture
def volume_and_grid():
    volume = torch.from_numpy(np.random.default_rng(0).normal(size=(14, 11, 9))).float()
    return volume, [
        AxisSamples.regular(14, 0.2, 0.6, 22),
        AxisSamples.regular(11, 0, 1.7, 7),
        AxisSamples.regular(9, 0, 1, 9),
    ]


@pytest.mark.parametrize("values", [1, 200, 2**30])
def test_the_size_of_a_slab_changes_rounding_at_most(monkeypatch, volume_and_grid, values):
    volume, axes = volume_and_grid
    expected = sample(volume, axes, torch.float64)
    monkeypatch.setattr(separable, "_SLAB_VALUES", values)
    torch.testing.assert_close(sample(volume, axes, torch.float64), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_memory_order_is_kept_and_changes_rounding_at_most(volume_and_grid, order):
    volume, axes = volume_and_grid
    back = [order.index(axis) for axis in range(3)]
    turned = volume.permute(order).contiguous().permute(back)
    found = sample(turned, axes, torch.float32)
    torch.testing.assert_close(found, sample(volume, axes, torch.float32), rtol=0, atol=1e-6)
    assert np.argsort(found.stride()).tolist() == np.argsort(turned.stride()).tolist()
    labels = (turned > 0).to(torch.uint8)
    assert torch.equal(vote(labels, axes), vote(labels.contiguous(), axes))


@pytest.mark.parametrize(
    ("dtype", "top"), [(torch.uint8, 3), (torch.int16, 600), (torch.int64, 2**16 + 1), (torch.float32, 2**16 + 1)]
)
def test_labels_of_any_type_and_size_are_counted(dtype, top):
    labels = torch.zeros(6, 5, 4, dtype=dtype)
    labels[1:3, 1:4, 1:3] = top
    labels[4:, 1:4, 1:3] = 2
    axes = [AxisSamples.regular(n, -0.25, 0.5, 2 * n) for n in labels.shape]
    found = vote(labels, axes)
    assert found.dtype == dtype
    assert found.unique().tolist() == [0, 2, top]
    np.testing.assert_array_equal(found.numpy() != 0, vote((labels != 0).to(torch.uint8), axes).numpy())


@pytest.mark.parametrize("lowest", [0, 1])
def test_labels_of_many_digits_are_counted_like_small_ones(monkeypatch, lowest):
    labels = torch.from_numpy(np.random.default_rng(0).integers(lowest, 5, (7, 6, 5)))
    axes = [AxisSamples.regular(n, 0.1, 0.7, n) for n in labels.shape]
    expected = vote(labels, axes)
    monkeypatch.setattr(separable, "_LISTED", 1)
    assert torch.equal(vote(labels, axes), expected)


def test_a_tie_goes_to_the_larger_label_and_a_three_way_split_to_background():
    halfway = [AxisSamples.regular(2, 0.5, 1, 1), AxisSamples.regular(1, 0, 1, 1)]
    assert vote(torch.tensor([[3], [7]]), halfway).tolist() == [[7]]
    assert vote(torch.tensor([[7], [3]]), halfway).tolist() == [[7]]
    assert vote(torch.tensor([[7], [0]]), halfway).tolist() == [[7]]
    corner = [AxisSamples.regular(2, 0.5, 1, 1)] * 2
    assert vote(torch.tensor([[1, 2], [3, 4]]), corner).tolist() == [[0]]
