"""Pictures with what was found drawn over them, in their own pixels."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfs.errors import UsageError
from medfs.export.supervoxels import COLORS
from medfs.io.names import shown
from medfs.io.pictures import write_png

_TINT = 0.3
_RIM = 200  # the outline has a pixel for so many of the longer side


def write_overlay(path: str | Path, picture: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Write a PNG of a picture whose classes are tinted and outlined, each in a colour of its own.

    Args:
        path: the file; its folder must exist.
        picture: (rows, columns, 3).
        labels: (rows, columns), 0 is left as it is.

    Raises:
        UsageError: the sizes differ.
        StorageError: the file cannot be written.
    """
    if picture.shape[:2] != labels.shape:
        raise UsageError(f"{shown(path)}: labels of {labels.shape} on a picture of {picture.shape[:2]} pixels")
    drawn, width = picture.astype(np.float32), max(1, max(labels.shape) // _RIM)
    for value in np.unique(labels[labels > 0]):
        mask, color = labels == value, class_color(int(value))
        rim = mask & ~ndimage.binary_erosion(mask, iterations=width)
        drawn[mask] = (1 - _TINT) * drawn[mask] + _TINT * color
        drawn[rim] = color
    write_png(Path(path), np.rint(drawn).astype(np.uint8))


def class_color(value: int) -> NDArray[np.float32]:
    """Red, green and blue of 255 for a label value above 0.

    >>> class_color(1).tolist()
    [230.0, 25.0, 75.0]
    """
    code = COLORS[(value - 1) % len(COLORS)]
    return np.array([int(code[place : place + 2], 16) for place in (1, 3, 5)], np.float32)
