"""The body on a scan, told from air, table and coil noise without any label."""

from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_fill_holes, gaussian_filter, grey_closing, grey_opening, label

from medfs.errors import InputError, UsageError

_SMOOTHING_MM = 1.0
_PERCENTILES = (0.5, 99.5)
_AIR_HU = -1024.0
_DARKEST = 0.01  # of the intensity range: differences below count as noise
_BINS = 256
_THINNEST_MM = 6.0
_WIDEST_GAP_MM = 20.0
_SAMPLE = 100
_PUBLISHED_THRESHOLD = 10.0


def body_mask(volume: ArrayLike, *, spacing_mm: Sequence[float]) -> NDArray[np.bool_]:
    """Find the body on a CT or MR scan.

    The threshold is Otsu's on the logarithm of the smoothed intensities above the darkest, which sees dark fat and
    lungs beside air, as the eye does in a bright window; a few extreme voxels have no say in it. What is thinner than
    6 mm in its slice falls off, table tops and folds of cloth for instance, and the largest connected piece stays.
    Slice by slice, gaps of up to 20 mm in its outline are closed and what it encloses is filled: lungs, bowel gas.

    It needs air around the body: of a volume cropped inside the body it finds the brighter part.

    Args:
        volume: Intensities of shape (X, Y, Z), any real data type; z runs through the slices.
        spacing_mm: Voxel size along x, y and z in mm.

    Returns:
        True inside, of shape (X, Y, Z); nowhere true if all voxels are equal or there are none.

    Raises:
        UsageError: If the shape, the data type or the spacing cannot be used.
        InputError: If a voxel is NaN or infinite.

    References:
        Otsu, A threshold selection method from gray-level histograms, IEEE Trans. Syst. Man Cybern. 9 (1979).
    """
    array = _checked(volume)
    spacing = tuple(float(value) for value in spacing_mm)
    if len(spacing) != 3 or not all(isfinite(value) and value > 0 for value in spacing):
        raise UsageError(f"spacing {spacing} mm; expected three finite numbers > 0")
    if array.size == 0 or array.min() == array.max():
        return np.zeros(array.shape, np.bool_)
    low, high = _range(array)
    light = ((np.clip(array, low, high) - low) / (high - low)).astype(np.float32)
    gaussian_filter(light, [_SMOOTHING_MM / value for value in spacing], output=light)
    np.log(light + np.float32(_DARKEST), out=light)
    bright = (light > _otsu(_sample(light))).view(np.uint8)
    piece = _largest(grey_opening(bright, _window(_THINNEST_MM, spacing)))
    return _filled(_closed(piece, _window(_WIDEST_GAP_MM, spacing)))


def published_body_mask(volume: ArrayLike) -> NDArray[np.bool_]:
    """Find the body as the published supervoxel code does.

    In each slice, what lies above 10 on the intensities rescaled to 0..255, the largest piece of it with neighbours
    across corners, its holes filled. One bright voxel moves the threshold, the table stays if it is the larger piece,
    and a CT whose darkest voxel lies far below air is all body: :func:`body_mask` does without these.

    Args:
        volume: Intensities of shape (X, Y, Z), any real data type; z runs through the slices.

    Returns:
        True inside, of shape (X, Y, Z); nowhere true if all voxels are equal or there are none.

    Raises:
        UsageError: If the shape or the data type cannot be used.
        InputError: If a voxel is NaN or infinite.

    References:
        Hansen et al., Anomaly detection-inspired few-shot medical image segmentation through self-supervision with
        supervoxels, Medical Image Analysis 78 (2022).

    >>> published_body_mask([[[0], [9], [255]]]).ravel()
    array([False, False,  True])
    """
    array = _checked(volume)
    mask = np.zeros(array.shape, np.bool_)
    if array.size == 0 or array.min() == array.max():
        return mask
    low, high = float(array.min()), float(array.max())
    for z in range(array.shape[2]):
        bright = 255 * (array[:, :, z].astype(np.float64) - low) / (high - low) > _PUBLISHED_THRESHOLD
        mask[:, :, z] = _largest(bright, np.ones((3, 3)))
    return _filled(mask)


def _checked(volume: ArrayLike) -> np.ndarray:
    array = np.asarray(volume)
    if array.ndim != 3 or array.dtype.kind not in "biuf":
        raise UsageError(f"volume of shape {array.shape} and type {array.dtype}; expected real numbers (X, Y, Z)")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"volume with {np.count_nonzero(~np.isfinite(array))} voxels not finite; expected none")
    return array


def _range(array: np.ndarray) -> tuple[float, float]:
    """Darkest and brightest intensity but for a few outliers; below air there is only what pads a CT."""
    low, high = (float(value) for value in np.percentile(_sample(array), _PERCENTILES))
    low = max(low, _AIR_HU) if high > 0 else low
    return (low, high) if low < high else (float(array.min()), float(array.max()))


def _sample(array: np.ndarray) -> np.ndarray:
    return array[tuple(slice(None, None, -(-length // _SAMPLE)) for length in array.shape)]


def _otsu(values: np.ndarray) -> float:
    """The threshold between two classes at which their means differ the most, weighted by their sizes."""
    counts, edges = np.histogram(values, _BINS)
    centres = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts)[:-1].astype(np.float64), float(values.size)
    moment = np.cumsum(counts * centres)
    variance = (moment[-1] * below / total - moment[:-1]) ** 2 / (below * (total - below))
    return float(edges[1:-1][variance.argmax()])


def _window(length_mm: float, spacing: tuple[float, ...]) -> tuple[int, int, int]:
    """The odd numbers of voxels in plane that come nearest to a length."""
    x, y = (2 * round(length_mm / value / 2) + 1 for value in spacing[:2])
    return x, y, 1


def _largest(mask: np.ndarray, neighbours: np.ndarray | None = None) -> NDArray[np.bool_]:
    """The largest connected piece of a mask; nothing of nothing."""
    pieces, _ = label(mask, neighbours)
    sizes = np.bincount(pieces.ravel(order="K"), minlength=2)
    largest: NDArray[np.bool_] = pieces == 1 + sizes[1:].argmax()
    return largest


def _closed(mask: NDArray[np.bool_], window: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Gaps narrower than the window closed, but for those between the mask and the edge of the volume."""
    x, y = window[0] // 2, window[1] // 2
    padded = np.pad(mask.view(np.uint8), ((x, x), (y, y), (0, 0)))
    closed: NDArray[np.bool_] = grey_closing(padded, window)[x : x + mask.shape[0], y : y + mask.shape[1]] != 0
    return closed


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Holes filled slice by slice."""
    filled = np.empty_like(mask)
    for z in range(mask.shape[2]):
        filled[:, :, z] = binary_fill_holes(mask[:, :, z])
    return filled
