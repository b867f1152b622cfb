"""Means that count: nothing disappears from a summary, and missing an organ never helps."""

import csv
import io
import json
import statistics
from dataclasses import replace
from math import inf, isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfs.errors import UsageError
from medfs.metrics import METRICS, OrganScore, Status, format_table, score_case, score_rows, summarise, summary_rows

NAMES = {1: "liver", 2: "spleen", 3: "aorta"}
HIGHER_IS_BETTER = ("dice", "iou", "nsd")


def row(case="a", organ="liver", status=Status.BOTH, convention="medfs", **values):
    numbers = dict.fromkeys(METRICS, 0.5) | values
    return OrganScore(
        case=case,
        organ=organ,
        status=status,
        ref_voxels=10,
        pred_voxels=10,
        ref_volume_ml=1.0,
        pred_volume_ml=1.0,
        **numbers,
        nsd_tolerance_mm=2.0,
        diagonal_mm=100.0,
        convention=convention,
    )


def random_labels(seed, shape=(6, 7, 5)):
    return np.random.default_rng(seed).integers(0, 4, size=shape).astype(np.uint8)


def means(summary):
    """Every mean of a summary, signed so that more is better; what is not there is the worst."""
    found = {}
    for group, metrics in [(organ.organ, organ.metrics) for organ in summary.organs] + [("all", summary.overall)]:
        for metric, statistic in metrics.items():
            sign = 1 if metric in HIGHER_IS_BETTER else -1
            found[group, metric] = sign * statistic.mean
    return found


def scores_of(cases, convention="medfs"):
    return [
        score
        for name, (prediction, reference) in cases.items()
        for score in score_case(prediction, reference, (0.7, 1.1, 3.0), NAMES, case=name, convention=convention)
    ]


@settings(max_examples=60, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=3),
    absent=st.sets(st.sampled_from(sorted(NAMES))),
    noise=st.floats(0, 1),
    missed=st.sampled_from(sorted(NAMES)),
    which=st.integers(0, 2),
)
def test_missing_an_organ_never_improves_any_mean(seeds, absent, noise, missed, which):
    cases = {}
    for index, seed in enumerate(seeds):
        reference = random_labels(seed)
        if index == 0:
            reference[np.isin(reference, list(absent))] = 0
        wrong = np.random.default_rng(seed + 1).random(reference.shape) < noise
        cases[str(index)] = np.where(wrong, random_labels(seed + 2), reference), reference
    before = summarise(scores_of(cases))

    name = str(which % len(cases))
    prediction, reference = cases[name]
    if not (reference == missed).any():
        reference = reference.copy()
        reference[0, 0, 0] = missed
        cases[name] = prediction, reference
        before = summarise(scores_of(cases))
    cases[name] = np.where(prediction == missed, 0, prediction), reference
    after = summarise(scores_of(cases))

    better = means(after)
    for key, mean in means(before).items():
        # an organ that is absent from every map has no mean, and must not gain one
        assert isnan(better[key]) == isnan(mean)
        assert isnan(mean) or better[key] <= mean + 1e-9
    n_missed = {organ.organ: organ.n_missed for organ in after.organs}
    assert n_missed[NAMES[missed]] >= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(sorted(NAMES)))
def test_a_false_positive_never_improves_the_mean_of_its_organ(seed, label):
    reference = random_labels(seed)
    reference[reference == label] = 0
    clean = {"0": (random_labels(seed + 1), random_labels(seed + 2)), "1": (reference, reference)}
    prediction = reference.copy()
    prediction[3, 3, 3] = label
    hallucinated = clean | {"1": (prediction, reference)}
    organ = NAMES[label]
    before, after = means(summarise(scores_of(clean))), means(summarise(scores_of(hallucinated)))
    for metric in METRICS:
        assert after[organ, metric] <= before[organ, metric]


def test_monais_convention_rewards_a_missed_organ_as_its_documentation_says():
    reference = random_labels(0)
    bad = np.where(reference == 1, 0, reference)
    bad[0, 0, 0] = 1
    missed = np.where(bad == 1, 0, bad)
    cases = {"perfect": (reference, reference)}
    with_bad = summarise(scores_of(cases | {"second": (bad, reference)}, "monai")).organs[0]
    with_missed = summarise(scores_of(cases | {"second": (missed, reference)}, "monai")).organs[0]
    assert with_missed.metrics["hd95_mm"].mean == 0.0 < with_bad.metrics["hd95_mm"].mean
    assert with_missed.metrics["hd95_mm"].n_used == 1
    assert with_missed.metrics["asd_mm"].mean == inf


def test_mean_and_sd_are_those_of_the_standard_library():
    values = [0.9, 0.7, 0.85, 0.2]
    statistic = summarise([row(case=str(i), dice=value) for i, value in enumerate(values)]).organs[0].metrics["dice"]
    assert statistic.mean == pytest.approx(statistics.mean(values))
    assert statistic.sd == pytest.approx(np.std(values, ddof=1))
    assert (statistic.n_used, statistic.n_total, statistic.n_missed) == (4, 4, 0)


def test_an_infinite_distance_enters_the_mean_as_the_diagonal():
    rows = [row(case="a", hd95_mm=10.0), row(case="b", status=Status.PRED_EMPTY, hd95_mm=inf)]
    statistic = summarise(rows).organs[0].metrics["hd95_mm"]
    assert statistic.mean == pytest.approx(55.0)
    assert (statistic.n_used, statistic.n_missed) == (2, 1)


