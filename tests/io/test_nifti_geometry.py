"""qform, sform, units: which is used, what is refused, what is said."""

import gzip
import re

import nibabel as nib
import nifti_bytes as nb
import numpy as np
import pytest

from medfs.errors import InputError
from medfs.io import Volume, read_image, require_same_grid

ARRAY = nb.voxels((6, 5, 4))
SFORM = np.array([[0.8, 0, 0, -10], [0, 0.9, 0, 20], [0, 0, 2.5, 30], [0, 0, 0, 1]])


def read(tmp_path, *, assume_orientation=False, **fields):
    path = nb.write_nifti(tmp_path / "a.nii", ARRAY, **fields)
    return read_image(path, assume_orientation=assume_orientation)


def test_a_plain_header_gives_the_sform_and_no_warning(tmp_path):
    volume = read(tmp_path)
    np.testing.assert_allclose(volume.affine, SFORM, atol=1e-6)
    np.testing.assert_allclose(volume.spacing_mm, (0.8, 0.9, 2.5), atol=1e-6)
    assert volume.warnings == ()


@pytest.mark.parametrize("qfac", [1, -1, 0])
def test_the_qform_alone_is_nibabels(tmp_path, qfac):
    fields = {"sform_code": 0, "quatern": [0.1, -0.2, 0.3], "pixdim": [qfac, 0.8, 0.9, 2.5, 0, 0, 0, 0]}
    volume = read(tmp_path, **fields)
    np.testing.assert_allclose(volume.affine, nib.load(tmp_path / "a.nii").get_qform(), atol=1e-9)
    assert np.sign(np.linalg.det(volume.affine)) == (-1 if qfac < 0 else 1)
    assert volume.warnings == ()


def test_a_half_turn_whose_quaternion_rounds_beyond_one_is_read(tmp_path):
    volume = read(tmp_path, sform_code=0, quatern=[0, 0, np.nextafter(np.float32(1), np.float32(2))])
    np.testing.assert_allclose(np.diag(volume.affine), [-0.8, -0.9, 2.5, 1], atol=1e-5)


def test_no_orientation_is_refused_unless_it_may_be_assumed(tmp_path):
    with pytest.raises(InputError, match="no orientation"):
        read(tmp_path, qform_code=0, sform_code=0)
    volume = read(tmp_path, qform_code=0, sform_code=0, assume_orientation=True)
    np.testing.assert_array_equal(volume.affine, nib.load(tmp_path / "a.nii").affine)
    assert nib.aff2axcodes(volume.affine) == ("L", "A", "S")
    assert len(volume.warnings) == 1


@pytest.mark.parametrize(
    ("srow", "cause"),
    [
        ([np.nan] + [0.0] * 11, "sform holds NaN"),
        ([np.inf] + [0.0] * 11, "sform holds NaN or infinity"),
        ([0.0] * 12, "sform is singular"),
        ([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0], "sform is singular"),
        ([1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0], "sform is singular"),
    ],
)
def test_a_broken_sform_never_falls_back_to_the_qform(tmp_path, srow, cause):
    with pytest.raises(InputError, match=cause):
        read(tmp_path, srow=srow)


@pytest.mark.parametrize("srow", [[np.nan] * 12, [0.0] * 12])
def test_a_broken_sform_of_code_zero_does_not_matter(tmp_path, srow):
    np.testing.assert_allclose(read(tmp_path, srow=srow, sform_code=0).affine, SFORM, atol=1e-6)


@pytest.mark.parametrize("quatern", [[2, 2, 2], [np.nan, 0, 0]])
def test_a_broken_quaternion_matters_only_without_sform(tmp_path, quatern):
    volume = read(tmp_path, quatern=quatern)
    np.testing.assert_allclose(volume.affine, SFORM, atol=1e-6)
    assert re.search("qform is invalid .* the sform is used", volume.warnings[0])
    with pytest.raises(InputError, match="qform is invalid and there is no sform"):
        read(tmp_path, quatern=quatern, sform_code=0)


@pytest.mark.parametrize("size", [0, -0.9, np.nan])
def test_a_broken_pixdim_leaves_the_sform_unchanged(tmp_path, size):
    pixdim = [1, 0.8, size, 2.5, 0, 0, 0, 0]
    volume = read(tmp_path, pixdim=pixdim)
    np.testing.assert_allclose(volume.affine, SFORM, atol=1e-6)
    assert "pixdim states a spacing" in volume.warnings[0]
    with pytest.raises(InputError, match=f"spacing {size:g} mm along y; expected > 0"):
        read(tmp_path, pixdim=pixdim, sform_code=0)
    with pytest.raises(InputError, match=f"spacing {size:g} mm along y; expected > 0"):
        read(tmp_path, pixdim=pixdim, sform_code=0, qform_code=0, assume_orientation=True)


