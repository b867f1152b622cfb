"""``medfs evaluate``: tables, and how it ends when cases are missing."""

import csv
import shutil

import pytest
from tiny_run import NAMES, make_run

from medfs.engines.data import training_split
from medfs.errors import ExitCode
from medfs.phantom import write_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "data"
    write_cohort(folder, 3, seed=1, spacing_mm=14.0)
    return folder


def cases(output):
    return sorted({row["case"] for row in csv.DictReader((output / "scores.csv").open())})


def test_label_maps_are_scored_and_the_table_is_printed(medfs, cohort, tmp_path):
    code, out, err = medfs("evaluate", cohort, "-o", tmp_path, "--predictions", cohort / "labels")
    assert (code, err) == (ExitCode.OK, "")
    assert out == (tmp_path / "summary.md").read_text()
    assert "liver" in out
    assert cases(tmp_path) == ["phantom_000", "phantom_001", "phantom_002"]


def test_a_run_is_scored_on_the_test_cases_of_its_split(medfs, cohort, tmp_path):
    run = make_run(tmp_path / "run")
    split = training_split(cohort, run, test=2)
    code, _, _ = medfs("evaluate", run / "split.json", "-o", tmp_path / "out", "--bundle", run, "--device", "cpu")
    assert code == ExitCode.OK
    assert cases(tmp_path / "out") == sorted(case.name for case in split.test)
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert {row["organ"] for row in rows} == set(NAMES[1:])
    assert len(list((tmp_path / "out" / "predictions").glob("*_seg.nii.gz"))) == 2


def test_a_missing_label_map_shows_in_the_exit_code(medfs, cohort, tmp_path):
    maps = shutil.copytree(cohort / "labels", tmp_path / "maps")
    (maps / "phantom_001.nii.gz").unlink()
    code, _, err = medfs("evaluate", cohort, "-o", tmp_path / "out", "--predictions", maps)
    assert code == ExitCode.SOME_FAILED
    assert err.startswith("medfs: phantom_001: no label map")
    assert cases(tmp_path / "out") == ["phantom_000", "phantom_002"]


def test_without_any_label_map_nothing_is_done(medfs, cohort, tmp_path):
    code, _, err = medfs("evaluate", cohort, "-o", tmp_path / "out", "--predictions", tmp_path / "none")
    assert code == ExitCode.NOTHING_DONE
    assert err.splitlines()[-1] == "medfs: no case was scored; expected predictions with references"


@pytest.mark.parametrize("convention", ["medfs", "monai", "tak", "few_shot"])
def test_the_convention_is_written_into_every_row(medfs, cohort, tmp_path, convention):
    medfs("evaluate", cohort, "-o", tmp_path, "--predictions", cohort / "labels", "--convention", convention)
    assert {row["convention"] for row in csv.DictReader((tmp_path / "scores.csv").open())} == {convention}


def fails(outcome, said):
    assert outcome.code == ExitCode.USAGE
    assert outcome.err.startswith("medfs: ")
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_wrong_calls_are_one_line(medfs, cohort, tmp_path):
    out = ["-o", tmp_path / "out"]
    fails(medfs("evaluate", cohort, *out), "either a run with --bundle or label maps with --predictions")
    fails(medfs("evaluate", cohort, *out, "-b", "run", "--predictions", "maps"), "either a run with --bundle")
    fails(medfs("evaluate", tmp_path / "none", *out, "-b", "run"), "no such dataset")
    fails(medfs("evaluate", cohort, *out, "--predictions", cohort, "--labels", "martian"), "unknown label set")
    assert not (tmp_path / "out").exists()
