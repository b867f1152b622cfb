"""Labelled scans are found as files, in two folders or in a dataset, and what does not fit is one line."""

import pytest

from medfs.errors import InputError, MedfsError, UsageError
from medfs.io.supports import find_supports


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def found(cases):
    return [(case.name, case.image.name, case.label.name) for case in cases]


def test_files_pair_in_their_order(tmp_path):
    make(tmp_path, "b.nii", "a.nii.gz", "one.nii", "two.nii")
    cases = find_supports([tmp_path / "b.nii", tmp_path / "a.nii.gz"], [tmp_path / "one.nii", tmp_path / "two.nii"])
    assert found(cases) == [("b", "b.nii", "one.nii"), ("a", "a.nii.gz", "two.nii")]


def test_two_folders_pair_by_name(tmp_path):
    make(tmp_path, "scans/image_2.nii", "scans/x_0000.nii.gz", "masks/label_2.nii.gz", "masks/x.nii.gz")
    cases = find_supports([tmp_path / "scans"], [tmp_path / "masks"])
    assert found(cases) == [("image_2", "image_2.nii", "label_2.nii.gz"), ("x", "x_0000.nii.gz", "x.nii.gz")]


def test_a_dataset_gives_its_labelled_scans(tmp_path):
    make(tmp_path, "images/a.nii", "images/b.nii", "labels/b.nii")
    assert found(find_supports([tmp_path])) == [("b", "b.nii", "b.nii")]


@pytest.mark.parametrize(
    ("scans", "masks", "error", "said"),
    [
        (["a.nii", "b.nii"], ["m.nii"], UsageError, "2 --support and 1 --support-mask; expected one mask a scan"),
        (["a.nii", "scans"], ["m.nii", "masks"], UsageError, "with a folder among them; expected either files alone"),
        (["a.nii"], ["masks"], UsageError, "a file and a folder; expected two files or two folders"),
        (["scans"], ["m.nii"], UsageError, "a file and a folder"),
        (["scans"], [], UsageError, "no images/ and labels/ inside; expected them, or --support-mask FOLDER"),
        (["empty"], ["masks"], UsageError, "no scan inside; expected files such as .nii.gz"),
        (["scans"], ["empty"], InputError, "for x.nii, y.nii; expected the same names"),
        (["a.nii"], [], UsageError, "1 --support and 0 --support-mask"),
        (["none.nii"], ["m.nii"], UsageError, "none.nii: no such file or folder"),
        (["scans"], ["masks"], InputError, "scans and masks: label z.nii has no image"),
        (["unlabelled"], [], UsageError, "no scan has a label map; expected at least one in labels/"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, scans, masks, error, said):
    make(tmp_path, "a.nii", "b.nii", "m.nii", "scans/x.nii", "scans/y.nii", "masks/x.nii", "masks/y.nii", "masks/z.nii")
    make(tmp_path, "unlabelled/images/a.nii")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MedfsError) as caught:
        find_supports([tmp_path / name for name in scans], [tmp_path / name for name in masks])
    assert isinstance(caught.value, error)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
