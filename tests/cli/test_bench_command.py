"""``medfs bench semi-supervised``: a comparison in small, gone on with, and what it refuses."""

import json
from pathlib import Path

import pytest

from medfs.errors import ExitCode
from medfs.phantom import write_cohort

SUPERVISED = {"objective": {"_target_": "medfs.semisup.objectives.SupervisedObjective"}}
SMALL = [
    *("--labels", "amos", "--labelled", "1", "--seeds", "2", "--steps", "10", "--validation", "0", "--test", "2"),
    *("--set", "filters=8", "--set", "patch_size=[16,16,16]", "--set", "levels=3", "--set", "epochs=1"),
    *("--set", "epoch_length=1"),
]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "data"
    write_cohort(folder, 5, labelled=5, seed=1, spacing_mm=16.0)
    return folder


@pytest.fixture(scope="module")
def arms(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("arms") / "arms.json"
    broken = {"values": {"objective": {"_target_": "medfs.semisup.MeanTeacher", "student": "@network", "decay": 2}}}
    content = {"arms": {"one label": {"values": SUPERVISED}, "all": {"values": SUPERVISED, "all_labels": True}}}
    path.write_text(json.dumps(content))
    path.with_name("broken.json").write_text(json.dumps({"arms": {**content["arms"], "broken": broken}}))
    return path


@pytest.fixture(scope="module")
def compared(cohort, arms, tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("compared") / "out"


def test_a_comparison_trains_scores_and_tests(medfs, cohort, arms, compared):
    code, out, err = medfs("bench", "semi-supervised", cohort, "-o", compared, "--arms", arms, *SMALL)
    assert code == ExitCode.OK, err
    assert out.strip() == (compared / "table.md").read_text().strip()
    rows = [line for line in out.splitlines() if line.startswith(("| one label |", "| all |"))]
    assert len(rows) == 2
    assert all(row.split(" | ")[-3:-1] == ["2", "2"] for row in rows)  # seeds, test cases
    assert "| all against one label |" in out
    splits = [json.loads(path.read_text()) for path in sorted(compared.glob("labelled_1/*/*/split.json"))]
    assert len({json.dumps(split["test"]) for split in splits}) == 1
    assert sorted(len(split["labelled"]) for split in splits) == [1, 1, 3, 3]


def test_the_same_command_goes_on_and_trains_nothing_again(medfs, cohort, arms, compared):
    done = {path: path.stat().st_mtime_ns for path in compared.glob("labelled_1/*/*/**/*") if path.is_file()}
    lost = compared / "labelled_1" / "seed_1" / "all" / "result.json"
    before = lost.read_text()
    lost.unlink()
    code, _, err = medfs("bench", "semi-supervised", cohort, "-o", compared, "--arms", arms, *SMALL)
    assert code == ExitCode.OK
    assert "steps" not in err
    assert json.loads(lost.read_text())["scores"] == json.loads(before)["scores"]
    assert {path for path, time in done.items() if path.stat().st_mtime_ns != time} == {lost}


def test_results_of_other_values_are_not_mixed_in(medfs, cohort, arms, compared):
    code, out, err = medfs(
        "bench", "semi-supervised", cohort, "-o", compared, "--arms", arms, *SMALL, "--set", "learning_rate=0.5"
    )
    assert code == ExitCode.NOTHING_DONE
    assert out == ""
    assert "was made with other values" in err.splitlines()[-1]


def test_an_arm_that_fails_is_named_and_stops_no_other(medfs, cohort, arms, compared):
    code, out, _ = medfs(
        "bench", "semi-supervised", cohort, "-o", compared, "--arms", arms.with_name("broken.json"), *SMALL
    )
    assert code == ExitCode.SOME_FAILED
    assert "- broken, 1 labelled, seed 0:" in out
    assert "| all against one label |" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--labelled", "four"], "--labelled four"),
        (["--steps", "15"], "multiple of 10"),
        (["--objectives", "nonsense"], "no overlay 'nonsense'"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(medfs, cohort, tmp_path, options, said):
    code, out, err = medfs("bench", "semi-supervised", cohort, "-o", tmp_path, *SMALL, *options)
    assert code != ExitCode.OK
    assert out == ""
    assert said in err.splitlines()[-1]


def test_too_few_cases_are_told_in_one_line(medfs, cohort, arms, tmp_path):
    code, out, err = medfs(
        "bench", "semi-supervised", cohort, "-o", tmp_path, "--arms", arms, *SMALL, "--seeds", "1", "--test", "99"
    )
    assert (code, out) == (ExitCode.NOTHING_DONE, "")
    assert "test 99" in err.splitlines()[-1]


@pytest.mark.parametrize("text", ["{", '{"arms": []}', '{"arms": {"a": {"unknown": 1}}}', '{"arms": {}}'])
def test_a_file_without_arms_is_refused(medfs, cohort, tmp_path, text):
    (tmp_path / "arms.json").write_text(text)
    code, _, err = medfs("bench", "semi-supervised", cohort, "-o", tmp_path / "o", "--arms", tmp_path / "arms.json")
    assert code in (ExitCode.USAGE, ExitCode.SOME_FAILED)
    assert len(err.splitlines()) == 1
    assert "arms.json" in err
