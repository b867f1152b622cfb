"""One case: counts, volumes, cropping, dtypes and everything that can be wrong with the arguments."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import dice as scipy_dice
from scipy.spatial.distance import jaccard as scipy_jaccard

from medfs.errors import InputError, UsageError
from medfs.metrics import METRICS, Status, score_case, surface_distances

NAMES = {1: "liver", 2: "spleen", 3: "left_kidney", 7: "aorta"}
SPACING = (0.9, 1.3, 4.0)


def random_labels(rng, shape=(9, 10, 8)):
    return rng.choice([0, 1, 2, 3, 7, 9], size=shape, p=[0.4, 0.2, 0.15, 0.1, 0.05, 0.1]).astype(np.uint8)


def values(score):
    return [getattr(score, metric) for metric in METRICS]


def test_overlap_agrees_with_scipy():
    rng = np.random.default_rng(0)
    for _ in range(500):
        prediction, reference = random_labels(rng, (6, 7, 5)), random_labels(rng, (6, 7, 5))
        for (label, organ), score in zip(NAMES.items(), score_case(prediction, reference, SPACING, NAMES), strict=True):
            first, second = (prediction == label).ravel(), (reference == label).ravel()
            assert score.organ == organ
            assert score.dice == pytest.approx(1 - scipy_dice(first, second), abs=1e-12)
            assert score.iou == pytest.approx(1 - scipy_jaccard(first, second), abs=1e-12)


def test_cropping_changes_no_number():
    prediction, reference = np.zeros((2, 30, 26, 22), np.int16)
    reference[0:9, 10:20, 14:22] = 2
    prediction[1:12, 11:22, 15:22] = 2
    score = score_case(prediction, reference, SPACING, {2: "spleen"}, nsd_tolerance_mm=3.0)[0]
    whole = surface_distances(prediction == 2, reference == 2, SPACING)
    assert score.hd95_mm == whole.hausdorff()
    assert score.hd95_pooled_mm == whole.hausdorff_pooled()
    assert score.asd_mm == pytest.approx(whole.mean(), rel=1e-12)
    assert score.asd_pred_to_ref_mm == pytest.approx(whole.mean_pred_to_ref(), rel=1e-12)
    assert score.nsd == whole.fraction_within(3.0)


def test_two_cubes_have_the_dice_volume_and_diagonal_of_arithmetic():
    prediction, reference = np.zeros((2, 20, 20, 10), np.uint8)
    reference[5:10, 5:10, 2:6] = 1
    prediction[6:11, 5:10, 2:6] = 1
    score = score_case(prediction, reference, (2.0, 1.0, 5.0), {1: "liver"}, case="a")[0]
    assert score.dice == pytest.approx(0.8)
    assert score.iou == pytest.approx(4 / 6)
    assert (score.ref_voxels, score.pred_voxels) == (100, 100)
    assert score.ref_volume_ml == pytest.approx(1.0)
    assert score.hd95_mm == pytest.approx(2.0)
    assert score.nsd == 1.0
    assert score.diagonal_mm == pytest.approx(np.sqrt(40**2 + 20**2 + 50**2))
    assert (score.case, score.status, score.convention) == ("a", Status.BOTH, "medfs")


def test_a_plane_image_is_scored_and_has_no_volume():
    prediction, reference = np.zeros((2, 20, 20), np.uint8)
    reference[5:10, 5:10] = 1
    prediction[5:10, 7:12] = 1
    score = score_case(prediction, reference, (1.0, 0.5), {1: "nucleus"})[0]
    assert score.dice == pytest.approx(0.6)
    assert score.hd95_mm == pytest.approx(1.0)
    assert np.isnan(score.ref_volume_ml)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", ">i2", "u4", "i8", "u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_type_and_memory_order_of_the_maps_do_not_matter(dtype, order):
    rng = np.random.default_rng(5)
    prediction, reference = random_labels(rng), random_labels(rng)
    expected = score_case(prediction, reference, SPACING, NAMES)
    found = score_case(prediction.astype(dtype, order), reference.astype("i4", order), SPACING, NAMES)
    for one, other in zip(found, expected, strict=True):
        assert values(one) == pytest.approx(values(other), rel=1e-12)


def test_boolean_masks_are_label_one():
    mask = np.zeros((6, 6, 6), bool)
    mask[1:4, 1:4, 1:4] = True
    assert score_case(mask, mask, (1, 1, 1), {1: "liver"})[0].dice == 1.0


@given(st.permutations([1, 2, 3, 7, 300]))
@settings(max_examples=20)
def test_renumbering_the_labels_changes_nothing(numbers):
    rng = np.random.default_rng(2)
    prediction, reference = random_labels(rng), random_labels(rng)
    table = np.zeros(10, np.uint16)
    table[list(NAMES)] = numbers[:4]
    renamed = dict(zip(numbers[:4], NAMES.values(), strict=True))
    found = score_case(table[prediction], table[reference], SPACING, renamed)
    assert [values(score) for score in found] == [
        values(score) for score in score_case(prediction, reference, SPACING, NAMES)
    ]


def test_swapping_prediction_and_reference_keeps_every_symmetric_metric():
    rng = np.random.default_rng(8)
    prediction, reference = random_labels(rng), random_labels(rng)
    pairs = zip(
        score_case(prediction, reference, SPACING, NAMES),
        score_case(reference, prediction, SPACING, NAMES),
        strict=True,
    )
    for one, other in pairs:
        for metric in ("dice", "iou", "hd95_mm", "hd95_pooled_mm", "asd_mm", "nsd"):
            assert getattr(one, metric) == pytest.approx(getattr(other, metric), rel=1e-12)


def test_the_order_of_the_axes_does_not_matter():
    rng = np.random.default_rng(8)
    prediction, reference = random_labels(rng), random_labels(rng)
    for one, other in zip(
        score_case(prediction.T, reference.T, SPACING[::-1], NAMES),
        score_case(prediction, reference, SPACING, NAMES),
        strict=True,
    ):
        assert values(one) == pytest.approx(values(other), rel=1e-12)


def test_labels_that_are_not_asked_for_are_not_looked_at():
    reference = np.zeros((8, 8, 8), np.int32)
    reference[1:4, 1:4, 1:4] = 1
    prediction = reference.copy()
    prediction[6:, 6:, 6:] = 70000
    prediction[0, 0, 0] = -4
    assert [score.dice for score in score_case(prediction, reference, SPACING, {1: "liver"})] == [1.0]


def test_the_tolerance_may_differ_by_organ():
    prediction, reference = np.zeros((2, 12, 12, 12), np.uint8)
    for label, start in ((1, 1), (2, 7)):
        reference[start : start + 3, 2:9, 2:9] = label
        prediction[start : start + 3, 2:9, 3:10] = label
    names = {1: "liver", 2: "spleen"}
    scores = score_case(prediction, reference, (1, 1, 1.5), names, nsd_tolerance_mm={"liver": 1.0, "spleen": 1.5})
    assert scores[0].nsd < 1.0
    assert scores[1].nsd == 1.0
    assert [score.nsd_tolerance_mm for score in scores] == [1.0, 1.5]


BLOCK = np.ones((4, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("prediction", "reference", "spacing", "message"),
    [
        (BLOCK, BLOCK[:3], (1, 1, 1), r"liver_012: prediction has shape \(4, 4, 4\), reference \(3, 4, 4\)"),
        (BLOCK[0, 0], BLOCK[0, 0], (1,), "expected 2 or 3 axes"),
        (BLOCK[None], BLOCK[None], (1, 1, 1, 1), "expected 2 or 3 axes"),
        (BLOCK[:0], BLOCK[:0], (1, 1, 1), "none of length 0"),
        (BLOCK.astype(np.float32), BLOCK, (1, 1, 1), "prediction has type float32"),
        (BLOCK, BLOCK.astype(complex), (1, 1, 1), "reference has type complex128"),
        (BLOCK, BLOCK, None, "spacing is None; expected 3 numbers in mm"),
        (BLOCK, BLOCK, (1, 1), "expected 3 numbers in mm"),
        (BLOCK, BLOCK, (1, 1, 0), "expected finite and > 0"),
        (BLOCK, BLOCK, (1, -1, 1), "expected finite and > 0"),
        (BLOCK, BLOCK, (1, float("nan"), 1), "expected finite and > 0"),
        (BLOCK, BLOCK, (1, float("inf"), 1), "expected finite and > 0"),
    ],
)
def test_maps_or_spacing_that_cannot_be_scored_are_an_input_error(prediction, reference, spacing, message):
    with pytest.raises(InputError, match=message) as caught:
        score_case(prediction, reference, spacing, {1: "liver"}, case="liver_012")
    assert str(caught.value).startswith("liver_012: ")


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ({}, {}, "no labels"),
        ({0: "background", 1: "liver"}, {}, "0 is background"),
        ({70000: "liver"}, {}, "expected 1 to 65535"),
        ({1: "liver", 2: "liver"}, {}, "same name"),
        ({1: "liver"}, {"nsd_tolerance_mm": -1.0}, "NSD tolerance of liver is -1.0"),
        ({1: "liver"}, {"nsd_tolerance_mm": float("inf")}, "NSD tolerance of liver is inf"),
        ({1: "liver"}, {"nsd_tolerance_mm": {"spleen": 2.0}}, "NSD tolerance of liver is None"),
        ({1: "liver"}, {"convention": "best"}, "convention 'best' is unknown; expected one of medfs, monai"),
    ],
)
def test_a_wrong_call_is_a_usage_error(labels, options, message):
    with pytest.raises(UsageError, match=message):
        score_case(BLOCK, BLOCK, (1, 1, 1), labels, **options)


@pytest.mark.subprocess
def test_importing_the_metrics_imports_neither_torch_nor_monai():
    code = "import sys, medfs.metrics; print(sorted({'torch', 'monai'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_real_scan_against_itself_shifted_by_one_slice_is_one_slice_away(real_data):
    nibabel = pytest.importorskip("nibabel")
    path = next(iter(sorted((real_data / "msd_hippocampus").rglob("labels*/*.nii*"))))
    image = nibabel.load(path)
    reference = np.asanyarray(image.dataobj).astype(np.uint8)
    spacing = [float(step) for step in image.header.get_zooms()[:3]]
    # a slice of background on each side, so that the shift loses nothing
    reference = np.pad(reference, 2)
    prediction = np.roll(reference, 1, axis=2)
    for score in score_case(prediction, reference, spacing, {1: "anterior", 2: "posterior"}):
        assert 0.5 < score.dice < 1.0
        assert score.ref_voxels == score.pred_voxels > 0
        assert 0 < score.hd95_mm <= spacing[2] + 1e-9
