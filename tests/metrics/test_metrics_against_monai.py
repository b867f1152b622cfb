"""Every number against monai.metrics, and the resizing of ``tak`` against torch."""

import warnings

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
)
from monai.networks.utils import one_hot
from scipy import ndimage

from medfs.metrics import score_case
from medfs.metrics.conventions import resize_nearest

NAMES = {1: "liver", 2: "spleen", 3: "aorta"}
SPACINGS = ((1.0, 1.0, 1.0), (3.0, 0.8, 0.8), (0.7, 1.3, 7.7), (0.4, 0.4, 0.5))


def random_map(rng, shape):
    """Blobs of labels 0 to 3 with some salt."""
    noise = ndimage.gaussian_filter(rng.normal(size=(4, *shape)), (0, *(1.5,) * len(shape)))
    labels = noise.argmax(axis=0).astype(np.uint8)
    salt = rng.random(shape) < 0.01
    return np.where(salt, rng.integers(0, 4, shape), labels).astype(np.uint8)


def monai_scores(prediction, reference, spacing, tolerance):
    """Values of labels 1 to 3 from MONAI, by the names of ours."""
    maps = [
        one_hot(torch.from_numpy(array.astype(np.int64))[None, None], 4, dim=1) for array in (prediction, reference)
    ]
    options = {"include_background": False}
    measured = options | {"spacing": list(spacing)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = {
            "dice": compute_dice(*maps, **options),
            "iou": compute_iou(*maps, **options),
            "hd95_mm": compute_hausdorff_distance(*maps, percentile=95, **measured),
            "asd_mm": compute_average_surface_distance(*maps, symmetric=True, **measured),
            "asd_pred_to_ref_mm": compute_average_surface_distance(*maps, symmetric=False, **measured),
            "nsd": compute_surface_dice(*maps, class_thresholds=[tolerance] * 3, **measured),
        }
    return {metric: value[0].tolist() for metric, value in scores.items()}


def assert_same(prediction, reference, spacing, tolerance, convention):
    expected = monai_scores(prediction, reference, spacing, tolerance)
    scores = score_case(prediction, reference, spacing, NAMES, nsd_tolerance_mm=tolerance, convention=convention)
    for metric, values in expected.items():
        found = [getattr(score, metric) for score in scores]
        assert found == pytest.approx(values, abs=1e-4, nan_ok=True), metric


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("convention", ["medfs", "monai"])
def test_random_volumes_score_as_in_monai(spacing, convention):
    rng = np.random.default_rng(int(10 * sum(spacing)))
    for _ in range(10):
        shape = tuple(rng.integers(8, 20, size=3))
        assert_same(random_map(rng, shape), random_map(rng, shape), spacing, rng.choice([0.5, 1.0, 2.0]), convention)


def test_random_plane_images_score_as_in_monai():
    rng = np.random.default_rng(0)
    for _ in range(20):
        shape = tuple(rng.integers(15, 40, size=2))
        assert_same(random_map(rng, shape), random_map(rng, shape), (0.8, 1.7), 2.0, "medfs")


@pytest.mark.parametrize("status", ["both_empty", "ref_empty", "pred_empty", "both"])
def test_absent_organs_score_as_in_monai_under_its_convention(status):
    rng = np.random.default_rng(4)
    prediction, reference = random_map(rng, (12, 12, 12)), random_map(rng, (12, 12, 12))
    if status in ("both_empty", "pred_empty"):
        prediction[prediction == 2] = 0
    if status in ("both_empty", "ref_empty"):
        reference[reference == 2] = 0
    assert_same(prediction, reference, (1.0, 1.0, 3.0), 2.0, "monai")
    assert score_case(prediction, reference, (1.0, 1.0, 3.0), NAMES)[1].status == status


@pytest.mark.parametrize("shape", [(97, 64, 33), (200, 192, 100), (512, 40, 80)])
def test_the_resizing_of_tak_is_torchs_nearest(shape):
    labels = np.random.default_rng(0).integers(0, 16, shape).astype(np.uint8)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(labels)[None, None], size=(160, 160, 80), mode="nearest"
    )
    assert np.array_equal(resize_nearest(labels, (160, 160, 80)), expected[0, 0].numpy())
