"""Types, offsets, scaling and NaN: the header's promises are checked before they are believed."""

import nifti_bytes as nb
import numpy as np
import pytest

from medfs.errors import InputError
from medfs.io import read_image, read_labels

SHAPE = (5, 4, 3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", nb.CODES)
def test_every_real_type_in_either_byte_order_is_exact(tmp_path, kind, order):
    array = nb.voxels(SHAPE, kind)
    path = nb.write_nifti(tmp_path / "a.nii.gz", array, order=order)
    np.testing.assert_array_equal(read_image(path).array, array.astype(np.float32))
    labels = read_labels(path).array
    np.testing.assert_array_equal(labels, array.astype(np.int64))
    assert labels.dtype.kind in "iu"
    assert labels.dtype.isnative


@pytest.mark.parametrize(
    ("code", "cause"),
    [(0, "unknown datatype"), (777, "unknown datatype code 777"), (1, "1-bit"), (32, "complex"), (128, "RGB colours"),
     (1536, "128-bit floats"), (1792, "complex"), (2048, "complex"), (2304, "RGBA colours")],
)  # fmt: skip
def test_other_types_are_refused_by_name(tmp_path, code, cause):
    path = nb.write_nifti(tmp_path / "a.nii", nb.voxels(SHAPE), datatype=code)
    with pytest.raises(InputError, match=cause):
        read_image(path)


def test_a_wrong_bitpix_is_a_warning(tmp_path):
    volume = read_image(nb.write_nifti(tmp_path / "a.nii", nb.voxels(SHAPE), bitpix=32))
    np.testing.assert_array_equal(volume.array, nb.voxels(SHAPE))
    assert "bitpix 32" in volume.warnings[0]


@pytest.mark.parametrize("offset", [0, 100, 348, -352, float("nan"), float("inf"), 1e30, 352.5])
def test_a_vox_offset_into_the_header_or_nowhere_is_refused(tmp_path, offset):
    path = nb.write_nifti(tmp_path / "a.nii", nb.voxels(SHAPE), vox_offset=offset)
    with pytest.raises(InputError, match=r"a\.nii: vox_offset .*; expected a whole number of at least 352"):
        read_image(path)


def test_a_header_extension_is_skipped(tmp_path):
    raw = nb.header_bytes(SHAPE, vox_offset=352 + 64) + bytes(64) + nb.voxels(SHAPE).tobytes(order="F")
    (tmp_path / "a.nii").write_bytes(raw)
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii").array, nb.voxels(SHAPE))


def test_a_wrong_magic_is_refused(tmp_path):
    path = nb.write_nifti(tmp_path / "a.nii", nb.voxels(SHAPE), magic=b"XXXX")
    with pytest.raises(InputError, match="no NIfTI magic string"):
        read_image(path)


def test_a_pair_reads_from_either_name(tmp_path):
    array = nb.voxels(SHAPE)
    (tmp_path / "a.hdr").write_bytes(nb.header_bytes(SHAPE, magic=b"ni1\0", vox_offset=0)[:348])
    with pytest.raises(InputError, match=r"a\.hdr: a\.img is missing"):
        read_image(tmp_path / "a.hdr")
    (tmp_path / "a.img").write_bytes(array.tobytes(order="F"))
    for name in ("a.hdr", "a.img"):
        np.testing.assert_array_equal(read_image(tmp_path / name).array, array)


def test_the_header_of_a_pair_under_a_single_name_is_refused(tmp_path):
    path = nb.write_nifti(tmp_path / "a.nii", nb.voxels(SHAPE), magic=b"ni1\0", vox_offset=0)
    with pytest.raises(InputError, match=r"expected \.hdr and \.img"):
        read_image(path)


def test_scaling_is_applied_in_double_precision(tmp_path):
    array = nb.voxels(SHAPE, "i4") * 100_003
    volume = read_image(nb.write_nifti(tmp_path / "a.nii", array, scl_slope=0.3, scl_inter=-7.7))
    exact = array * np.float64(np.float32(0.3)) + np.float64(np.float32(-7.7))
    np.testing.assert_array_equal(volume.array, exact.astype(np.float32))
    assert (volume.array != array.astype(np.float32) * np.float32(0.3) + np.float32(-7.7)).any()
    assert volume.warnings == ()


def test_a_slope_of_zero_means_no_scaling(tmp_path):
    array = nb.voxels(SHAPE)
    assert read_image(nb.write_nifti(tmp_path / "a.nii", array, scl_slope=0)).warnings == ()
    volume = read_image(nb.write_nifti(tmp_path / "b.nii", array, scl_slope=0, scl_inter=5))
    np.testing.assert_array_equal(volume.array, array)
    assert "scl_slope 0 with scl_inter 5" in volume.warnings[0]


def test_a_negative_slope_is_applied_with_a_warning(tmp_path):
    volume = read_image(nb.write_nifti(tmp_path / "a.nii", nb.voxels(SHAPE), scl_slope=-2))
    np.testing.assert_array_equal(volume.array, -2.0 * nb.voxels(SHAPE))
    assert "negative scl_slope" in volume.warnings[0]


@pytest.mark.parametrize(
    "fields",
    [{"scl_slope": np.nan}, {"scl_slope": np.inf}, {"scl_inter": np.nan}, {"scl_slope": np.nan, "scl_inter": np.nan}],
    ids=str,
)
def test_a_scaling_that_is_no_number_is_refused_for_images_only(tmp_path, fields):
    path = nb.write_nifti(tmp_path / "a.nii", nb.voxels(SHAPE), **fields)
    with pytest.raises(InputError, match=r"scl_slope .* expected finite numbers"):
        read_image(path)
    labels = read_labels(path)
    np.testing.assert_array_equal(labels.array, nb.voxels(SHAPE))
    assert "ignored; the stored integers are used" in labels.warnings[0]


def test_a_scaling_beyond_float32_is_refused(tmp_path):
    path = nb.write_nifti(tmp_path / "a.nii", nb.voxels(SHAPE), scl_slope=3e38)
    with pytest.raises(InputError, match="overflow float32"):
        read_image(path)
    huge = nb.write_nifti(tmp_path / "b.nii", np.full(SHAPE, 1e300))
    with pytest.raises(InputError, match="60 voxels overflow float32"):
        read_image(huge)


def test_nan_and_infinity_are_counted(tmp_path):
    array = nb.voxels(SHAPE, "f4")
    array[0, 0, 0] = np.nan
    path = nb.write_nifti(tmp_path / "a.nii", array)
    with pytest.raises(InputError, match=r"a\.nii: 1 of 60 voxels are NaN; .*replace_nan"):
        read_image(path)
    assert read_image(path, replace_nan=True).array[0, 0, 0] == np.nanmin(array)
    array[1] = -np.inf
    nb.write_nifti(path, array)
    with pytest.raises(InputError, match="12 of 60 voxels are infinite"):
        read_image(path, replace_nan=True)
    nb.write_nifti(path, np.full(SHAPE, np.nan, "f4"))
    with pytest.raises(InputError, match="all voxels are NaN"):
        read_image(path, replace_nan=True)


def test_a_constant_volume_is_a_warning(tmp_path):
    volume = read_image(nb.write_nifti(tmp_path / "a.nii", np.full(SHAPE, 7, np.int16)))
    assert volume.warnings == ("a.nii: all voxels are 7",)


@pytest.mark.parametrize("shape", [(5, 4, 1), (1, 1, 1), (1, 4, 1)])
def test_a_single_slice_stays_3d(tmp_path, shape):
    assert read_image(nb.write_nifti(tmp_path / "a.nii.gz", nb.voxels(shape))).array.shape == shape


def test_trailing_axes_of_one_are_dropped(tmp_path):
    volume = read_image(nb.write_nifti(tmp_path / "a.nii", nb.voxels((5, 4, 3, 1))))
    np.testing.assert_array_equal(volume.array, nb.voxels((5, 4, 3, 1))[..., 0])
    assert read_image(nb.write_nifti(tmp_path / "b.nii", nb.voxels((5, 4, 3, 1, 1)))).array.shape == SHAPE


def test_label_values_beyond_float32_are_exact(tmp_path):
    array = np.array([0, 2**24 + 1, 2147483653], np.uint32).reshape(3, 1, 1)
    np.testing.assert_array_equal(read_labels(nb.write_nifti(tmp_path / "a.nii", array)).array, array)
    wide = np.array([0, 2**62 + 1, 2**53 + 1], np.int64).reshape(3, 1, 1)
    np.testing.assert_array_equal(read_labels(nb.write_nifti(tmp_path / "b.nii", wide)).array, wide)


def test_whole_floats_and_whole_scaled_values_are_labels(tmp_path):
    floats = read_labels(nb.write_nifti(tmp_path / "a.nii", nb.voxels(SHAPE, "f4"))).array
    np.testing.assert_array_equal(floats, nb.voxels(SHAPE))
    scaled = read_labels(nb.write_nifti(tmp_path / "b.nii", nb.voxels(SHAPE), scl_slope=2, scl_inter=1)).array
    np.testing.assert_array_equal(scaled, 2 * nb.voxels(SHAPE) + 1)
    assert floats.dtype == scaled.dtype == np.int16


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.5"), (np.nan, "nan"), (np.inf, "inf"), (2.0**70, "1.1.*e.21")])
def test_a_label_that_is_no_integer_is_named_and_counted(tmp_path, value, shown):
    array = nb.voxels(SHAPE, "f4")
    array[1:3, 0, 0] = value
    path = nb.write_nifti(tmp_path / "a.nii", array)
    with pytest.raises(InputError, match=rf"a\.nii: label value {shown} among 2 that are no whole numbers"):
        read_labels(path)
