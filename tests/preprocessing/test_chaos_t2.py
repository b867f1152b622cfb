"""CHAOST2: DICOM and mask pictures come out as the published files, in place."""

import json

import nibabel as nib
import numpy as np
import pytest
from chaos_trees import GREY, small_case, write_case
from PIL import Image

from medfs.io import read_image, read_labels
from preprocessing.chaos_t2 import RECIPE
from preprocessing.command import main
from preprocessing.pipeline import RecipeRun


def flipped(array, affine, axis):
    """The same volume with one array axis reversed."""
    flip = np.eye(4)
    flip[axis, axis], flip[axis, 3] = -1, array.shape[axis] - 1
    return np.flip(array, axis), affine @ flip


def run(source, output, recipe=RECIPE):
    job = RecipeRun(recipe, source, output)
    return job.run(job.find())


@pytest.mark.parametrize("downwards", [False, True])
@pytest.mark.parametrize("case", ["5", "31"])  # 31 is oblique
def test_a_chaos_tree_comes_back_as_the_scan_it_was_written_from(real_data, tmp_path, case, downwards):
    published = nib.load(real_data / "chaost2_mr" / "images" / f"image_{case}.nii.gz")
    labels = nib.load(real_data / "chaost2_mr" / "labels" / f"label_{case}.nii.gz")
    ids, expected = np.asarray(labels.dataobj), np.asarray(published.dataobj)
    assert nib.aff2axcodes(published.affine) == ("L", "A", "S")
    # scanners store rows from front to back; the file order of the slices is either
    image, affine = flipped(expected, published.affine, 1)
    grey = np.flip(GREY[ids], 1)
    if downwards:
        image, affine = flipped(image, affine, 2)
        grey = np.flip(grey, 2)
    write_case(tmp_path / "raw" / "MR" / case / "T2SPIR", image.astype(np.uint16), grey, affine)
    assert run(tmp_path / "raw", tmp_path / "out") == 0
    made, made_labels = (
        reader(tmp_path / "out" / folder / f"{case}.nii.gz")
        for reader, folder in ((read_image, "images"), (read_labels, "labels"))
    )
    np.testing.assert_array_equal(made_labels.array, ids)
    np.testing.assert_allclose(made.array, np.minimum(expected, np.percentile(expected, 99.5)), atol=0.02)
    np.testing.assert_allclose(made.affine, published.affine, atol=2e-3)
    np.testing.assert_allclose(made_labels.affine, made.affine, atol=0)


def test_grey_codes_mean_the_same_organ_whichever_organs_a_scan_shows(tmp_path):
    small_case(tmp_path / "raw" / "MR" / "1" / "T2SPIR", organs=(4,))
    small_case(tmp_path / "raw" / "MR" / "2" / "T2SPIR", organs=(1, 3))
    assert run(tmp_path / "raw", tmp_path / "out") == 0
    records = json.loads((tmp_path / "out" / "manifest.json").read_text())["cases"]
    assert set(records["1"]["labels"]) == {"4"}
    assert set(records["2"]["labels"]) == {"1", "3"}
    slices = json.loads((tmp_path / "out" / "class_slices.json").read_text())
    assert slices["spleen"] == {"1": [1, 2], "2": []}
    assert slices["left_kidney"]["2"] == [1, 2]


def test_volumes_are_resampled_and_cropped_to_the_published_grid(tmp_path):
    write_case(
        tmp_path / "raw" / "MR" / "1" / "T2SPIR",
        np.random.default_rng(0).integers(0, 900, (300, 280, 5)).astype(np.uint16),
        np.zeros((300, 280, 5), np.uint8),
        np.diag([-1.62, -1.62, 6.1, 1.0]),
    )
    assert run(tmp_path / "raw", tmp_path / "out") == 0
    volume = read_image(tmp_path / "out" / "images" / "1.nii.gz")
    assert volume.array.shape == (256, 256, 4)
    np.testing.assert_allclose(volume.spacing_mm, (1.25, 1.25, 7.7), rtol=1e-5)
    assert run(tmp_path / "raw", tmp_path / "published", RECIPE.with_published_sizes()) == 0
    steps = json.loads((tmp_path / "published" / "manifest.json").read_text())["steps"]
    assert [step.get("output_size") for step in steps if "ToSpacing" in step["transform"]] == ["published"] * 2


def test_published_folds_are_written_when_all_scans_are_there(tmp_path):
    assert RECIPE.folds is not None
    folds = RECIPE.folds.named()
    assert folds[0] == ["1", "2", "3", "5", "8"]
    assert folds[4] == ["36", "37", "38", "39", "1"]
    for case in RECIPE.folds.cases:
        small_case(tmp_path / "raw" / "MR" / case / "T2SPIR")
    assert main(RECIPE, [str(tmp_path / "raw"), str(tmp_path / "out")]) == 0
    content = json.loads((tmp_path / "out" / "folds.json").read_text())
    assert (content["scheme"], content["support"], content["folds"]) == ("published", "last", folds)


FAULTS = {
    "no_masks": (lambda case: [p.unlink() for p in (case / "Ground").iterdir()], "4 slices and 0 masks"),
    "mask_gone": (lambda case: (case / "Ground" / "IMG-0004-00002.png").unlink(), "4 slices and 3 masks"),
    "mask_cut": (
        lambda case: (case / "Ground" / "IMG-0004-00002.png").write_bytes(b"\x89PNG\r\n"),
        "IMG-0004-00002.png: no picture in one of the formats",
    ),
    "mask_of_another_size": (
        lambda case: Image.new("L", (10, 12)).save(case / "Ground" / "IMG-0004-00002.png"),
        "IMG-0004-00002.png: (10, 12) pixels on slices of (12, 10)",
    ),
    "slice_gone": (lambda case: (case / "DICOM_anon" / "IMG-0004-00002.dcm").unlink(), "1 missing"),
    "slice_empty": (
        lambda case: (case / "DICOM_anon" / "IMG-0004-00002.dcm").write_bytes(b""),
        "00002.dcm: empty file",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_case_is_one_line_with_its_name_and_the_others_are_made(tmp_path, capsys, fault):
    for case in ("1", "2"):
        small_case(tmp_path / "raw" / "MR" / case / "T2SPIR")
    spoil, message = FAULTS[fault]
    spoil(tmp_path / "raw" / "MR" / "1" / "T2SPIR")
    assert main(RECIPE, [str(tmp_path / "raw"), str(tmp_path / "out")]) == 1
    line = next(line for line in capsys.readouterr().err.splitlines() if "[1/2]" in line)
    assert "1: failed, 1: " in line
    assert message in line
    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["2.nii.gz"]
    assert list(json.loads((tmp_path / "out" / "manifest.json").read_text())["failed"]) == ["1"]


def test_an_unknown_grey_value_is_refused_with_its_count(tmp_path, capsys):
    image, ids, affine = small_case(tmp_path / "elsewhere")
    grey = GREY[ids]
    grey[0, 0, :2] = 150
    write_case(tmp_path / "raw" / "MR" / "1" / "T2SPIR", image, grey, affine)
    assert main(RECIPE, [str(tmp_path / "raw"), str(tmp_path / "out")]) == 3
    assert "label value 150 among 2 unknown voxels; expected 0, 55 to 70, 110 to 135" in capsys.readouterr().err
