"""Scoring a run or a folder of label maps: which cases count, and what is said of the others."""

import csv
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny_run import NAMES, make_run

from medfs.engines.evaluation import evaluation_items
from medfs.errors import ExitCode, NothingDoneError, UsageError
from medfs.inference import FolderRun, Segmenter
from medfs.inference.evaluation import evaluate_predictions, evaluate_run
from medfs.io import Volume, read_image, read_labels, write_labels
from medfs.phantom import write_cohort

LABELS = "liver,spleen,right_kidney"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def cohort(tmp_path):
    write_cohort(tmp_path / "data", 2, seed=1, spacing_mm=12.0)
    return tmp_path / "data"


@pytest.fixture
def predictions(cohort, tmp_path):
    return shutil.copytree(cohort / "labels", tmp_path / "predictions")


def rows(output):
    return list(csv.DictReader((output / "scores.csv").open()))


def test_perfect_label_maps_score_one_in_every_organ(cohort, predictions, tmp_path):
    code = evaluate_predictions(evaluation_items(cohort), predictions, tmp_path / "out", "amos")
    assert code is ExitCode.OK
    found = rows(tmp_path / "out")
    assert len(found) == 2 * 15
    assert {float(row["dice"]) for row in found if row["status"] == "both"} == {1.0}


def test_label_maps_are_found_under_both_names(cohort, predictions, tmp_path):
    (predictions / "phantom_000.nii.gz").rename(predictions / "phantom_000_seg.nii.gz")
    assert evaluate_predictions(evaluation_items(cohort), predictions, tmp_path / "out", "amos") is ExitCode.OK


def test_a_missing_label_map_is_named_and_the_others_are_scored(cohort, predictions, tmp_path, capsys):
    (predictions / "phantom_001.nii.gz").unlink()
    code = evaluate_predictions(evaluation_items(cohort), predictions, tmp_path / "out", "amos")
    assert code is ExitCode.SOME_FAILED
    assert {row["case"] for row in rows(tmp_path / "out")} == {"phantom_000"}
    assert capsys.readouterr().err.startswith("medfs: phantom_001: no label map in ")


def test_a_damaged_label_map_is_named_and_the_others_are_scored(cohort, predictions, tmp_path, capsys):
    (predictions / "phantom_000.nii.gz").write_bytes(b"damaged")
    code = evaluate_predictions(evaluation_items(cohort), predictions, tmp_path / "out", "amos")
    assert code is ExitCode.SOME_FAILED
    assert "phantom_000.nii.gz" in capsys.readouterr().err


def rewritten(path, change):
    volume = read_labels(path)
    array, affine = change(volume.array, volume.affine.copy())
    write_labels(path, array, Volume.from_array(array, affine, path))


def mirrored(array, affine):
    """The same voxels, said to lie on the other side."""
    affine[0] *= -1
    return array, affine


def moved(array, affine):
    affine[:3, 3] += 8.0
    return array, affine


def cropped(array, affine):
    return array[1:], affine


@pytest.mark.parametrize("change", [mirrored, moved, cropped])
def test_a_label_map_on_another_grid_is_not_scored(cohort, predictions, tmp_path, capsys, change):
    rewritten(predictions / "phantom_000.nii.gz", change)
    code = evaluate_predictions(evaluation_items(cohort), predictions, tmp_path / "out", "amos")
    assert code is ExitCode.SOME_FAILED
    assert {row["case"] for row in rows(tmp_path / "out")} == {"phantom_001"}
    (line,) = capsys.readouterr().err.splitlines()
    assert "phantom_000.nii.gz" in line


def test_a_header_rounded_by_another_program_is_no_other_grid(cohort, predictions, tmp_path):
    def rounded(array, affine):
        return array, np.round(affine, 2)

    rewritten(predictions / "phantom_000.nii.gz", rounded)
    assert evaluate_predictions(evaluation_items(cohort), predictions, tmp_path / "out", "amos") is ExitCode.OK


def test_without_any_label_map_nothing_is_written(cohort, tmp_path):
    with pytest.raises(NothingDoneError):
        evaluate_predictions(evaluation_items(cohort), tmp_path / "empty", tmp_path / "out", "amos")
    assert not (tmp_path / "out").exists()


def test_an_unknown_label_set_is_refused(cohort, predictions, tmp_path):
    with pytest.raises(UsageError, match="unknown label set"):
        evaluate_predictions(evaluation_items(cohort), predictions, tmp_path / "out", "martian")


def test_a_run_is_scored_on_what_it_segments(run, cohort, tmp_path):
    items = evaluation_items(cohort)
    assert evaluate_run(items, run, tmp_path / "out", device="cpu") is ExitCode.OK
    found = rows(tmp_path / "out")
    assert [row["organ"] for row in found[:3]] == list(NAMES[1:])
    segmenter = Segmenter(run, device="cpu")
    for item in items:
        labels, truth = segmenter(read_image(item["image"])), read_labels(item["label"]).array
        for value, name in enumerate(NAMES[1:], start=1):
            row = next(row for row in found if (row["case"], row["organ"]) == (item["case"], name))
            assert int(row["pred_voxels"]) == (labels == value).sum()
            assert int(row["ref_voxels"]) == (truth == value).sum()
            shared = ((labels == value) & (truth == value)).sum()
            if row["status"] == "both":
                expected = 2 * shared / ((labels == value).sum() + (truth == value).sum())
                assert float(row["dice"]) == pytest.approx(expected)


def test_a_case_that_fails_is_not_scored_by_an_older_result(run, cohort, tmp_path, capsys):
    items = evaluation_items(cohort)
    evaluate_run(items, run, tmp_path / "out", device="cpu")
    image = cohort / "images" / "phantom_000.nii.gz"
    image.write_bytes(image.read_bytes()[:500])
    capsys.readouterr()
    assert evaluate_run(items, run, tmp_path / "out", device="cpu") is ExitCode.SOME_FAILED
    assert {row["case"] for row in rows(tmp_path / "out")} == {"phantom_001"}
    assert capsys.readouterr().err.startswith("medfs: phantom_000.nii.gz: ")


def test_a_run_and_its_label_maps_score_the_same(run, cohort, tmp_path):
    items = evaluation_items(cohort)
    FolderRun(Segmenter(run, device="cpu"), tmp_path / "maps").run(
        {item["case"]: Path(item["image"]) for item in items}
    )
    evaluate_run(items, run, tmp_path / "a", device="cpu")
    evaluate_predictions(items, tmp_path / "maps", tmp_path / "b", LABELS)
    assert (tmp_path / "a" / "scores.csv").read_text() == (tmp_path / "b" / "scores.csv").read_text()


def test_labels_of_a_file_without_orientation_are_refused(cohort, predictions, tmp_path):
    path = predictions / "phantom_000.nii.gz"
    image = nib.Nifti1Image(np.asarray(nib.load(path).dataobj), None)
    image.header.set_sform(None, 0)
    image.header.set_qform(None, 0)
    nib.save(image, path)
    code = evaluate_predictions(evaluation_items(cohort), predictions, tmp_path / "out", "amos")
    assert code is ExitCode.SOME_FAILED
