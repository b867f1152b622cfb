"""``medfs demo``: the whole way, in small."""

from functools import partial

import pytest

from medfs.errors import ExitCode
from medfs.inference import demo


@pytest.fixture
def plans(monkeypatch):
    """The plans of demos that were asked for."""
    asked = []
    monkeypatch.setattr(demo, "run_demo", lambda output, plan, say: asked.append((output, plan)))
    return asked


@pytest.mark.parametrize(("options", "epoch_length"), [([], 120), (["--steps", "450"], 75), (["--steps", "6"], 1)])
def test_steps_are_spread_over_the_epochs(medfs, plans, tmp_path, options, epoch_length):
    code, out, _ = medfs("demo", "-o", tmp_path, "--seed", "4", *options)
    assert code == ExitCode.OK
    ((output, plan),) = plans
    assert output == tmp_path
    assert (plan.epoch_length, plan.seed) == (epoch_length, 4)
    assert plan.epochs * plan.epoch_length == (int(options[1]) if options else 720)
    assert out.splitlines()[-1] == "done in 0.0 minutes"


def test_a_small_demo_ends_with_its_table(medfs, monkeypatch, tmp_path):
    small = partial(demo.DemoPlan, labelled=1, unlabelled=1, test=1, spacing_mm=14.0, patch=16)
    monkeypatch.setattr(demo, "DemoPlan", small)
    code, out, err = medfs("demo", "-o", tmp_path / "demo", "--steps", "6")
    assert code == ExitCode.OK
    assert "Traceback" not in err
    lines = out.splitlines()
    assert lines[0] == "loading torch and MONAI ..."
    assert any(line.startswith("liver ") for line in lines)
    assert (tmp_path / "demo" / "dice.csv").is_file()
    assert "step 6/6" in err


def test_a_folder_of_other_files_is_left_alone(medfs, tmp_path):
    (tmp_path / "data" / "training").mkdir(parents=True)
    (tmp_path / "data" / "training" / "thesis.txt").write_text("precious")
    code, _, err = medfs("demo", "-o", tmp_path)
    assert code == ExitCode.USAGE
    assert "no phantom cohort" in err.splitlines()[-1]
    assert [path.name for path in (tmp_path / "data" / "training").iterdir()] == ["thesis.txt"]
