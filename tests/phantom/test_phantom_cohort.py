"""Cohorts on disk, read back by nibabel."""

import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medfs.errors import StorageError, UsageError
from medfs.io import find_cases, read_image, read_labels
from medfs.phantom import write_cohort

SPACING_MM = (12.0, 12.0, 10.0)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "cohort"
    write_cohort(folder, 3, seed=7, labelled=2, spacing_mm=SPACING_MM)
    return folder


def test_the_first_cases_have_labels_and_the_others_have_none(cohort):
    assert [(case.name, case.label is not None) for case in find_cases(cohort)] == [
        ("phantom_000", True),
        ("phantom_001", True),
        ("phantom_002", False),
    ]


def test_the_returned_cases_are_those_in_the_folder(tmp_path):
    assert write_cohort(tmp_path, 2, spacing_mm=SPACING_MM, labelled=1) == find_cases(tmp_path)


def test_nibabel_reads_what_was_made(cohort):
    image = nib.load(cohort / "images" / "phantom_001.nii.gz")
    labels = nib.load(cohort / "labels" / "phantom_001.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert labels.get_data_dtype() == np.uint8
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.header.get_zooms(), SPACING_MM, rtol=1e-6)
    for file in (image, labels):
        sform, sform_code = file.get_sform(coded=True)
        qform, qform_code = file.get_qform(coded=True)
        assert sform_code == qform_code == 1
        np.testing.assert_allclose(sform, qform, atol=1e-3)
    np.testing.assert_array_equal(image.affine, labels.affine)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert np.unique(np.asarray(labels.dataobj)).max() <= 15


def test_medfs_reads_it_without_a_warning(cohort):
    assert read_image(cohort / "images" / "phantom_000.nii.gz").warnings == ()
    assert read_labels(cohort / "labels" / "phantom_000.nii.gz").warnings == ()


def test_mr_is_written_as_float(tmp_path):
    write_cohort(tmp_path, 1, modality="mr", spacing_mm=SPACING_MM)
    assert nib.load(tmp_path / "images" / "phantom_000.nii.gz").get_data_dtype() == np.float32


def test_equal_arguments_give_equal_files(cohort, tmp_path):
    write_cohort(tmp_path, 3, seed=7, labelled=2, spacing_mm=SPACING_MM)
    assert digests(tmp_path) == digests(cohort)


def test_a_smaller_cohort_is_the_beginning_of_a_larger_one(cohort, tmp_path):
    write_cohort(tmp_path, 2, seed=7, spacing_mm=SPACING_MM)
    larger = digests(cohort)
    assert all(larger[name] == digest for name, digest in digests(tmp_path).items() if name.endswith(".nii.gz"))


def test_cohorts_of_neighbouring_seeds_share_no_patient(cohort, tmp_path):
    write_cohort(tmp_path, 3, seed=8, spacing_mm=SPACING_MM)
    images = [digest for folder in (cohort, tmp_path) for name, digest in digests(folder).items() if "images" in name]
    assert len(set(images)) == len(images) == 6


def test_an_earlier_cohort_is_replaced_and_other_files_are_left(tmp_path):
    write_cohort(tmp_path, 3, spacing_mm=SPACING_MM)
    (tmp_path / "split.json").write_text("{}")
    write_cohort(tmp_path, 1, spacing_mm=SPACING_MM, labelled=0)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["phantom_000.nii.gz"]
    assert list((tmp_path / "labels").iterdir()) == []
    assert (tmp_path / "split.json").read_text() == "{}"


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "phantom_000.nii.gz").write_text("mine")
    with pytest.raises(UsageError, match="expected a new or empty folder"):
        write_cohort(tmp_path, 1, spacing_mm=SPACING_MM)
    assert digests(tmp_path).keys() == {"images/phantom_000.nii.gz"}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(StorageError, match="taken"):
        write_cohort(tmp_path / "taken", 1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"cases": 0},
        {"cases": 2, "labelled": 3},
        {"cases": 2, "labelled": -1},
        {"cases": 2, "seed": -1},
        {"cases": 2, "modality": "pet"},
        {"cases": 2, "spacing_mm": -6.0},
    ],
)
def test_numbers_that_cannot_be_used_are_refused_before_anything_is_touched(tmp_path, arguments):
    folder = tmp_path / "cohort"
    with pytest.raises(UsageError, match="expected"):
        write_cohort(folder, **arguments)
    assert not folder.exists()
