"""The runner: resumes what is proved, keeps going after a bad case, refuses what would do harm."""

import json
import shutil

import numpy as np
import pytest
from chaos_trees import small_case

import medfs
from medfs.errors import ExitCode, UsageError
from medfs.inference.records import read_records
from medfs.io import file_sha256, find_cases, read_image
from preprocessing.chaos_t2 import RECIPE
from preprocessing.command import main
from preprocessing.pipeline import RecipeRun


@pytest.fixture
def raw(tmp_path):
    for case in ("1", "2", "10"):
        small_case(tmp_path / "raw" / "MR" / case / "T2SPIR", seed=int(case))
    return tmp_path / "raw"


def run(raw, output, recipe=RECIPE):
    """Exit code, and the cases that were made anew."""
    made = []
    job = RecipeRun(recipe, raw, output)
    code = job.run(job.find(), lambda record, kept: None if kept else made.append(record.case))
    return code, made


def test_the_result_is_a_dataset_that_medfs_finds(raw, tmp_path):
    assert run(raw, tmp_path / "out") == (ExitCode.OK, ["1", "2", "10"])
    cases = find_cases(tmp_path / "out")
    assert [case.name for case in cases] == ["1", "10", "2"]
    assert all(case.label for case in cases)


def test_the_manifest_proves_what_was_made_from_what(raw, tmp_path):
    run(raw, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["recipe"] == "chaos_t2"
    assert manifest["versions"]["medfs"] == medfs.__version__
    assert manifest["classes"] == {"1": "liver", "2": "right_kidney", "3": "left_kidney", "4": "spleen"}
    assert manifest["steps"][1] == {"transform": "ClipPercentiled", "keys": ["image"], "upper": 99.5}
    case = manifest["cases"]["10"]
    assert case["before"] == {"size": [12, 10, 4], "spacing_mm": [1.25, 1.25, 7.7]}
    assert case["after"]["size"] == [256, 256, 4]
    assert len(case["sources"]) == 8
    for name, sha256 in case["sources"].items():
        assert file_sha256(raw / name) == sha256
    for name, sha256 in case["outputs"].items():
        assert file_sha256(tmp_path / "out" / name) == sha256


def test_equal_sources_give_equal_bytes(raw, tmp_path):
    for folder in ("a", "b"):
        run(raw, tmp_path / folder)
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file() and path.name != "report.jsonl":  # it holds times
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path


def test_a_second_run_makes_only_what_is_not_proved(raw, tmp_path):
    output = tmp_path / "out"
    run(raw, output)
    before = (output / "manifest.json").read_bytes()
    assert run(raw, output) == (ExitCode.OK, [])
    (output / "images" / "1.nii.gz").write_bytes(b"damaged")
    (output / "labels" / "2.nii.gz").unlink()
    assert run(raw, output) == (ExitCode.OK, ["1", "2"])
    assert (output / "manifest.json").read_bytes() == before
    assert run(raw, output, RECIPE.with_published_sizes()) == (ExitCode.OK, ["1", "2", "10"])


def test_a_changed_source_is_made_again(raw, tmp_path):
    run(raw, tmp_path / "out")
    shutil.rmtree(raw / "MR" / "2")
    image, _, _ = small_case(raw / "MR" / "2" / "T2SPIR", seed=77)
    assert run(raw, tmp_path / "out") == (ExitCode.OK, ["2"])
    written = read_image(tmp_path / "out" / "images" / "2.nii.gz").array
    assert written.max() == pytest.approx(np.percentile(image, 99.5), rel=1e-6)


def test_a_report_cut_by_a_kill_is_read_up_to_there(raw, tmp_path):
    run(raw, tmp_path / "out")
    report = tmp_path / "out" / "report.jsonl"
    lines = report.read_text().splitlines()
    report.write_text("\n".join(lines[:2]) + "\n" + lines[2][: len(lines[2]) // 2])
    assert run(raw, tmp_path / "out") == (ExitCode.OK, ["10"])
    assert read_records(tmp_path / "out").keys() == {"1", "2", "10"}
    assert run(raw, tmp_path / "out") == (ExitCode.OK, [])


def test_what_a_case_had_written_goes_when_its_source_is_spoilt(raw, tmp_path):
    run(raw, tmp_path / "out")
    next((raw / "MR" / "2" / "T2SPIR" / "Ground").iterdir()).write_bytes(b"")
    assert run(raw, tmp_path / "out") == (ExitCode.SOME_FAILED, ["2"])
    assert not list((tmp_path / "out").rglob("2.nii.gz"))
    assert "2" not in json.loads((tmp_path / "out" / "class_slices.json").read_text())["liver"]


def test_a_case_without_mask_folder_is_unlabelled(raw, tmp_path, capsys):
    shutil.rmtree(raw / "MR" / "2" / "T2SPIR" / "Ground")
    assert main(RECIPE, [str(raw), str(tmp_path / "out")]) == ExitCode.OK
    assert "[2/3] 2: done, " in capsys.readouterr().err
    assert {case.name for case in find_cases(tmp_path / "out") if case.label is None} == {"2"}
    folds = json.loads((tmp_path / "out" / "folds.json").read_text())
    assert sorted(case for fold in folds["folds"] for case in fold) == ["1", "10"]
    assert folds["scheme"] == "by patient"


def test_cases_that_the_source_lacks_are_not_mixed_in(raw, tmp_path):
    run(raw, tmp_path / "out")
    shutil.rmtree(raw / "MR" / "2")
    with pytest.raises(UsageError, match="holds 1 cases that the source lacks: 2; choose another folder"):
        run(raw, tmp_path / "out")
    for folder in ("images", "labels"):
        (tmp_path / "out" / folder / "2.nii.gz").unlink()
    assert run(raw, tmp_path / "out") == (ExitCode.OK, [])
    assert list(json.loads((tmp_path / "out" / "manifest.json").read_text())["cases"]) == ["1", "10"]


def test_results_never_go_into_the_source(raw, tmp_path):
    for output in (raw, raw / "out"):
        with pytest.raises(UsageError, match="lies in the source folder"):
            run(raw, output)


def test_calls_that_cannot_work_are_one_line_and_a_code(raw, tmp_path, capsys):
    assert main(RECIPE, [str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 3
    assert capsys.readouterr().err.strip() == f"medfs: {tmp_path / 'nowhere'}: no such folder; expected the raw dataset"
    (tmp_path / "empty").mkdir()
    assert main(RECIPE, [str(tmp_path / "empty"), str(tmp_path / "out")]) == 3
    assert "no MR/<id>/T2SPIR/DICOM_anon inside" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(RECIPE, [str(raw), str(tmp_path / "file" / "out")]) == ExitCode.STORAGE
    assert capsys.readouterr().err.startswith("medfs: ")
    assert main(RECIPE, [str(raw), str(raw / "out")]) == ExitCode.USAGE


def test_a_case_that_cannot_be_written_whole_leaves_nothing(raw, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels").write_text("in the way")
    assert main(RECIPE, [str(raw), str(tmp_path / "out")]) == ExitCode.STORAGE
    assert capsys.readouterr().err.startswith("medfs: ")
    assert not list((tmp_path / "out" / "images").iterdir())
