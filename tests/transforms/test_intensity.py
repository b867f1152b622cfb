"""Intensities as the network sees them."""

import numpy as np
import pytest
import torch

from medfs.errors import UsageError
from medfs.transforms import scale_modality


def scaled(image, modality):
    data = {"image": torch.as_tensor(image, dtype=torch.float32), "label": torch.ones(1, 2)}
    result = scale_modality(["image"], modality)(data)
    assert torch.equal(result["label"], data["label"])
    return np.asarray(result["image"])


def test_ct_is_windowed_to_unit_range():
    image = np.array([[[-1024, -125, -25, 75, 275, 3000]]])
    np.testing.assert_allclose(scaled(image, "ct"), [[[0, 0, 0.25, 0.5, 1, 1]]], atol=1e-6)


def test_mr_is_clipped_at_its_percentiles_and_standardised():
    image = np.random.default_rng(0).gamma(2.0, 100.0, size=(1, 20, 20, 20)).astype(np.float32)
    low, high = np.percentile(image, [0.5, 99.5])
    expected = np.clip(image, low, high)
    np.testing.assert_allclose(scaled(image, "mr"), (expected - expected.mean()) / expected.std(), atol=1e-4)


@pytest.mark.parametrize("factor", [0.01, 40.0])
def test_mr_does_not_depend_on_the_scanner_s_unit(factor):
    image = np.random.default_rng(0).gamma(2.0, 100.0, size=(1, 12, 12, 12))
    np.testing.assert_allclose(scaled(factor * image + 7, "mr"), scaled(image, "mr"), atol=1e-3)


@pytest.mark.filterwarnings("ignore:Divide by zero")
@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_a_constant_scan_stays_finite(modality):
    found = scaled(np.full((1, 8, 8, 8), 40.0), modality)
    assert np.isfinite(found).all()
    assert np.ptp(found) == 0


def test_another_modality_is_refused():
    with pytest.raises(UsageError, match="'pet'; expected 'ct' or 'mr'"):
        scale_modality(["image"], "pet")
