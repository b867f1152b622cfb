"""Scores on the grid of the file, in millimetres."""

import csv
import json

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from medfs.anatomy import custom_label_set
from medfs.engines.data import training_split
from medfs.engines.evaluation import NativeScores, evaluation_items
from medfs.errors import InputError, NothingDoneError
from medfs.io import Volume, write_labels
from medfs.phantom import write_cohort

LABELS = custom_label_set(["liver", "spleen"])
SPACING = (2.0, 1.0, 4.0)


def cube(shift=0, value=1):
    labels = np.zeros((20, 16, 12), np.uint8)
    labels[4 + shift : 12 + shift, 4:10, 3:8] = value
    return labels


@pytest.fixture
def reference(tmp_path):
    path = tmp_path / "case_0.nii.gz"
    write_labels(path, cube(), Volume.from_array(cube(), np.diag([*SPACING, 1.0]), path))
    return path


def rows(folder):
    return list(csv.DictReader((folder / "scores.csv").open()))


def test_a_shifted_cube_has_the_scores_of_its_geometry(reference, tmp_path):
    scores = NativeScores(tmp_path / "out", LABELS)
    scores.add(cube(shift=2), reference, "case_0")
    scores.write()
    liver, spleen = rows(tmp_path / "out")
    assert (liver["case"], liver["organ"]) == ("case_0", "liver")
    assert float(liver["dice"]) == pytest.approx(6 / 8)
    assert float(liver["iou"]) == pytest.approx(6 / 10)
    assert float(liver["hd95_mm"]) == pytest.approx(2 * SPACING[0])
    assert float(liver["ref_volume_ml"]) == pytest.approx(8 * 6 * 5 * np.prod(SPACING) / 1000)
    assert spleen["organ"] == "spleen"
    assert spleen["status"] == "both_empty"


def test_the_tables_agree_with_what_is_printed(reference, tmp_path, capsys):
    scores = NativeScores(tmp_path / "deep" / "out", LABELS)
    scores.add(cube(), reference, "case_0")
    summary = scores.write()
    table = (tmp_path / "deep" / "out" / "summary.md").read_text()
    assert capsys.readouterr().out == table
    assert "liver" in table
    assert summary.organs[0].metrics["dice"].mean == 1.0
    assert json.loads((tmp_path / "deep" / "out" / "summary.json").read_text())


def test_an_engine_scores_every_case_and_starts_afresh_on_each_run(reference, tmp_path):
    scores = NativeScores(tmp_path / "out", LABELS)
    engine = Engine(lambda engine, batch: [{"pred": torch.from_numpy(cube(item["shift"])[None])} for item in batch])

    scores.attach(engine)
    items = [{"label": str(reference), "case": f"case_{shift}", "shift": shift} for shift in (0, 2)]
    for _ in range(2):
        engine.run([items[:1], items[1:]], max_epochs=1)
    assert [(row["case"], row["organ"]) for row in rows(tmp_path / "out")] == [
        ("case_0", "liver"),
        ("case_0", "spleen"),
        ("case_2", "liver"),
        ("case_2", "spleen"),
    ]
    assert float(rows(tmp_path / "out")[2]["dice"]) == pytest.approx(6 / 8)


def test_convention_and_tolerance_reach_the_rows(reference, tmp_path):
    scores = NativeScores(tmp_path, LABELS, "monai", nsd_tolerance_mm=5.0)
    scores.add(cube(shift=2), reference, "case_0")
    scores.write()
    liver = rows(tmp_path)[0]
    assert liver["convention"] == "monai"
    assert float(liver["nsd_tolerance_mm"]) == 5.0
    assert float(liver["nsd"]) == 1.0


def test_a_prediction_on_another_grid_is_refused(reference, tmp_path):
    with pytest.raises(InputError, match="case_0: prediction has shape"):
        NativeScores(tmp_path, LABELS).add(cube()[1:], reference, "case_0")


def test_without_scores_nothing_is_written(tmp_path):
    with pytest.raises(NothingDoneError, match="no case was scored"):
        NativeScores(tmp_path / "out", LABELS).write()
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "data"
    write_cohort(folder, 5, labelled=4, seed=1, spacing_mm=16.0)
    return folder


def test_every_labelled_case_of_a_folder_is_evaluated(cohort):
    items = evaluation_items(cohort)
    assert [item["case"] for item in items] == [f"phantom_{number:03d}" for number in range(4)]
    assert all(item.keys() == {"image", "label", "case"} for item in items)


@pytest.mark.parametrize(("test", "validation", "part"), [(2, 1, "test"), (0, 1, "validation")])
def test_of_a_split_the_held_out_cases_are_evaluated(cohort, tmp_path, test, validation, part):
    split = training_split(cohort, tmp_path, test=test, validation=validation)
    assert evaluation_items(tmp_path / "split.json") == split.items(part)


def test_a_split_that_holds_nothing_out_has_nothing_to_evaluate(cohort, tmp_path):
    training_split(cohort, tmp_path)
    with pytest.raises(NothingDoneError, match="no labelled case"):
        evaluation_items(tmp_path / "split.json")


def test_a_folder_without_labels_has_nothing_to_evaluate(tmp_path):
    write_cohort(tmp_path / "data", 1, labelled=0, spacing_mm=20.0)
    with pytest.raises(NothingDoneError, match="expected labels/"):
        evaluation_items(tmp_path / "data")