def test_a_conflict_says_how_far_apart_and_which_is_used(tmp_path):
    volume = read(tmp_path, qoffset=[-10, 24, 33])
    np.testing.assert_allclose(volume.affine, SFORM, atol=1e-6)
    assert volume.warnings == ("a.nii: qform and sform place the volume up to 5 mm apart; the sform is used",)


def test_a_mirroring_conflict_is_called_one(tmp_path):
    volume = read(tmp_path, pixdim=[-1, 0.8, 0.9, 2.5, 0, 0, 0, 0])
    assert "apart and mirror it; the sform is used" in volume.warnings[0]


def test_equal_forms_that_differ_by_rounding_are_no_conflict(tmp_path):
    rotation = nib.eulerangles.euler2mat(0.3, -0.2, 3.1)
    affine = np.eye(4)
    affine[:3, :3] = rotation * [0.7, 0.7, 5]
    affine[:3, 3] = [-250.3, 180.7, -900.1]
    image = nib.Nifti1Image(ARRAY, affine)
    image.set_qform(affine, 1)
    image.to_filename(tmp_path / "a.nii.gz")
    assert read_image(tmp_path / "a.nii.gz").warnings == ()


@pytest.mark.parametrize("spacing", [1e-8, 1e6])
def test_an_implausible_spacing_is_refused(tmp_path, spacing):
    with pytest.raises(InputError, match=r"implausible spacing .* along z"):
        read(tmp_path, srow=[0.8, 0, 0, 0, 0, 0.9, 0, 0, 0, 0, spacing, 0])


def test_metres_and_micrometres_become_millimetres(tmp_path):
    srow = [0.0008, 0, 0, -0.01, 0, 0.0009, 0, 0.02, 0, 0, 0.0025, 0.03]
    pixdim = [1, 0.0008, 0.0009, 0.0025, 0, 0, 0, 0]
    metres = read(tmp_path, srow=srow, pixdim=pixdim, qoffset=[-0.01, 0.02, 0.03], xyzt_units=1)
    np.testing.assert_allclose(metres.affine, SFORM, rtol=1e-6)
    assert metres.warnings == ("a.nii: the header is in metres; converted to millimetres",)
    srow, pixdim = [v * 1e6 for v in srow], [v * 1e6 for v in pixdim]
    micro = read(tmp_path, srow=srow, pixdim=pixdim, qoffset=[-1e4, 2e4, 3e4], xyzt_units=3)
    np.testing.assert_allclose(micro.affine, SFORM, rtol=1e-6)
    assert "micrometres" in micro.warnings[0]


def test_an_unknown_unit_is_taken_for_millimetres_with_a_warning(tmp_path):
    assert "unknown spatial unit code 5" in read(tmp_path, xyzt_units=5).warnings[0]
    assert read(tmp_path, xyzt_units=0).warnings == ()


def test_a_shear_is_kept_and_named(tmp_path):
    srow = [0.8, 0, 0, -10, 0, 0.9, 1.0, 20, 0, 0, 2.5, 30]
    volume = read(tmp_path, srow=srow, qform_code=0)
    np.testing.assert_allclose(volume.affine[:3].ravel(), srow, atol=1e-6)
    assert any("sheared by 22 degrees" in line for line in volume.warnings)  # atan(1 / 2.5) = 21.8 degrees


def test_nifti2_is_read_like_nifti1(tmp_path):
    image = nib.Nifti2Image(ARRAY, SFORM)
    image.to_filename(tmp_path / "a.nii.gz")
    volume = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.affine, image.affine)
    np.testing.assert_array_equal(volume.array, ARRAY)
    image.header["vox_offset"], image.header["scl_slope"], image.header["scl_inter"] = 544, 1, 0
    swapped = image.header.as_byteswapped(">").binaryblock + bytes(4) + ARRAY.astype(">i2").tobytes(order="F")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(swapped))
    volume = read_image(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(volume.affine, image.affine)
    np.testing.assert_array_equal(volume.array, ARRAY)


def test_grids_are_compared_by_shape_and_place():
    image = Volume.from_array(ARRAY, SFORM, "image.nii")
    require_same_grid(image, Volume.from_array(ARRAY > 3, SFORM, "label.nii"))
    with pytest.raises(InputError, match=r"label\.nii and image\.nii: shapes"):
        require_same_grid(image, Volume.from_array(ARRAY[1:], SFORM, "label.nii"))
    moved = SFORM.copy()
    moved[1, 3] += 0.01
    with pytest.raises(InputError, match=r"label\.nii and image\.nii: the affines lie 0\.01 mm apart"):
        require_same_grid(image, Volume.from_array(ARRAY, moved, "label.nii"))
