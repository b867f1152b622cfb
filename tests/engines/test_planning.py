"""Spacing, patch and depth from the data."""

import math

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfs.engines.planning import plan_training
from medfs.errors import UsageError
from medfs.io import Volume


def scan(shape=(100, 90, 40), spacing=(2.0, 2.0, 5.0), *, codes="RAS", lowest=-1000.0):
    """A scan whose shape and spacing are given along R, A, S, stored in another axis order."""
    affine = np.diag([*spacing, 1.0])
    array = np.zeros(shape, dtype=np.float32)
    array[0, 0, 0] = lowest
    to = nib.orientations.axcodes2ornt(tuple(codes))
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), to)
    turned = nib.apply_orientation(array, turn)
    return Volume.from_array(turned, affine @ nib.orientations.inv_ornt_aff(turn, shape))


def test_spacing_and_patch_are_medians():
    scans = [scan((80, 80, 20), (1, 1, 4)), scan((60, 50, 30), (2, 1, 5)), scan((64, 64, 24), (3, 1, 6))]
    plan = plan_training(scans)
    assert plan.spacing_mm == (2.0, 1.0, 5.0)
    # sizes on that grid: 40 80 16, 60 50 30, 96 64 29
    assert plan.patch_size == (60, 64, 32)
    assert plan.levels == 3


@pytest.mark.parametrize("codes", ["LPS", "SAR", "PIR", "IPL"])
def test_axes_are_those_of_the_patient_whatever_the_order_in_the_file(codes):
    assert plan_training([scan(codes=codes)]) == plan_training([scan()])


def test_an_oblique_scan_counts_by_its_nearest_axes():
    volume = scan(codes="SLP")
    affine = volume.affine.copy()
    affine[:3, :3] = nib.eulerangles.euler2mat(0.2, -0.1, 0.3) @ affine[:3, :3]
    plan = plan_training([Volume.from_array(volume.array, affine)])
    assert plan == plan_training([scan()])


@pytest.mark.parametrize(("lowest", "modality"), [(-1000, "ct"), (-201, "ct"), (-200, "mr"), (0, "mr")])
def test_modality_is_told_from_air(lowest, modality):
    assert plan_training([scan(lowest=lowest)]).modality == modality


def test_one_odd_scan_does_not_change_the_modality():
    assert plan_training([scan(lowest=0), scan(), scan()]).modality == "ct"
    assert plan_training([scan(lowest=-3000), scan(lowest=0), scan(lowest=0)]).modality == "mr"


def test_what_is_stated_is_kept():
    plan = plan_training([scan()], modality="mr", spacing_mm=[3, 3, 3], patch_size=[32, 48, 16], levels=4)
    assert (plan.modality, plan.spacing_mm, plan.patch_size, plan.levels) == ("mr", (3, 3, 3), (32, 48, 16), 4)


def test_a_stated_spacing_changes_the_planned_patch():
    assert plan_training([scan((64, 64, 64), (1, 1, 1))], spacing_mm=[2, 2, 2]).patch_size == (32, 32, 32)


@pytest.mark.parametrize(
    ("side", "levels"), [(8, 3), (16, 3), (24, 3), (32, 4), (48, 4), (63, 4), (64, 5), (96, 5), (300, 5)]
)
def test_depth_leaves_four_voxels_along_the_shortest_side(side, levels):
    plan = plan_training([scan((200, 200, side), (1, 1, 1))])
    assert plan.levels == levels
    assert min(plan.patch_size) / 2 ** (levels - 1) >= 2


@pytest.mark.parametrize(
    ("patch", "levels"), [([30, 32, 32], 3), ([32, 32, 4], 3), ([48, 48, 8], 4), ([96, 96, 40], 5)]
)
def test_a_stated_patch_that_does_not_fit_the_depth_is_refused(patch, levels):
    with pytest.raises(UsageError, match=f"multiple of {2 ** (levels - 1)}") as caught:
        plan_training([scan()], patch_size=patch, levels=levels)
    assert "x".join(map(str, patch)) in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 120)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 8)] * 3),
    largest=st.sampled_from([32, 64, 96, 128]),
)
def test_every_planned_patch_fits_its_network(shape, spacing, largest):
    plan = plan_training([scan(shape, spacing)], largest_patch=largest)
    step = 2 ** (plan.levels - 1)
    assert 3 <= plan.levels <= 5
    assert all(side % step == 0 and 2 * step <= side <= largest for side in plan.patch_size)
    assert plan.spacing_mm == pytest.approx(spacing, abs=1e-4)
    for side, length in zip(plan.patch_size, shape, strict=True):
        assert side >= min(length, largest // step * step) or math.isclose(side, largest, rel_tol=0.2)


@pytest.mark.parametrize("size", [96, 33, 10, 200])
def test_a_planned_patch_can_be_cut_into_cubes_of_two_voxels_at_the_deepest(size):
    plan = plan_training([scan((size, size, size + 7), (1, 1, 1))], cubes=3)
    stride = 3 * 2 ** (plan.levels - 1)
    assert all(side % stride == 0 and side >= 2 * stride for side in plan.patch_size)
    assert size != 96 or (plan.patch_size, plan.levels) == ((96, 96, 96), 5)


def test_a_stated_patch_that_cannot_be_cut_is_refused():
    with pytest.raises(UsageError, match="3 cubes: every side must be a multiple of 24, from 48"):
        plan_training([scan()], patch_size=[32, 48, 48], levels=4, cubes=3)
