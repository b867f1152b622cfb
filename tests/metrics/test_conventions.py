"""What each convention says of absent organs, and the two protocols that change the masks."""

from math import inf, isnan, nan

import numpy as np
import pytest

from medfs.errors import UsageError
from medfs.metrics import CONVENTIONS, METRICS, Status, find_convention, score_case
from medfs.metrics.conventions import keep_reference_slices, resize_nearest

SHAPE = (12, 11, 10)
SPACING = (1.0, 2.0, 3.0)

# (convention, status): dice, iou, hd95, pooled hd95, asd, asd from the prediction, nsd
EMPTY = {
    ("medfs", "both_empty"): (nan, nan, nan, nan, nan, nan, nan),
    ("medfs", "ref_empty"): (0, 0, inf, inf, inf, inf, 0),
    ("medfs", "pred_empty"): (0, 0, inf, inf, inf, inf, 0),
    ("monai", "both_empty"): (nan, nan, nan, nan, nan, nan, nan),
    ("monai", "ref_empty"): (nan, nan, nan, nan, inf, inf, 0),
    ("monai", "pred_empty"): (0, 0, nan, nan, inf, inf, 0),
    ("tak", "both_empty"): (1, nan, nan, nan, 0, nan, nan),
    ("tak", "ref_empty"): (0, nan, nan, nan, 128, nan, nan),
    ("tak", "pred_empty"): (0, nan, nan, nan, 128, nan, nan),
    ("few_shot", "both_empty"): (nan, nan, nan, nan, nan, nan, nan),
    ("few_shot", "ref_empty"): (nan, nan, nan, nan, nan, nan, nan),
    ("few_shot", "pred_empty"): (0, 0, nan, nan, nan, nan, nan),
}


def pair_with(status):
    """Label 1 as the status says; label 2 is in both maps, so that no map is blank."""
    prediction, reference = np.zeros((2, *SHAPE), np.uint8)
    prediction[8:11, 8:11, 2:8] = reference[8:11, 8:11, 2:8] = 2
    if status in ("both", "ref_empty"):
        prediction[1:6, 1:6, 1:6] = 1
    if status in ("both", "pred_empty"):
        reference[2:7, 1:6, 1:6] = 1
    return prediction, reference


@pytest.mark.parametrize(("convention", "status"), EMPTY)
def test_absent_organs_score_what_the_convention_says(convention, status):
    liver, spleen = score_case(*pair_with(status), SPACING, {1: "liver", 2: "spleen"}, convention=convention)
    found = tuple(getattr(liver, metric) for metric in METRICS)
    assert found == pytest.approx(EMPTY[convention, status], nan_ok=True)
    assert liver.status is Status(status)
    assert (liver.ref_voxels == 0) == (status in ("both_empty", "ref_empty"))
    assert (liver.pred_voxels == 0) == (status in ("both_empty", "pred_empty"))
    assert spleen.dice == 1.0


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_organs_in_both_maps_score_exactly_the_metrics_of_the_convention(convention):
    score = score_case(*pair_with("both"), SPACING, {1: "liver"}, convention=convention)[0]
    defined = {metric for metric in METRICS if not isnan(getattr(score, metric))}
    assert defined == set(find_convention(convention).metrics)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_two_blank_maps_are_scored_by_every_convention(convention):
    blank = np.zeros(SHAPE, np.uint8)
    score = score_case(blank, blank, SPACING, {1: "liver"}, convention=convention)[0]
    assert score.status is Status.BOTH_EMPTY
    assert score.dice == 0.0 if convention == "tak" else isnan(score.dice)


def test_an_unknown_convention_is_a_usage_error():
    with pytest.raises(UsageError, match="expected one of medfs, monai, tak, few_shot"):
        find_convention("dhc")


