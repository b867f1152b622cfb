"""Surface distances against scipy, brute force and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from scipy.spatial.distance import cdist

from medfs.errors import InputError
from medfs.metrics import surface_distances, surface_voxels

SPACINGS = ((1.0, 1.0, 1.0), (0.8, 0.8, 3.0), (7.7, 1.25, 1.25), (0.4, 0.6, 0.5))


def brute_force(prediction, reference, spacing):
    """Directed distances by comparing every pair of surface voxels that scipy's erosion leaves."""
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (prediction, reference)]
    points = [np.argwhere(surface) * np.asarray(spacing) for surface in surfaces]
    between = cdist(*points)
    return between.min(axis=1), between.min(axis=0)


def random_pair(rng, ndim=3):
    """Two non-empty masks that may be dense, sparse, blobs or touch the border."""
    shape = tuple(rng.integers(1, 9, size=ndim))
    masks = []
    for _ in range(2):
        if rng.random() < 0.5:
            mask = rng.random(shape) < rng.uniform(0.02, 0.98)
        else:
            mask = ndimage.gaussian_filter(rng.normal(size=shape), 1.0) > 0
        mask[tuple(rng.integers(0, n) for n in shape)] = True
        masks.append(mask)
    return masks


@pytest.mark.parametrize("ndim", [2, 3])
def test_500_random_pairs_agree_with_brute_force(ndim):
    rng = np.random.default_rng(ndim)
    for _ in range(500 if ndim == 3 else 200):
        prediction, reference = random_pair(rng, ndim)
        spacing = rng.uniform(0.3, 8.0, size=ndim)
        found = surface_distances(prediction, reference, spacing)
        to_ref, to_pred = brute_force(prediction, reference, spacing)
        pooled = np.concatenate((to_ref, to_pred))
        assert np.sort(found.pred_to_ref) == pytest.approx(np.sort(to_ref), abs=1e-9)
        assert np.sort(found.ref_to_pred) == pytest.approx(np.sort(to_pred), abs=1e-9)
        assert found.hausdorff() == pytest.approx(max(np.percentile(to_ref, 95), np.percentile(to_pred, 95)), abs=1e-9)
        assert found.hausdorff_pooled() == pytest.approx(np.percentile(pooled, 95), abs=1e-9)
        assert found.mean() == pytest.approx(pooled.mean(), abs=1e-9)
        assert found.mean_pred_to_ref() == pytest.approx(to_ref.mean(), abs=1e-9)
        tolerance = rng.uniform(0, 10)
        assert found.fraction_within(tolerance) == pytest.approx((pooled <= tolerance).mean(), abs=1e-9)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, max_side=7)))
def test_the_surface_is_what_scipys_erosion_removes(mask):
    assert np.array_equal(surface_voxels(mask), mask & ~ndimage.binary_erosion(mask))


def test_the_surface_of_a_fortran_ordered_mask_is_the_same():
    mask = np.random.default_rng(0).random((9, 8, 7)) < 0.9
    assert np.array_equal(surface_voxels(np.asfortranarray(mask)), surface_voxels(mask))


def test_finding_the_surface_leaves_the_mask_alone():
    mask = np.ones((4, 4, 4), bool)
    surface_voxels(mask)
    assert mask.all()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_parallel_plates_are_their_gap_apart(axis, spacing):
    first, second = np.zeros((2, 12, 12, 12), bool)
    first[(slice(None),) * axis + (2,)] = True
    second[(slice(None),) * axis + (9,)] = True
    found = surface_distances(first, second, spacing)
    gap = 7 * spacing[axis]
    assert found.hausdorff() == pytest.approx(gap)
    assert found.hausdorff_pooled() == pytest.approx(gap)
    assert found.mean() == pytest.approx(gap)
    assert found.fraction_within(gap) == 1.0
    assert found.fraction_within(0.99 * gap) == 0.0


def test_two_single_voxels_are_their_diagonal_apart():
    first, second = np.zeros((2, 5, 6, 7), bool)
    first[0, 0, 0] = second[3, 4, 5] = True
    expected = np.sqrt((3 * 0.5) ** 2 + (4 * 2.0) ** 2 + (5 * 3.0) ** 2)
    assert surface_distances(first, second, (0.5, 2.0, 3.0)).hausdorff(100) == pytest.approx(expected)


