"""Real DICOM files: ITK's values and places, or a line that says why not."""

import tarfile

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from test_dicom import itk_reads

from medfs.errors import InputError
from medfs.io.dicom import read_dicom_series

REFUSED = {
    "0.dcm": "a mosaic",
    "ExplVR_BigEnd.dcm": "RGB",
    "JPEG-lossy.dcm": "ImagePositionPatient is none",
    "JPEG2000.dcm": "ImagePositionPatient is none",
    "MR_truncated.dcm": "less than expected",
    "csa_slice_norm.dcm": "a mosaic",
    "eCT_Supplemental.dcm": "2 frames",
    "emri_small.dcm": "10 frames",
    "emri_small_RLE.dcm": "10 frames",
    "emri_small_big_endian.dcm": "10 frames",
    "enh.dcm": "6 frames",
    "liver.dcm": "Segmentation Storage of 3 frames",
    "no_meta.dcm": "no DICOM file",
    "rtdose.dcm": "RT Dose Storage of 15 frames",
    "rtstruct.dcm": "no DICOM file",
}


def test_a_ct_series_has_the_values_and_places_of_itk(real_data):
    folder = real_data / "awkward_files" / "dicom_series_ct_head"
    volume = read_dicom_series(folder)
    array, affine = itk_reads(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)
    assert volume.warnings == ()


def test_a_chaos_series_whose_files_go_downwards_has_the_values_and_places_of_itk(real_data, tmp_path):
    with tarfile.open(real_data / "chaos_ct_dicom" / "chaos_ct_case.tar.xz") as archive:
        names = [name for name in archive.getnames() if name.endswith(".dcm")]
        archive.extractall(tmp_path, [archive.getmember(name) for name in names], filter="data")
    volume = read_dicom_series(tmp_path / "DICOM_anon")
    array, affine = itk_reads(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "DICOM_anon")))
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)


def test_single_files_have_the_values_of_itk_or_a_reason(real_data):
    files = sorted((real_data / "awkward_files" / "dicom").glob("*.dcm"))
    assert len(files) == 25
    for path in files:
        if path.name in REFUSED:
            with pytest.raises(InputError, match=f"^{path.name}: .*{REFUSED[path.name]}"):
                read_dicom_series(path)
        else:
            volume = read_dicom_series(path)
            expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
            np.testing.assert_array_equal(volume.array, expected.astype(np.float32), err_msg=path.name)
