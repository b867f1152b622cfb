"""Contrast and warps of episodes against SciPy and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medfs.errors import UsageError
from medfs.transforms.episodes import (
    EpisodeAugmentation,
    gamma_contrast,
    rotation_matrix,
    shear_matrix,
    smooth_noise,
    warp_plane,
)

STILL = EpisodeAugmentation(rotation_deg=0, shift_px=0, shear_deg=0, zoom=(1, 1), elastic_px=0)


def picture(shape=(30, 41), seed=0):
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, [0] * (len(shape) - 2) + [2, 2])
    return smooth.astype(np.float32), smooth > 0.02


def random(seed=0):
    return np.random.default_rng(seed)


@given(st.floats(0.5, 1.5), st.floats(-5, 5), st.floats(0.1, 50))
@settings(deadline=None, max_examples=40)
def test_gamma_is_the_published_formula(gamma, low, extent):
    image = (low + extent * random().random((5, 6))).astype(np.float32)
    value = image.astype(float)
    span = value.max() - value.min() + 1e-5
    expected = span * ((value - value.min() + 1e-5) / span) ** gamma + value.min()
    np.testing.assert_allclose(gamma_contrast(image, gamma), expected, atol=2e-5 * (extent + abs(low)))


def test_gamma_keeps_the_order_and_the_ends_and_a_constant_image():
    image, _ = picture()
    bent = gamma_contrast(image, 0.6)
    np.testing.assert_array_equal(np.argsort(bent, axis=None), np.argsort(image, axis=None))
    assert bent.max() == pytest.approx(image.max(), abs=1e-4)
    np.testing.assert_allclose(gamma_contrast(np.full((3, 3), 7, np.float32), 1.4), 7, atol=2e-5)


@pytest.mark.parametrize("shape", [(30, 41), (31, 40), (8, 9), (4, 30, 41)])
@pytest.mark.parametrize("elastic", [False, True])
def test_a_warp_is_what_scipy_gives(shape, elastic):
    image, mask = picture(shape)
    matrix = 1.1 * shear_matrix(0.08) @ rotation_matrix(0.3)
    shift = np.array([1.7, -2.4])
    displacement = random(3).normal(size=(2, *shape[-2:])).astype(np.float32) if elastic else None
    moved, moved_mask = warp_plane(image, mask, matrix, shift, displacement, border=-9.0)
    centre = (np.array(shape[-2:]) - 1) / 2
    there = np.indices(shape[-2:]).astype(float) + (0 if displacement is None else displacement)
    source = np.einsum("ij,jrc->irc", np.linalg.inv(matrix), there - (centre + shift)[:, None, None])
    source += centre[:, None, None]
    for result, side, outside in ((moved, image, -9.0), (moved_mask.astype(float), mask.astype(float), 0.0)):
        planes = side.reshape(-1, *shape[-2:])
        expected = [
            ndimage.map_coordinates(np.pad(p, 2, constant_values=outside), source + 2, order=1, cval=outside)
            for p in planes
        ]
        expected = np.reshape(expected, shape)
        if side is image:
            np.testing.assert_allclose(result, expected, atol=2e-3)
        else:
            clear = np.abs(expected - 0.5) > 1e-3
            np.testing.assert_array_equal(result[clear], expected[clear] > 0.5)


def test_content_moves_by_the_shift_and_turns_with_the_matrix():
    image = np.zeros((21, 21), np.float32)
    image[10, 14] = 1
    mask = image > 0
    shifted, moved = warp_plane(image, mask, np.eye(2), np.array([3.0, -2.0]))
    assert np.argwhere(moved).tolist() == [[13, 12]]
    assert shifted[13, 12] == pytest.approx(1)
    quarter = warp_plane(image, mask, rotation_matrix(np.pi / 2), np.zeros(2))[1]
    assert np.argwhere(quarter).tolist() == [[14, 10]]
    doubled = warp_plane(image, mask, 2 * np.eye(2), np.zeros(2))[0]
    assert np.unravel_index(doubled.argmax(), doubled.shape) == (10, 18)


def test_without_ranges_nothing_moves():
    image, mask = picture()
    same, same_mask = STILL.warp(image, mask, random())
    np.testing.assert_allclose(same, image, atol=1e-4)
    np.testing.assert_array_equal(same_mask, mask)


@pytest.mark.parametrize(("sigma", "pitch"), [(5.0, 2), (2.0, 1)])
def test_noise_is_uniform_noise_smoothed_by_a_gaussian(sigma, pitch):
    radius = round(2 * sigma / pitch)
    raw = random(7).random((2, 60 // pitch + 1 + 2 * radius, 48 // pitch + 1 + 2 * radius), np.float32)
    smooth = [ndimage.gaussian_filter(2.0 * field - 1, sigma / pitch, truncate=2) for field in raw]
    expected = np.stack(smooth)[:, radius:-radius, radius:-radius]
    found = smooth_noise((61, 49), sigma, random(7))
    assert found.shape == (2, 61, 49)
    strength = found[0, 0, 0] / expected[0, 0, 0]
    assert strength == pytest.approx(1 / pitch, rel=0.06)
    np.testing.assert_allclose(found[:, ::pitch, ::pitch], strength * expected, atol=1e-6)


def test_noise_deviates_and_correlates_as_noise_of_every_pixel_does():
    taps = ndimage.gaussian_filter1d(np.eye(41)[20], 5, truncate=2)
    found = [field for n in range(15) for field in smooth_noise((260, 260), 5.0, random(n))]
    assert np.std(found) == pytest.approx(np.sqrt(1 / 3) * np.square(taps).sum(), rel=0.04)
    for lag in (3, 6, 10):
        expected = (taps[lag:] * taps[:-lag]).sum() / np.square(taps).sum()
        correlation = np.mean([np.corrcoef(f[lag:].ravel(), f[:-lag].ravel())[0, 1] for f in found])
        assert correlation == pytest.approx(expected, abs=0.03)
    border = [field[:, :3] for field in found]
    assert np.std(border) == pytest.approx(np.std(found), rel=0.15)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_noise_of_any_smoothness_has_the_wanted_size(sigma):
    assert smooth_noise((7, 5), sigma, random()).shape == (2, 7, 5)
    assert smooth_noise((1, 1), sigma, random()).shape == (2, 1, 1)


def test_beyond_the_image_is_its_minimum_or_what_is_asked_for():
    image, mask = picture()
    image += 5
    away = replace(STILL, shift_px=10.0)
    lowest = away.warp(image, mask, random(2))[0]
    published = replace(away, border=0.0).warp(image, mask, random(2))[0]
    outside = published == 0
    assert outside.any()
    np.testing.assert_allclose(lowest[outside], image.min(), atol=1e-6)
    assert lowest.min() >= image.min() - 1e-5


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_every_draw_is_within_the_published_ranges(seed):
    image, mask = np.zeros((101, 101), np.float32), np.zeros((101, 101), bool)
    mask[40:61, 40:61] = True
    moved = replace(EpisodeAugmentation(), elastic_px=0.0).warp(image, mask, random(seed))[1]
    assert moved.dtype == bool
    assert 0.88**2 < moved.sum() / 441 < 1.24**2
    assert np.abs(np.argwhere(moved).mean(axis=0) - 50).max() < 5.3


def test_all_slices_of_a_volume_move_alike_and_a_slice_moves_as_it_would_alone():
    image, mask = picture((3, 30, 41))
    together, masks = EpisodeAugmentation(border=0.0).warp(image, mask, random(4))
    for z in range(3):
        alone, alone_mask = EpisodeAugmentation(border=0.0).warp(image[z], mask[z], random(4))
        np.testing.assert_array_equal(together[z], alone)
        np.testing.assert_array_equal(masks[z], alone_mask)


def test_equal_generators_give_equal_bits_and_others_do_not():
    image, mask = picture()
    augmentation = EpisodeAugmentation()
    first, again, other = (augmentation.warp(image, mask, random(seed)) for seed in (1, 1, 2))
    assert first[0].tobytes() == again[0].tobytes()
    assert not np.array_equal(first[0], other[0])
    bent = [augmentation.change_contrast(image, random(seed)) for seed in (1, 1, 2)]
    assert bent[0].tobytes() == bent[1].tobytes() != bent[2].tobytes()


@pytest.mark.parametrize("wrong", [{"gamma": (0, 1)}, {"zoom": (1.2, 0.9)}, {"shift_px": -1}, {"elastic_sigma_px": 0}])
def test_ranges_without_meaning_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        EpisodeAugmentation(**wrong)
