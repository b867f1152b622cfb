"""The demo, small: every file it promises, and a table that can be trusted."""

import csv
import re

import numpy as np
import pytest

from medfs.inference.demo import ALONE, BOTH, MAJORITY, DemoPlan, majority, run_demo
from medfs.io import read_labels

PLAN = DemoPlan(labelled=1, unlabelled=1, test=1, epochs=1, epoch_length=1, spacing_mm=14.0, patch=16, seed=3)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output, lines = tmp_path_factory.mktemp("demo"), []
    table = run_demo(output, PLAN, lines.append)
    return output, table, lines


def test_the_table_has_every_organ_and_the_mean_of_each_method(demo):
    output, table, lines = demo
    assert table == output / "dice.csv"
    head, *rows = list(csv.reader(table.open()))
    assert head == ["organ", MAJORITY, ALONE, BOTH]
    assert [row[0] for row in rows[-2:]] == ["prostate_uterus", "mean"]
    assert len(rows) == 16
    values = np.array([[float(cell) for cell in row[1:]] for row in rows])
    finite = values[~np.isnan(values)]
    assert ((finite >= 0) & (finite <= 1)).all()
    np.testing.assert_allclose(values[-1], np.nanmean(values[:-1], axis=0), atol=1e-3)
    assert any("n = 1 of 1 torsos" in line for line in lines)


def test_the_baseline_is_the_labelled_torso_laid_over_the_test_torso(demo):
    output, table, _ = demo
    known = read_labels(output / "data" / "training" / "labels" / "phantom_000.nii.gz").array
    truth = read_labels(output / "data" / "test" / "labels" / "phantom_000.nii.gz").array
    laid = majority([known], truth.shape)
    liver = 6
    dice = 2 * ((laid == liver) & (truth == liver)).sum() / ((laid == liver).sum() + (truth == liver).sum())
    rows = {row["organ"]: row for row in csv.DictReader(table.open())}
    assert float(rows["liver"][MAJORITY]) == pytest.approx(dice, abs=1e-3)


def test_runs_and_predictions_lie_where_it_says(demo):
    output, _, lines = demo
    for name in (ALONE, BOTH):
        assert (output / "runs" / name / "models" / "model.pt").is_file()
        assert (output / "predictions" / name / "phantom_000_seg.nii.gz").is_file()
    for suffix in (".seg.nrrd", "_preview.png", "_seg.csv"):
        assert (output / "predictions" / BOTH / f"phantom_000{suffix}").is_file()
    assert any(str(output / "runs" / BOTH) in line for line in lines)


def test_the_page_shows_the_table_and_links_the_previews(demo):
    output, table, _ = demo
    page = (output / "report.html").read_text()
    for row in csv.reader(table.open()):
        for cell in row:
            assert f">{cell}</t" in page
    sources = re.findall('<img src="([^"]+)"', page)
    assert sources == [f"predictions/{BOTH}/phantom_000_preview.png"]
    assert (output / sources[0]).is_file()


def test_the_demo_runs_again_in_its_folder_with_the_same_table(demo):
    output, table, _ = demo
    before = table.read_text()
    run_demo(output, PLAN, lambda line: None)
    assert table.read_text() == before


def test_majority_counts_votes_and_prefers_the_lower_label_in_a_tie():
    first, second = np.array([[[1, 2, 2, 0]]]), np.array([[[1, 1, 2, 3]]])
    third = np.array([[[3, 1, 0, 0]]])
    assert majority([first, second, third], (1, 1, 4)).tolist() == [[[1, 1, 2, 0]]]
    assert majority([first, second], (1, 1, 4)).tolist() == [[[1, 1, 2, 0]]]


@pytest.mark.parametrize("shape", [(3, 5, 7), (9, 2, 4), (1, 1, 1)])
def test_majority_centres_maps_of_other_sizes(shape):
    labels = np.zeros((5, 5, 5), int)
    labels[2, 2, 2] = 4
    laid = majority([labels], shape)
    assert laid.shape == shape
    assert (laid == 4).sum() == 1
    assert np.abs(np.argwhere(laid == 4)[0] - (np.array(shape) - 1) / 2).max() <= 0.5
