"""CHAOS CT: slices whose files go down the patient, masks that are numbered along the files."""

import re
import shutil
import tarfile

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import write_series
from PIL import Image

from medfs.errors import InputError
from medfs.io import read_image, read_labels
from medfs.io.dicom import dicom_series
from preprocessing.chaos_ct import RECIPE
from preprocessing.chaos_masks import masks_on_slices
from preprocessing.pipeline import RecipeRun


def run(source, output):
    job = RecipeRun(RECIPE, source, output)
    return job.run(job.find())


def unpacked(real_data, folder):
    """Thirty neighbouring slices of the case, which has 78, and their masks."""
    with tarfile.open(real_data / "chaos_ct_dicom" / "chaos_ct_case.tar.xz") as archive:
        names = [name for name in archive.getnames() if re.search(r"(i00[2-4]\d,0000b\.dcm|GT_0[2-4]\d\.png)$", name)]
        archive.extractall(folder, [archive.getmember(name) for name in names], filter="data")
    return folder


def test_the_liver_lies_where_itk_finds_it_and_on_the_patients_right(real_data, tmp_path):
    raw = unpacked(real_data, tmp_path / "raw" / "CT" / "1")
    assert run(tmp_path / "raw", tmp_path / "out") == 0
    labels = read_labels(tmp_path / "out" / "labels" / "1.nii.gz")
    image = read_image(tmp_path / "out" / "images" / "1.nii.gz")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(raw / "DICOM_anon")))
    itk = reader.Execute()
    masks = [np.asarray(Image.open(path)) for path in sorted((raw / "Ground").iterdir())][::-1]  # ITK goes up
    rows, columns = np.nonzero(masks[15])
    rng = np.random.default_rng(0)
    for place in rng.choice(len(rows), 20):
        index = (int(columns[place]), int(rows[place]), 15)
        lps = np.array(itk.TransformIndexToPhysicalPoint(index))
        voxel = np.rint(np.linalg.inv(image.affine) @ [-lps[0], -lps[1], lps[2], 1])[:3].astype(int)
        assert labels.array[tuple(voxel)] == 1
        assert image.array[tuple(voxel)] == itk[index]
    assert labels.array.sum() == sum(int(mask.sum()) for mask in masks)
    middle = image.affine @ [255.5, 255.5, 14.5, 1]
    centre = image.affine @ [*np.argwhere(labels.array).mean(axis=0), 1]
    assert centre[0] > middle[0] + 20  # RAS+: the right is negative; the liver is on the right
    inside = image.array[labels.array == 1]
    assert inside.std() < 40  # of liver tissue in HU; upside-down masks give more than 200


def test_a_series_without_masks_is_an_unlabelled_case_in_place(real_data, tmp_path):
    source = real_data / "awkward_files" / "dicom_series_ct_head"
    shutil.copytree(source, tmp_path / "raw" / "CT" / "head" / "DICOM_anon")
    assert run(tmp_path / "raw", tmp_path / "out") == 0
    made = sitk.ReadImage(str(tmp_path / "out" / "images" / "head.nii.gz"))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source)))
    expected = sitk.Resample(reader.Execute(), made, sitk.Transform(), sitk.sitkNearestNeighbor, -9999)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(made), sitk.GetArrayFromImage(expected))
    assert not (tmp_path / "out" / "labels").exists()


@pytest.fixture
def numbered(tmp_path):
    """Five slices that go down the patient, with masks numbered from 0; mask k is filled with k + 1."""

    def write(instances=(1, 2, 3, 4, 5), step_mm=-2.0, count=5):
        affine = np.diag([-1.0, -1.0, step_mm, 1.0])
        changes = {k: {"InstanceNumber": n} for k, n in enumerate(instances)}
        names = [f"i{k:04d},0000b.dcm" for k in range(5)]
        write_series(tmp_path, np.zeros((4, 3, 5), np.uint16), affine, names=names, changes=changes)
        masks = [tmp_path / f"liver_GT_{k:03d}.png" for k in range(count)]
        for k, mask in enumerate(masks):
            Image.fromarray(np.full((3, 4), k + 1, np.uint8)).save(mask)
        return dicom_series(sorted(tmp_path.glob("*.dcm"))), masks

    return write


@pytest.mark.parametrize("step_mm", [2.0, -2.0])
def test_numbered_masks_go_with_the_files_of_their_number(numbered, step_mm):
    series, masks = numbered(step_mm=step_mm)
    paired = masks_on_slices(series, masks)
    assert [int(file.name[1:5]) for file in series.files] == [int(mask.stem[-3:]) for mask in paired]
    assert paired == (masks if step_mm > 0 else masks[::-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 4}, "5 slices and 4 masks"),
        ({"instances": (1, 2, 4, 3, 5)}, "do not count along the patient"),
        ({"instances": (1, 1, 1, 1, 1)}, "do not count along the patient"),
        ({"instances": (5, 4, 3, 2, 1)}, "file names and InstanceNumbers count differently"),
    ],
)
def test_doubtful_pairs_are_refused(numbered, arguments, message):
    series, masks = numbered(**arguments)
    with pytest.raises(InputError, match=message):
        masks_on_slices(series, masks)


def test_masks_whose_numbers_have_a_gap_are_refused(numbered):
    series, masks = numbered()
    masks[2] = masks[2].rename(masks[2].with_name("liver_GT_009.png"))
    with pytest.raises(InputError, match="do not run without a gap from 0"):
        masks_on_slices(series, masks)
