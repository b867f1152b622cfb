"""Which label values a map holds, and what each of them is called."""

import colorsys
from collections.abc import Iterable, Mapping

import numpy as np

from medfs.anatomy import Code, Organ
from medfs.errors import InputError, UsageError

_COUNTED_DIRECTLY = 65535
_GOLDEN_RATIO = 0.618034
_TISSUE = Code("SCT", "85756007", "Tissue")  # what 3D Slicer gives a segment that nobody described


def label_counts(labels: np.ndarray, name: str = "labels") -> dict[int, int]:
    """Number of voxels of each label value that occurs, ascending, without the background.

    Args:
        labels: ``(X, Y, Z)``, integer or boolean.
        name: what messages call the map.

    Returns:
        An empty dictionary for a map of background alone.

    Raises:
        UsageError: the array is not 3D or not of an integer type.
        InputError: a value is negative.

    >>> label_counts(np.array([[[0, 3, 3, 1]]]))
    {1: 1, 3: 2}
    """
    if labels.ndim != 3 or labels.dtype.kind not in "biu":
        raise UsageError(f"{name}: {labels.ndim} axes of {labels.dtype}; expected a label map, 3 axes of integers")
    if labels.size == 0:
        return {}
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise InputError(f"{name}: label value {low}; expected 0 for the background and positive ones")
    if high > _COUNTED_DIRECTLY:
        values, counts = np.unique(labels, return_counts=True)
    else:
        values, counts = np.arange(high + 1), _histogram(labels, high)
    pairs = zip(values.tolist(), counts.tolist(), strict=True)
    return {value: count for value, count in pairs if value > 0 and count > 0}


def organs_of(values: Iterable[int], organs: Mapping[int, Organ]) -> dict[int, Organ]:
    """The organ of each value; a value that ``organs`` lacks gets a made-up one, e.g. *Label 17*.

    >>> organs_of([17], {})[17].title
    'Label 17'
    """
    return {value: organs.get(value) or _unknown_organ(value) for value in values}


def _histogram(labels: np.ndarray, high: int) -> np.ndarray:
    """Counts of 0..high, slab by slab along the slowest axis: the index type takes eight times the room of uint8."""
    slabs = np.moveaxis(labels, int(np.argmax(np.abs(labels.strides))), 0)
    totals = np.zeros(high + 1, np.int64)
    for slab in slabs:
        totals += np.bincount(slab.ravel(order="K").astype(np.intp, copy=False), minlength=high + 1)
    return totals


def _unknown_organ(value: int) -> Organ:
    red, green, blue = colorsys.hsv_to_rgb(value * _GOLDEN_RATIO % 1, 0.6, 0.95)
    return Organ(
        name=f"label_{value}",
        title=f"Label {value}",
        synonyms=(),
        color=(round(255 * red), round(255 * green), round(255 * blue)),
        category=_TISSUE,
        type=_TISSUE,
        type_modifier=None,
        shape="",
        location="",
    )