def test_tak_scores_0_for_everything_when_nothing_is_predicted():
    prediction, reference = pair_with("pred_empty")
    prediction[:] = 0
    for score in score_case(prediction, reference, SPACING, {1: "liver", 2: "spleen", 3: "aorta"}, convention="tak"):
        assert (score.dice, score.asd_mm) == (0.0, 0.0)


def test_tak_counts_distances_in_voxels_of_its_grid():
    prediction, reference = np.zeros((2, 80, 80, 40), np.uint8)
    reference[20:40] = 1
    prediction[20:45] = 1
    score = score_case(prediction, reference, (9.0, 9.0, 9.0), {1: "liver"}, convention="tak")[0]
    # every voxel is doubled along each axis: the far face is off by 10 voxels; the rims measure to the common rim
    assert score.dice == pytest.approx(40 / 45)
    faces, rim = 160 * 80, 2 * (160 + 78)
    n_surface = 2 * faces + 48 * rim
    beyond = sum(range(1, 10)) * rim + 10 * faces
    assert score.asd_mm == pytest.approx(beyond / n_surface)
    assert score.ref_voxels == 8 * np.count_nonzero(reference)
    assert score.ref_volume_ml == pytest.approx(np.count_nonzero(reference) * 0.729)


def test_tak_measures_from_the_prediction_only():
    prediction, reference = np.zeros((2, 160, 160, 80), np.uint8)
    reference[20:60, 20:60, 20:60] = 1
    prediction[20:60, 20:60, 20:25] = 1
    score = score_case(prediction, reference, (1, 1, 1), {1: "liver"}, convention="tak")[0]
    assert score.asd_mm < 2.0
    assert score_case(prediction, reference, (1, 1, 1), {1: "liver"})[0].asd_mm > 8.0


def test_tak_loses_organs_that_the_resizing_skips():
    reference = np.zeros((320, 160, 80), np.uint8)
    reference[5, 3:9, 3:9] = 1
    score = score_case(reference, reference, (1, 1, 1), {1: "liver"}, convention="tak")[0]
    assert score.status is Status.BOTH_EMPTY


def test_resizing_repeats_and_drops_voxels_evenly():
    labels = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(resize_nearest(labels, (4, 6, 8)), labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    assert np.array_equal(resize_nearest(labels, (1, 3, 2)), labels[::2, :, ::2])
    assert np.array_equal(resize_nearest(labels, labels.shape), labels)


def test_few_shot_forgives_what_lies_beyond_the_slices_of_the_organ():
    prediction, reference = np.zeros((2, 10, 10, 10), np.uint8)
    reference[2:6, 2:6, 3:6] = 1
    prediction[2:6, 2:6, 0:10] = 1
    score = score_case(prediction, reference, SPACING, {1: "liver"}, convention="few_shot")[0]
    assert (score.dice, score.iou, score.pred_voxels) == (1.0, 1.0, 48)
    assert score_case(prediction, reference, SPACING, {1: "liver"})[0].dice == pytest.approx(2 * 48 / (48 + 160))


def test_few_shot_counts_voxels_over_the_whole_scan_and_not_slice_by_slice():
    prediction, reference = np.zeros((2, 10, 10, 4), np.uint8)
    reference[:, :, 1] = 1
    reference[0, 0, 2] = 1
    prediction[:, :, 1] = 1
    score = score_case(prediction, reference, SPACING, {1: "liver"}, convention="few_shot")[0]
    assert score.dice == pytest.approx(200 / 201)
    assert score.iou == pytest.approx(100 / 101)


def test_slices_are_those_along_the_last_axis():
    prediction = np.ones((3, 3, 4), bool)
    reference = np.zeros((3, 3, 4), bool)
    reference[0, 2, 1] = True
    assert np.array_equal(np.argwhere(keep_reference_slices(prediction, reference).any(axis=(0, 1))), [[1]])


def test_a_plane_image_is_one_slice():
    prediction, reference = np.ones((3, 4), bool), np.zeros((3, 4), bool)
    reference[0, 0] = True
    assert keep_reference_slices(prediction, reference).all()