def test_a_ball_within_a_ball_is_the_difference_of_the_radii_away():
    centre = np.indices((61, 61, 61)) - 30
    radius = np.sqrt((centre**2).sum(axis=0))
    found = surface_distances(radius <= 28, radius <= 18, (1.0, 1.0, 1.0))
    # a voxel surface lies within half a voxel diagonal of the sphere
    assert found.mean() == pytest.approx(10, abs=0.5)
    assert found.hausdorff() == pytest.approx(10, abs=np.sqrt(3))


def test_a_shifted_ball_is_at_most_its_shift_away():
    centre = np.indices((40, 40, 40)) - 15
    ball = (centre**2).sum(axis=0) <= 12**2
    found = surface_distances(np.roll(ball, 4, axis=0), ball, (2.0, 1.0, 1.0))
    # the poles lie 4 voxels of 2 mm apart along the shift, the equator less
    assert found.hausdorff(100) == pytest.approx(8.0)
    assert 0 < found.mean() < 8.0


def test_missing_a_part_costs_nothing_in_the_direction_from_the_prediction():
    reference = np.zeros((12, 12, 30), bool)
    reference[3:9, 3:9, 2:28] = True
    prediction = reference.copy()
    prediction[3:9, 3:9, 12:] = False
    found = surface_distances(prediction, reference, (1.0, 1.0, 1.0))
    assert found.mean_pred_to_ref() < 1.0
    assert found.mean() > 3.0


@pytest.mark.parametrize("spacing", SPACINGS)
def test_swapping_the_masks_swaps_the_directions(spacing):
    rng = np.random.default_rng(3)
    for _ in range(20):
        first, second = random_pair(rng)
        one, other = surface_distances(first, second, spacing), surface_distances(second, first, spacing)
        assert np.array_equal(one.pred_to_ref, other.ref_to_pred)
        assert one.hausdorff() == other.hausdorff()
        assert one.hausdorff_pooled() == pytest.approx(other.hausdorff_pooled(), rel=1e-12)
        assert one.mean() == pytest.approx(other.mean(), rel=1e-12)
        assert one.fraction_within(2.0) == other.fraction_within(2.0)


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.floats(0.05, 50.0))
def test_scaling_the_spacing_scales_every_distance(seed, factor):
    first, second = random_pair(np.random.default_rng(seed))
    spacing = np.array((0.8, 1.1, 3.0))
    small, large = surface_distances(first, second, spacing), surface_distances(first, second, factor * spacing)
    assert large.hausdorff() == pytest.approx(factor * small.hausdorff(), rel=1e-9, abs=1e-12)
    assert large.hausdorff_pooled() == pytest.approx(factor * small.hausdorff_pooled(), rel=1e-9, abs=1e-12)
    assert large.mean() == pytest.approx(factor * small.mean(), rel=1e-9, abs=1e-12)


def test_equal_masks_are_nowhere_apart():
    mask = np.random.default_rng(0).random((8, 8, 8)) < 0.5
    found = surface_distances(mask, mask, (0.3, 1.0, 2.0))
    assert (found.hausdorff(100), found.mean(), found.fraction_within(0.0)) == (0.0, 0.0, 1.0)


def test_a_distance_equal_to_the_tolerance_counts_for_a_spacing_stored_in_single_precision():
    first, second = np.zeros((2, 12, 3), bool)
    first[2] = second[7] = True
    spacing = np.array((0.4, 1.0), np.float32).astype(float)
    assert 5 * spacing[0] > 2.0
    assert surface_distances(first, second, spacing).fraction_within(2.0) == 1.0


@pytest.mark.parametrize("which", [0, 1])
def test_an_empty_mask_has_no_surface_to_measure(which):
    masks = [np.ones((3, 3), bool), np.ones((3, 3), bool)]
    masks[which][:] = False
    assert not surface_voxels(masks[which]).any()
    with pytest.raises(InputError, match="no surface"):
        surface_distances(*masks, (1.0, 1.0))
