"""Augmentations of episodes: what makes the two sides of a self-supervised pair differ.

Everything random comes from the generator that is passed in, and arrays are filled by operations whose result does not
depend on the number of threads: equal generators give equal bits in every process.
"""

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from medfs.errors import UsageError

_KERNEL_SIGMAS = 2  # the published kernel has 21 taps at a deviation of 5 pixels
_PITCH_SIGMAS = 0.4  # between computed values of the noise
_GAMMA_OFFSET = np.float32(1e-5)


@dataclass(frozen=True, slots=True)
class EpisodeAugmentation:
    """Gamma and an affine-and-elastic warp in the plane, with the published ranges.

    Images are (..., rows, columns): a slice, or slices of a volume, all of them warped alike.

    Args:
        gamma: range of the exponent.
        rotation_deg: largest turn to either side.
        shift_px: largest shift to either side along rows and along columns.
        shear_deg: largest shear to either side.
        zoom: range of the magnification.
        elastic_px: factor of the smoothed noise; at the published 10 and 5 the displacement deviates by 0.3 pixels.
        elastic_sigma_px: deviation of the Gaussian that smooths the noise.
        border: intensity beyond the image; None for its minimum. The published code has 0 there, which after
            standardising is the mean of the scan: tissue, not air.

    Raises:
        UsageError: a range is empty or has no meaning.

    **Differs from the paper**: besides ``border``, zoom and shear are about the centre (the published shear is about
    the corner, which adds a shift), and image and mask are interpolated once, where the published code interpolates
    for the affine map and again for the elastic one.

    References:
        Ouyang et al., Self-supervised learning for few-shot medical image segmentation, IEEE TMI 41 (2022).
    """

    gamma: tuple[float, float] = (0.5, 1.5)
    rotation_deg: float = 5.0
    shift_px: float = 5.0
    shear_deg: float = 5.0
    zoom: tuple[float, float] = (0.9, 1.2)
    elastic_px: float = 10.0
    elastic_sigma_px: float = 5.0
    border: float | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in (("gamma", self.gamma), ("zoom", self.zoom)):
            if not 0 < low <= high < np.inf:
                raise UsageError(f"{name} from {low} to {high}; expected 0 < lowest <= highest")
        for name in ("rotation_deg", "shift_px", "shear_deg", "elastic_px"):
            if not 0 <= getattr(self, name) < np.inf:
                raise UsageError(f"{name} {getattr(self, name)}; expected a finite number >= 0")
        if not 0 < self.elastic_sigma_px < np.inf:
            raise UsageError(f"elastic_sigma_px {self.elastic_sigma_px}; expected a finite number > 0")

    def change_contrast(self, image: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        """The image with its intensities between minimum and maximum bent by a random exponent."""
        return gamma_contrast(image, float(random.uniform(*self.gamma)))

    def warp(
        self, image: NDArray[np.float32], mask: NDArray[np.bool_], random: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Image and mask after one random affine map and elastic displacement of the plane.

        The mask is interpolated linearly and cut at one half. It can leave the frame and be empty.
        """
        angle, shear = (radians(random.uniform(-d, d)) for d in (self.rotation_deg, self.shear_deg))
        shift = random.uniform(-self.shift_px, self.shift_px, 2)
        matrix = random.uniform(*self.zoom) * shear_matrix(shear) @ rotation_matrix(angle)
        shape = (image.shape[-2], image.shape[-1])
        displacement = smooth_noise(shape, self.elastic_sigma_px, random)
        displacement *= np.float32(self.elastic_px)
        border = float(image.min()) if self.border is None else self.border
        return warp_plane(image, mask, matrix, shift, displacement, border)


def gamma_contrast(image: NDArray[np.float32], gamma: float) -> NDArray[np.float32]:
    """``range * ((image - min) / range) ** gamma + min``, with the published 1e-5 added before dividing.

    A constant image stays as it is, to 1e-5.
    """
    low = image.min()
    extent = image.max() - low + _GAMMA_OFFSET
    scaled = (image - low + _GAMMA_OFFSET) / extent
    return np.power(scaled, np.float32(gamma), out=scaled) * extent + low


def warp_plane(
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    matrix: NDArray[np.float64],
    shift_px: NDArray[np.float64],
    displacement_px: NDArray[np.float32] | None = None,
    border: float = 0.0,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Move the content of every plane, bilinearly.

    What was at ``p``, in pixels from the centre as (row, column), comes to ``matrix @ p + shift_px``. The pixel at
    ``q`` then shows what that gave at ``q + displacement_px``.

    Args:
        image: (..., rows, columns).
        mask: the same shape.
        matrix: (2, 2), invertible.
        shift_px: (2,) rows and columns.
        displacement_px: (2, rows, columns); None for none.
        border: intensity beyond the image.
    """
    rows, columns = image.shape[-2:]
    inverse = np.linalg.inv(matrix)
    y = np.arange(rows, dtype=np.float32)[:, None] - np.float32((rows - 1) / 2 + shift_px[0])
    x = np.arange(columns, dtype=np.float32)[None] - np.float32((columns - 1) / 2 + shift_px[1])
    if displacement_px is not None:
        y, x = y + displacement_px[0], x + displacement_px[1]
    # grid_sample wants (column, row), each from -1 to 1 between the first and the last pixel's centre
    scale = [2 / max(length - 1, 1) for length in (rows, columns)]
    grid = np.empty((rows, columns, 2), np.float32)
    for place, axis in ((0, 1), (1, 0)):
        first, second = (np.float32(scale[axis] * inverse[axis, k]) for k in (0, 1))
        np.add(first * y, second * x, out=grid[..., place])
    planes = np.stack([image - np.float32(border), mask]).reshape(1, -1, rows, columns)
    sampled = F.grid_sample(
        torch.from_numpy(planes), torch.from_numpy(grid)[None], "bilinear", "zeros", align_corners=True
    )
    moved = sampled.numpy().reshape(2, *image.shape)
    return moved[0] + np.float32(border), moved[1] > 0.5


def smooth_noise(shape: tuple[int, int], sigma_px: float, random: np.random.Generator) -> NDArray[np.float32]:
    """(2, rows, columns): uniform noise from -1 to 1 in every pixel, smoothed by a Gaussian cut at 2 deviations.

    A smooth field needs no finer noise than itself: at a deviation of 5 pixels it is made at every second pixel, as
    strong as with noise in every pixel, and interpolated linearly. It is equally strong up to the border.
    """
    pitch = max(1, int(_PITCH_SIGMAS * sigma_px))
    kernel = _gaussian(sigma_px / pitch)
    knots = [-(-(length - 1) // pitch) + 1 for length in shape]
    noise = random.random((2, *(n + len(kernel) - 1 for n in knots)), np.float32)
    for axis in (1, 2):
        noise = _smoothed(noise, kernel, axis)
    strength = np.square(_gaussian(sigma_px)).sum() / np.square(kernel).sum()
    noise = (2 * noise - 1) * strength  # from [0, 1] to [-1, 1], the kernel's sum being 1
    if pitch == 1:
        return noise
    fine = [(n - 1) * pitch + 1 for n in knots]
    field = F.interpolate(torch.from_numpy(noise)[None], fine, mode="bilinear", align_corners=True)[0].numpy()
    return field[:, : shape[0], : shape[1]]


def rotation_matrix(angle: float) -> NDArray[np.float64]:
    """Turn (row, column) by an angle in radians."""
    return np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])


def shear_matrix(angle: float) -> NDArray[np.float64]:
    """Slant the rows by an angle in radians, (row, column) as in scikit-image's affine transform."""
    return np.array([[cos(angle), 0.0], [-sin(angle), 1.0]])


def _gaussian(sigma: float) -> NDArray[np.float32]:
    radius = max(1, round(_KERNEL_SIGMAS * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return (kernel / kernel.sum()).astype(np.float32)


def _smoothed(noise: NDArray[np.float32], kernel: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Weighted sums along an axis, one for every place where the whole kernel fits."""
    before = (slice(None),) * axis
    count = noise.shape[axis] - len(kernel) + 1
    total = noise[(*before, slice(0, count))] * kernel[0]
    term = np.empty_like(total)
    for start, weight in enumerate(kernel[1:], start=1):
        total += np.multiply(noise[(*before, slice(start, start + count))], weight, out=term)
    return total