def test_what_is_absent_from_both_maps_is_left_out_and_counted():
    rows = [row(case="a", dice=0.8), row(case="b", status=Status.BOTH_EMPTY, **dict.fromkeys(METRICS, nan))]
    organ = summarise(rows).organs[0]
    assert organ.metrics["dice"].mean == pytest.approx(0.8)
    assert isnan(organ.metrics["dice"].sd)
    assert (organ.metrics["dice"].n_used, organ.n_total, organ.n_both_empty) == (1, 2, 1)


def test_the_false_positive_rate_is_of_the_cases_without_the_organ():
    status = [Status.BOTH, Status.REF_EMPTY, Status.BOTH_EMPTY, Status.BOTH_EMPTY, Status.BOTH_EMPTY]
    organ = summarise([row(case=str(i), status=s) for i, s in enumerate(status)]).organs[0]
    assert organ.false_positive_rate == pytest.approx(0.25)
    assert isnan(summarise([row()]).organs[0].false_positive_rate)


def test_the_overall_mean_is_of_organs_and_not_of_rows():
    rows = [row(case=str(i), organ="liver", dice=1.0) for i in range(9)]
    rows += [row(case="0", organ="spleen", dice=0.0), row(case="0", organ="aorta", dice=nan)]
    overall = summarise(rows).overall["dice"]
    assert overall.mean == pytest.approx(0.5)
    assert (overall.n_used, overall.n_total) == (2, 3)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no scores"),
        ([row(), row(case="b", convention="tak")], "different conventions"),
        ([row(), row()], "a: liver is scored twice"),
        ([row(), replace(row(case="b"), nsd_tolerance_mm=1.0)], "NSD tolerances"),
    ],
)
def test_rows_that_do_not_belong_together_are_a_usage_error(rows, message):
    with pytest.raises(UsageError, match=message):
        summarise(rows)


def test_every_mean_of_the_table_carries_its_counts():
    reference = random_labels(1)
    missed = np.where(reference == 2, 0, reference)
    summary = summarise(scores_of({"a": (reference, reference), "b": (missed, reference)}))
    lines = format_table(summary).splitlines()
    assert len({len(line) for line in lines[:6]}) == 1
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[2:6]}
    assert cells["spleen"][0] == "0.500 ± 0.707 (2/2/1)"
    assert cells["spleen"][-2:] == ["1 of 2", "0 of 0"]
    assert cells["mean of organs"][0] == "0.833 ± 0.289 (3/3/1)"
    for organ in cells:
        assert all(cell.endswith(("/0)", "/1)")) for cell in cells[organ][: len(METRICS)])
    assert "larger directed 95th percentile" in lines[-1]
    assert lines[-1].endswith("NSD at 2 mm.")


def test_a_metric_without_a_value_is_a_dash_with_its_counts():
    blank = {"a": (np.zeros((4, 4, 4), np.uint8),) * 2}
    assert "| - (0/1/0) " in format_table(summarise(scores_of(blank)), ["dice"]).splitlines()[2]


def test_tolerances_that_differ_are_named_by_organ():
    rows = [row(), replace(row(organ="aorta"), nsd_tolerance_mm=1.0)]
    assert format_table(summarise(rows)).endswith("NSD at 2 mm for liver, 1 mm for aorta.")


def test_distances_in_voxels_are_called_voxels():
    block = np.zeros((6, 7, 5), np.uint8)
    block[2:4, 2:4, 2:4] = 1
    scores = scores_of({"a": (block, block)}, "tak")
    assert "ASD [voxel]" in format_table(summarise(scores))
    assert "asd_voxel" in score_rows(scores)[0]
    assert "asd_mm" not in score_rows(scores)[0]
    assert {line["metric"] for line in summary_rows(summarise(scores))} == {"dice", "asd_voxel"}


def test_a_column_that_the_convention_does_not_define_is_a_usage_error():
    scores = scores_of({"a": (random_labels(1), random_labels(2))}, "few_shot")
    with pytest.raises(UsageError, match="hd95_mm is no metric of few_shot; expected dice, iou"):
        format_table(summarise(scores), ["hd95_mm"])


def test_rows_survive_csv_and_strict_json():
    scores = [row(case="a", dice=0.25), row(case="b", status=Status.PRED_EMPTY, hd95_mm=inf, nsd=nan)]
    rows = score_rows(scores)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert (rows[1]["hd95_mm"], rows[1]["nsd"], rows[1]["status"]) == ("inf", None, "pred_empty")
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    read = list(csv.DictReader(io.StringIO(text.getvalue())))
    assert float(read[0]["dice"]) == 0.25
    assert float(read[1]["hd95_mm"]) == inf
    assert read[1]["status"] == "pred_empty"


def test_summary_rows_hold_every_organ_and_metric_and_the_overall_mean():
    summary = summarise([row(case="a", dice=0.5), row(case="b", dice=0.7), row(case="a", organ="spleen", dice=0.2)])
    rows = summary_rows(summary)
    assert len(rows) == 3 * len(METRICS)
    dice = {line["organ"]: line["mean"] for line in rows if line["metric"] == "dice"}
    assert dice == pytest.approx({"liver": 0.6, "spleen": 0.2, None: 0.4})
    json.dumps(rows, allow_nan=False)
