"""Scans of every axis order, brought to one."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from grids import affine_of, blob_at, centre_in_world
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose

from medfs.errors import UsageError
from medfs.transforms import CanonicalOrientation, CanonicalOrientationd

CODES = ["".join(s) for axes in itertools.permutations(("LR", "PA", "IS")) for s in itertools.product(*axes)]


def volume_of(codes, degrees=(8, -5, 12), shape=(4, 5, 6), dtype=torch.int16):
    voxels = torch.arange(int(np.prod(shape))).reshape(1, *shape).to(dtype)
    return MetaTensor(voxels, affine=affine_of((1.2, 1.5, 3), codes, degrees))


@pytest.mark.parametrize("codes", CODES)
def test_every_axis_order_becomes_that_of_nibabel_and_goes_back(codes):
    volume = volume_of(codes)
    transform = CanonicalOrientation()
    found = transform(volume)
    expected = nib.as_closest_canonical(nib.Nifti1Image(volume[0].numpy(), np.asarray(volume.affine)))
    np.testing.assert_array_equal(found[0].numpy(), np.asarray(expected.dataobj))
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-9)
    assert found.dtype == torch.int16
    back = transform.inverse(found)
    assert torch.equal(back.as_tensor(), volume.as_tensor())
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.floats(-180, 180)] * 3), st.sampled_from(CODES), st.sampled_from(CODES))
def test_any_rotation_keeps_a_landmark_in_place_and_goes_back(degrees, codes, target):
    blob = blob_at((14, 16, 18), (6, 8, 10), affine_of((1.2, 1.5, 3), codes, degrees))
    transform = CanonicalOrientation(target)
    found = transform(blob)
    np.testing.assert_allclose(centre_in_world(found), centre_in_world(blob), atol=1e-6)
    assert "".join(nib.aff2axcodes(np.asarray(found.affine))) == target
    back = transform.inverse(found)
    assert torch.equal(back.as_tensor(), blob.as_tensor())
    np.testing.assert_allclose(back.affine, blob.affine, atol=1e-9)


@pytest.mark.parametrize("degrees", list(itertools.product((-90, -45, 45), repeat=3)))
def test_axes_that_tie_between_two_directions_go_back(degrees):
    volume = volume_of("RAS", degrees)
    transform = CanonicalOrientation()
    back = transform.inverse(transform(volume))
    assert torch.equal(back.as_tensor(), volume.as_tensor())
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)


@pytest.mark.parametrize("codes", ["LPS", "SAR", "PIL"])
def test_lazy_execution_gives_the_same(codes):
    data = {"image": volume_of(codes, dtype=torch.float32)}
    eager, lazy = (Compose([CanonicalOrientationd("image")], lazy=waits)(data)["image"] for waits in (False, True))
    assert torch.equal(eager.as_tensor(), lazy.as_tensor())
    np.testing.assert_allclose(eager.affine, lazy.affine)


@pytest.mark.parametrize("codes", ["RAL", "RR", "XYZ", "R", "", "RASL"])
def test_codes_that_name_no_orientation_are_refused(codes):
    with pytest.raises(UsageError, match="each pair once"):
        CanonicalOrientation(codes)
