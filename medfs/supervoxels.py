"""Supervoxels: a volume cut into coherent pieces without any label, the pseudo-organs of self-supervised training."""

from collections.abc import Sequence
from math import isfinite, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from medfs import _supervoxel
from medfs.errors import InputError, UsageError

_INTENSITY_RANGE = 255.0
_MAX_VOXELS = 2**31 - 1  # labels are int32, and every voxel may become its own segment


def felzenszwalb_3d(
    volume: ArrayLike,
    *,
    spacing_mm: Sequence[float],
    scale: float = 1.0,
    sigma_mm: float = 0.0,
    min_size: int = 5000,
    mask: ArrayLike | None = None,
) -> NDArray[np.int32]:
    """Segment a volume into supervoxels with the graph-based method of Felzenszwalb and Huttenlocher in 3D.

    Voxels are joined along the edges of the 26-neighbourhood, cheapest first. An edge costs the difference of its two
    intensities (rescaled to 0..255) times its length relative to the same step in a cubic grid, so that thick slices
    merge less readily across slices than within them. Then every segment below ``min_size`` is joined to its most
    similar neighbour. The result does not depend on the processor, the memory layout or the data type.

    Args:
        volume: Intensities of shape (X, Y, Z), any real data type, any memory layout; left as it is.
        spacing_mm: Voxel size along x, y and z in mm. Edges are weighted by z / x; x and y are taken as equal.
        scale: Larger values allow larger segments. On intensities of 0..255, a merge of two single voxels needs a
            difference below ``scale / 255``: at 1, only plateaus merge and ``min_size`` shapes the result.
        sigma_mm: Standard deviation of the Gaussian that smooths the volume beforehand; 0 for none.
        min_size: Smallest segment in voxels. This is not a number of segments.
        mask: Voxels to segment, of shape (X, Y, Z), non-zero inside. Voxels outside have no influence on the result:
            they are left out of the graph and of the intensity range, and count as the darkest voxel inside when the
            volume is smoothed. Segments that nothing inside the mask connects stay apart, however small.

    Returns:
        Labels of shape (X, Y, Z), numbered in the order of each segment's first voxel (x fastest, z slowest): from 0
        without a mask; from 1 with one, 0 being outside. An empty volume gives an empty array.

    Raises:
        UsageError: If the shape, the data type, the spacing or a parameter cannot be used.
        InputError: If a voxel to segment is NaN or infinite.

    **Differs from the paper**: none in the graph and in both passes, label for label, as published for few-shot
    segmentation (Hansen et al. 2022) with the edges sorted stably; published code leaves the order of equal edges to
    the processor. The published mask is applied to the finished supervoxels, which by then leak through the body
    surface; here it comes first.

    References:
        Felzenszwalb and Huttenlocher, Efficient graph-based image segmentation, IJCV 59 (2004).
        Hansen et al., Anomaly detection-inspired few-shot medical image segmentation through self-supervision with
        supervoxels, Medical Image Analysis 78 (2022).

    >>> felzenszwalb_3d([[[0]], [[0]], [[9]]], spacing_mm=(1, 1, 1), min_size=1).ravel()
    array([0, 0, 1], dtype=int32)
    """
    array = _checked_volume(volume)
    weights = _edge_weights(spacing_mm)
    _check_parameters(scale, sigma_mm, min_size)
    inside = None if mask is None else _checked_mask(mask, array.shape)
    labels = np.empty(array.shape[::-1], np.int32)
    if labels.size:
        sigma = sigma_mm / np.asarray(spacing_mm, np.float64)[::-1]
        image = _prepared(array.T, sigma, None if inside is None else inside.T)
        _supervoxel.felzenszwalb_3d(image, weights, scale / _INTENSITY_RANGE, min_size, labels)
        if inside is not None:
            labels += 1
    return labels.T


def _checked_volume(volume: ArrayLike) -> np.ndarray:
    array = np.asarray(volume)
    if array.ndim != 3:
        raise UsageError(f"volume of shape {array.shape}; expected three axes (X, Y, Z)")
    if array.dtype.kind not in "biuf":
        raise UsageError(f"volume of type {array.dtype}; expected real numbers")
    if array.size > _MAX_VOXELS:
        raise UsageError(f"volume of {array.size} voxels; expected at most {_MAX_VOXELS}")
    return array


def _checked_mask(mask: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(mask)
    if array.shape != shape:
        raise UsageError(f"mask of shape {array.shape}; expected the volume's {shape}")
    return array != 0


def _check_parameters(scale: float, sigma_mm: float, min_size: int) -> None:
    for name, value in (("scale", scale), ("sigma_mm", sigma_mm)):
        if not (isfinite(value) and value >= 0):
            raise UsageError(f"{name} {value}; expected a finite number >= 0")
    if not isinstance(min_size, (int, np.integer)) or not 0 <= min_size <= _MAX_VOXELS:
        raise UsageError(f"min_size {min_size}; expected a whole number of voxels from 0 to {_MAX_VOXELS}")


def _edge_weights(spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Squared weights of the 13 directions, in the order and with the rounding of the published code."""
    spacing = tuple(float(value) for value in spacing_mm)
    if len(spacing) != 3 or not all(isfinite(value) and value > 0 for value in spacing):
        raise UsageError(f"spacing {spacing} mm; expected three finite numbers > 0")
    s = spacing[2] / spacing[0]
    if not 1e-6 < s < 1e6:
        raise UsageError(f"spacing {spacing} mm; expected z and x to differ by less than a millionfold")
    edge = (sqrt(1 + s**2) / sqrt(2)) ** 2
    corner = (sqrt(2 + s**2) / sqrt(3)) ** 2
    in_plane = [1.0] * 4
    return np.array([*in_plane, edge, corner, edge, edge, corner, edge, corner, corner, s**2])


def _prepared(volume: np.ndarray, sigma: NDArray[np.float64], inside: np.ndarray | None) -> NDArray[np.float64]:
    """Intensities of a (Z, Y, X) volume rescaled to 0..255 and smoothed; NaN outside the mask."""
    image = np.array(volume, np.float64, order="C")
    if inside is not None and not inside.any():
        image.fill(np.nan)
        return image
    where = True if inside is None else inside
    low, high = image.min(where=where, initial=np.inf), image.max(where=where, initial=-np.inf)
    if not isfinite(_INTENSITY_RANGE * (float(high) - float(low))):  # false for NaN, infinity and overflow
        raise InputError(f"volume has intensities from {low} to {high}; expected finite numbers")
    if inside is not None:
        image[~inside] = low
    _rescale(image, low, high)
    if sigma.any():
        gaussian_filter(image, sigma, output=image)
    if inside is not None:
        image[~inside] = np.nan
    return image


def _rescale(image: NDArray[np.float64], low: float, high: float) -> None:
    """Bring [low, high] to 0..255 in place; an image that spans exactly that stays, to the last bit, as it is."""
    if (low, high) == (0, _INTENSITY_RANGE):
        return
    image -= low
    if high > low:
        image *= _INTENSITY_RANGE
        image /= high - low
