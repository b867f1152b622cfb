"""``medfs bench semi-supervised``: a comparison in small, gone on with, and what it refuses."""

import json
import shutil
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


def test_the_folder_of_the_data_may_move(medfs, cohort, arms, compared, tmp_path):
    moved = shutil.copytree(cohort, tmp_path / "moved")
    code, _, err = medfs("bench", "semi-supervised", moved, "-o", compared, "--arms", arms, *SMALL)
    assert code == ExitCode.OK
    assert "steps" not in err


@pytest.mark.parametrize("left", ["result.json", "medfs.json", "checkpoints/last.pt"])
@pytest.mark.parametrize(
    ("options", "other"),
    [
        (["--set", "learning_rate=0.5"], "learning_rate"),
        (["--nsd-tolerance-mm", "2"], "nsd_tolerance_mm"),
        (["--labels", "liver,spleen"], "labels"),
        (["--steps", "20"], "steps"),
        (["--test", "1"], "cases"),
    ],
)
def test_a_run_of_other_values_is_neither_shown_nor_continued(
    medfs, cohort, arms, compared, tmp_path, left, options, other
):
    run = Path("labelled_1", "seed_0", "one_label")
    (tmp_path / run / left).parent.mkdir(parents=True)
    for name in ("asked.json", left):
        shutil.copy(compared / run / name, tmp_path / run / name)
    one = tmp_path / "one.json"
    one.write_text(json.dumps({"arms": {"one label": {"values": SUPERVISED}}}))
    code, out, err = medfs(
        "bench", "semi-supervised", cohort, "-o", tmp_path, "--arms", one, *SMALL, "--seeds", "1", *options
    )
    assert (code, out) == (ExitCode.NOTHING_DONE, "")
    assert f"was made with other values of {other}; choose another folder" in err.splitlines()[-1]


def test_results_of_other_cases_or_of_unknown_values_are_not_mixed_in(medfs, cohort, arms, compared, tmp_path):
    others = tmp_path / "others"
    write_cohort(others, 5, labelled=5, seed=2, spacing_mm=16.0)
    same_names = tmp_path / "same_names"
    for folder in ("images", "labels"):
        (same_names / folder).mkdir(parents=True)
        for old, new in zip(sorted((cohort / folder).iterdir()), sorted((others / folder).iterdir()), strict=True):
            shutil.copy(new, same_names / folder / old.name)
    code, _, err = medfs("bench", "semi-supervised", same_names, "-o", compared, "--arms", arms, *SMALL)
    assert code == ExitCode.NOTHING_DONE
    assert "other values of cases" in err.splitlines()[-1]
    older = shutil.copytree(compared, tmp_path / "older")
    for path in older.glob("*/*/*/asked.json"):
        path.unlink()
    code, _, err = medfs("bench", "semi-supervised", cohort, "-o", older, "--arms", arms, *SMALL)
    assert code == ExitCode.NOTHING_DONE
    assert "without asked.json, by an older medfs; choose another folder with -o" in err.splitlines()[-1]


def test_an_arm_that_sees_all_labels_does_not_take_the_result_of_one_that_does_not(
    medfs, cohort, arms, compared, tmp_path
):
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps({"arms": {"one label": {"values": SUPERVISED, "all_labels": True}}}))
    code, _, err = medfs("bench", "semi-supervised", cohort, "-o", compared, "--arms", changed, *SMALL)
    assert code == ExitCode.NOTHING_DONE
    assert "other values of cases" in err.splitlines()[-1]


def test_a_test_scan_under_another_name_is_refused_in_training(medfs, cohort, arms, compared, tmp_path):
    leaking = shutil.copytree(cohort, tmp_path / "leaking")
    split = json.loads(next(compared.glob("labelled_1/seed_0/all/split.json")).read_text())
    tested, trained = split["test"][0]["case"], split["labelled"][0]["case"]
    shutil.copy(cohort / "images" / f"{tested}.nii.gz", leaking / "images" / f"{trained}.nii.gz")
    code, out, err = medfs("bench", "semi-supervised", leaking, "-o", tmp_path / "out", "--arms", arms, *SMALL)
    assert (code, out) == (ExitCode.SOME_FAILED, "")
    assert f"{trained} (training) and {tested} (test) share voxels" in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


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
    assert (code, out) == (ExitCode.USAGE, "")
    assert "test 99" in err.splitlines()[-1]


@pytest.mark.parametrize("text", ["{", '{"arms": []}', '{"arms": {"a": {"unknown": 1}}}', '{"arms": {}}'])
def test_a_file_without_arms_is_refused(medfs, cohort, tmp_path, text):
    (tmp_path / "arms.json").write_text(text)
    code, _, err = medfs("bench", "semi-supervised", cohort, "-o", tmp_path / "o", "--arms", tmp_path / "arms.json")
    assert code in (ExitCode.USAGE, ExitCode.SOME_FAILED)
    assert len(err.splitlines()) == 1
    assert "arms.json" in err
