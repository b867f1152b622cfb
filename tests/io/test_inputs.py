"""Which scans a call means."""

import os

import numpy as np
import pytest
from PIL import Image

from medfs.errors import ExitCode, InputError, UsageError
from medfs.io import find_images, image_items, read_image


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    (folder / "inner").mkdir(parents=True)
    for name in (
        "b.nii.gz",
        "a.nii",
        "C_0000.nii.gz",
        "d.mha",
        "pair.hdr",
        "pair.img",
        "e.NRRD",
        "f.mgz",
        "notes.txt",
        "g.seg.nrrd",
        "._b.nii.gz",
        ".medfs-host-123-0a1b2c3d.tmp.nii.gz",
        "inner/h.nii.gz",
    ):
        (folder / name).touch()
    (folder / "folder.nii.gz").mkdir()
    return folder


def test_a_folder_gives_its_scans_sorted_and_nothing_else(scans):
    found = find_images([scans])
    assert {case: path.name for case, path in found.items()} == {
        "C": "C_0000.nii.gz",
        "a": "a.nii",
        "b": "b.nii.gz",
        "d": "d.mha",
        "e": "e.NRRD",
        "f": "f.mgz",
        "pair": "pair.hdr",
    }
    assert all(path.is_absolute() for path in found.values())
    assert list(found) == sorted(found)


def test_a_file_is_itself_and_comes_once(scans):
    assert list(find_images([scans / "b.nii.gz", str(scans / "b.nii.gz")])) == ["b"]


def test_relative_and_absolute_names_are_one_file(scans, monkeypatch):
    monkeypatch.chdir(scans)
    assert list(find_images(["b.nii.gz", scans / "b.nii.gz"])) == ["b"]


@pytest.mark.parametrize(
    ("pattern", "cases"),
    [("*.nii.gz", ["C", "b"]), ("**/*.nii.gz", ["C", "b", "h"]), ("*", ["C", "a", "b", "d", "e", "f", "pair"])],
)
def test_a_pattern_gives_the_scans_it_matches(scans, pattern, cases):
    assert sorted(find_images([str(scans / pattern)])) == cases


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path):
    (tmp_path / "scan[1].nii.gz").touch()
    (tmp_path / "scan1.nii.gz").touch()
    assert list(find_images([tmp_path / "scan[1].nii.gz"])) == ["scan%5B1%5D"]


@pytest.mark.parametrize("given", ["missing.nii.gz", "missing", "*.mnc", "notes.*"])
def test_what_is_not_there_is_a_usage_error(scans, given):
    with pytest.raises(UsageError, match="no such file or folder"):
        find_images([str(scans / given)])


def test_a_folder_without_scans_is_a_usage_error(tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.nii.gz").touch()
    with pytest.raises(UsageError, match="no scan inside"):
        find_images([tmp_path])


@pytest.mark.parametrize("second", ["a.nii", "A.nii.gz", "a_0000.nii.gz", "a.mha"])
def test_two_scans_of_one_output_name_are_a_usage_error(tmp_path, second):
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / second).touch()
    if len(os.listdir(tmp_path)) < 2:
        pytest.skip("this file system folds case")
    with pytest.raises(UsageError, match="equal case names") as caught:
        find_images([tmp_path])
    assert caught.value.exit_code is ExitCode.USAGE
    assert "a.nii.gz" in str(caught.value)
    assert second in str(caught.value)


def test_items_for_monai_name_image_and_case(scans):
    items = image_items(scans / "inner")
    assert items == [{"image": str(scans / "inner" / "h.nii.gz"), "case": "h"}]


def test_a_series_of_pictures_is_no_scan(tmp_path):
    """Of unequal sizes, with a gap in its numbers: neither the folder nor one of its files passes for a volume."""
    for number, side in ((1, 8), (2, 8), (4, 9)):
        Image.fromarray(np.zeros((side, 8), np.uint8)).save(tmp_path / f"slice_{number:03d}.png")
    with pytest.raises(UsageError, match="no scan inside; expected files such as"):
        find_images([str(tmp_path)])
    for path in tmp_path.iterdir():
        with pytest.raises(InputError, match=rf"^{path.name}: not a NIfTI file") as refused:
            read_image(path)
        assert "\n" not in str(refused.value)
