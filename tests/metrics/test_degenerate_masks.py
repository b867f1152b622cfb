"""Organs of one voxel, of a whole image, in one slice or nowhere: whole cases against brute force and the policy."""

from itertools import product
from math import hypot, inf, isinf, isnan

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from medfs.metrics import METRICS, Status, score_case, summarise

SHAPE, SPACING, TOLERANCE = (5, 4, 3), (0.8, 1.3, 4.0), 2.0


def mask_of(kind):
    mask = np.zeros(SHAPE, np.uint8)
    if kind == "voxel":
        mask[1, 2, 1] = 1
    elif kind == "corner":
        mask[-1, -1, -1] = 1
    elif kind == "slice":
        mask[..., 1] = 1
    elif kind == "whole":
        mask[:] = 1
    elif kind == "two parts":
        mask[0, 0, 0] = mask[4, 3, 2] = 1
    return mask


def brute_force(prediction, reference):
    """Every metric of two masks that hold something, from all pairs of surface voxels."""
    shared, total = int((prediction & reference).sum()), int(prediction.sum()) + int(reference.sum())
    points = [np.argwhere(m & ~ndimage.binary_erosion(m)) * np.asarray(SPACING) for m in (prediction, reference)]
    between = cdist(*points)
    forth, back = between.min(axis=1), between.min(axis=0)
    pooled = np.concatenate((forth, back))
    return {
        "dice": 2 * shared / total,
        "iou": shared / (total - shared),
        "hd95_mm": max(np.percentile(forth, 95), np.percentile(back, 95)),
        "hd95_pooled_mm": np.percentile(pooled, 95),
        "asd_mm": pooled.mean(),
        "asd_pred_to_ref_mm": forth.mean(),
        "nsd": (pooled <= TOLERANCE).mean(),
    }


KINDS = ("nothing", "voxel", "corner", "slice", "whole", "two parts")


@pytest.mark.parametrize(("prediction", "reference"), product(KINDS, KINDS))
def test_degenerate_masks_score_as_brute_force_and_policy_say(prediction, reference):
    masks = mask_of(prediction), mask_of(reference)
    (score,) = score_case(*masks, SPACING, {1: "liver"}, case="a", nsd_tolerance_mm=TOLERANCE)
    found = {metric: getattr(score, metric) for metric in METRICS}
    diagonal = hypot(*(n * step for n, step in zip(SHAPE, SPACING, strict=True)))
    means = {name: statistic.mean for name, statistic in summarise([score]).organs[0].metrics.items()}
    if prediction == reference == "nothing":
        assert score.status is Status.BOTH_EMPTY
        assert all(isnan(value) for value in (*found.values(), *means.values()))
    elif "nothing" in (prediction, reference):
        assert score.status is (Status.PRED_EMPTY if prediction == "nothing" else Status.REF_EMPTY)
        assert (found["dice"], found["iou"], found["nsd"]) == (0, 0, 0)
        assert all(value == inf for name, value in found.items() if name.endswith("_mm"))
        assert all(value == pytest.approx(diagonal) for name, value in means.items() if name.endswith("_mm"))
    else:
        assert found == pytest.approx(brute_force(*(mask.astype(bool) for mask in masks)), abs=1e-9)
        assert not any(isinf(value) for value in means.values())


def test_500_random_cases_agree_with_brute_force_in_every_metric():
    random = np.random.default_rng(0)
    for number in range(500):
        masks = [random.random(SHAPE) < random.uniform(0.02, 0.9) for _ in range(2)]
        for mask in masks:
            mask[tuple(random.integers(SHAPE))] = True
        labels = [mask.astype(np.uint8) * 3 for mask in masks]
        (score,) = score_case(*labels, SPACING, {3: "liver"}, nsd_tolerance_mm=TOLERANCE)
        assert {m: getattr(score, m) for m in METRICS} == pytest.approx(brute_force(*masks), abs=1e-9), number
