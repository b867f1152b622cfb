"""Intensities as the network sees them."""

import warnings

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medfs.errors import InputError, UsageError
from medfs.transforms import ClipPercentile, StandardizeVolume, WindowHU, scale_modality


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


def test_bright_outliers_are_clipped_at_the_percentile_of_numpy_alone():
    image = np.random.default_rng(0).gamma(2.0, 100.0, size=(1, 20, 20, 20)).astype(np.float32)
    found = ClipPercentile()(image).numpy()
    limit = np.percentile(image, 99.5)
    np.testing.assert_allclose(found, np.minimum(image, limit), rtol=1e-6)
    assert (found != image).sum() == (image > limit).sum() == 40


def test_both_tails_can_be_clipped_and_none_can():
    image = np.random.default_rng(0).normal(size=(2, 9, 9))
    low, high = np.percentile(image, [10, 80])
    np.testing.assert_allclose(ClipPercentile(80, 10)(image).numpy(), image.clip(low, high))
    np.testing.assert_array_equal(ClipPercentile(None)(image).numpy(), image)


def test_integer_scans_keep_a_percentile_between_two_values():
    found = ClipPercentile(50)(np.array([[0, 1, 2, 3]], dtype=np.int16))
    assert (found.dtype, found.tolist()) == (torch.float32, [[0, 1, 1.5, 1.5]])


def test_the_window_does_not_depend_on_what_else_is_in_the_scan():
    inside = np.linspace(-100, 250, 50)[None]
    with_air_and_bone = np.concatenate([inside, [[-1000.0, 2000.0]]], axis=1)
    found, both = WindowHU()(inside).numpy(), WindowHU()(with_air_and_bone).numpy()
    np.testing.assert_array_equal(found, both[:, :-2])
    # published: stretched between the extremes of the clipped scan, the same where both limits are reached
    clipped = with_air_and_bone.clip(-125, 275)
    np.testing.assert_allclose(both, 255 * (clipped - clipped.min()) / np.ptp(clipped), atol=1e-9)
    assert found.min() > 0
    assert found.max() < 255


def test_a_window_maps_to_any_range():
    np.testing.assert_allclose(WindowHU(0, 100, (-1, 1))(np.array([[-5, 0, 25, 100, 200]]))[0], [-1, -1, -0.5, 1, 1])


@pytest.mark.parametrize("offset", [0, 30_000])
def test_a_scan_is_standardised_as_numpy_does(offset):
    image = (offset + np.random.default_rng(0).normal(5, 3, size=(1, 60, 60, 20))).astype(np.float32)
    wide = image.astype(np.float64)
    np.testing.assert_allclose(StandardizeVolume()(image).numpy(), (wide - wide.mean()) / wide.std(), atol=2e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e4])
def test_a_constant_scan_is_standardised_to_zeros_without_a_warning(value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (StandardizeVolume()(torch.full((1, 7, 7, 7), value)) == 0).all()


@pytest.mark.parametrize("transform", [ClipPercentile(), WindowHU(), StandardizeVolume()])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_voxel_that_is_not_finite_is_refused_with_the_name_of_the_file(transform, bad):
    image = MetaTensor(torch.tensor([[1.0, bad, 2.0, bad]]), meta={"filename_or_obj": "/scans/image_8.nii.gz"})
    with pytest.raises(InputError, match=r"^image_8\.nii\.gz: 2 voxels are NaN or infinite"):
        transform(image)
    with pytest.raises(InputError, match="no voxels"):
        transform(torch.zeros(1, 0, 4))


def test_limits_in_the_wrong_order_are_refused():
    for limits in ((101, None), (50, 60), (None, -1), (float("nan"), None)):
        with pytest.raises(UsageError, match="percentiles"):
            ClipPercentile(*limits)
    with pytest.raises(UsageError, match="window from 10 to 10"):
        WindowHU(10, 10)
