"""Real files that other readers get wrong, refuse or read differently."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medfs.errors import InputError
from medfs.io import read_image, read_labels, write_labels

REFUSED = {
    "analyze.hdr": "analyze.img is missing",
    "complex_image.nii.gz": "complex",
    "example4d.nii.gz": "4D with 2 volumes",
    "example_nifti2.nii.gz": "4D with 2 volumes",
    "functional.nii": "4D with 20 volumes",
    "minimal.nii.gz": "no orientation",
    "nifti1.hdr": "nifti1.img is missing",
    "nifti2.hdr": "nifti2.img is missing",
    "resampled_anat_moved.nii": "153 of 1071 voxels are NaN",
    "rgb_test_file.nii.gz": "RGB",
    "row_major.dconn.nii": "CIFTI",
    "test.mgz": "4D with 2 volumes",
}
ORDERS = ("ALS", "ARS", "IPR", "LAS", "LPI", "LPS", "PIR", "RAS", "RPI", "SAL", "SPL")
READ = [
    "nifti/LAS_drawing_correct.nii.gz",
    "nifti/anatomical.nii",
    "nifti/float64_t2_mean.nii.gz",
    "nifti/int64_t2s_seg.nii.gz",
    "nifti/ras.hdr",
    "nifti/ras.img",
    "nifti/reoriented_anat_moved.nii",
    "nifti/shear.nii.gz",
    "nifti/standard.nii.gz",
    "other/wm.mgz",
    *[f"orientations/{axes}.nii.gz" for axes in ORDERS],
]


@pytest.fixture(scope="module")
def awkward(real_data: Path) -> Path:
    return real_data / "awkward_files"


def test_no_file_of_the_folder_is_left_out(awkward):
    present = {path.name for folder in ("nifti", "orientations", "other") for path in (awkward / folder).iterdir()}
    assert present == {*REFUSED, *(name.split("/")[1] for name in READ), "mha.mha"}


@pytest.mark.parametrize("name", READ)
def test_values_and_affine_are_those_of_nibabel(awkward, name):
    volume, peer = read_image(awkward / name), nib.load(awkward / name)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, np.asarray(peer.dataobj).astype(np.float32))
    np.testing.assert_allclose(volume.affine, peer.affine, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "cause"), REFUSED.items())
def test_what_is_no_usable_volume_is_refused_in_one_line(awkward, name, cause):
    path = awkward / ("other" if name.endswith("mgz") else "nifti") / name
    for read in (read_image, read_labels):
        with pytest.raises(InputError, match=f"^{name}: ") as caught:
            read(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=cause):
        read_image(path)


def test_eleven_axis_orders_are_one_brain(awkward):
    turned = []
    for path in sorted((awkward / "orientations").iterdir()):
        volume = read_image(path)
        order = nib.io_orientation(volume.affine)
        turned.append(nib.apply_orientation(volume.array, order))
        affine = volume.affine @ nib.orientations.inv_ornt_aff(order, volume.array.shape)
        np.testing.assert_allclose(affine, nib.as_closest_canonical(nib.load(path)).affine, atol=1e-9)
    assert len(turned) == 11
    for other in turned[1:]:
        np.testing.assert_array_equal(other, turned[0])


def test_a_sheared_file_keeps_its_sform_and_says_so(awkward):
    volume = read_image(awkward / "nifti/shear.nii.gz")
    np.testing.assert_array_equal(volume.affine, nib.load(awkward / "nifti/shear.nii.gz").get_sform())
    assert any("qform and sform place the volume up to" in line for line in volume.warnings)
    assert any("sheared" in line for line in volume.warnings)


def test_an_image_without_orientation_is_read_when_told_to(awkward):
    volume = read_image(awkward / "nifti/minimal.nii.gz", assume_orientation=True)
    np.testing.assert_array_equal(volume.affine, nib.load(awkward / "nifti/minimal.nii.gz").affine)
    assert "no orientation" in volume.warnings[0]


def test_nan_becomes_the_lowest_value_when_told_to(awkward):
    path = awkward / "nifti/resampled_anat_moved.nii"
    volume, peer = read_image(path, replace_nan=True), np.asarray(nib.load(path).dataobj)
    np.testing.assert_array_equal(volume.array, np.where(np.isnan(peer), np.nanmin(peer), peer))


def test_int64_labels_are_exact(awkward):
    volume = read_labels(awkward / "nifti/int64_t2s_seg.nii.gz")
    assert volume.array.dtype == np.int64
    np.testing.assert_array_equal(volume.array, np.asarray(nib.load(volume.path).dataobj))


@pytest.mark.parametrize("name", [name for name in READ if not name.startswith("orientations")])
def test_a_label_map_on_an_awkward_grid_comes_back(awkward, tmp_path, name):
    source = read_image(awkward / name)
    array = (source.array > np.median(source.array)).astype(np.int16) * 3
    write_labels(tmp_path / "labels.nii.gz", array, like=source)
    again = read_labels(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(again.array, array)
    np.testing.assert_allclose(again.affine, source.affine, rtol=0, atol=2e-5)
    for field in ("qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x", "xyzt_units"):
        np.testing.assert_array_equal(again.header[field], source.header[field])
