"""Pictures of supervoxels: every one filled, neighbours in different colours."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfs.errors import UsageError
from medfs.export.planes import display_window, three_planes
from medfs.io import Volume, atomic_path, case_name
from medfs.io.names import shown

COLORS = (
    "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#42d4f4", "#f032e6",
    "#ffe119", "#bfef45", "#fabed4", "#469990", "#9a6324", "#dcbeff",
)  # fmt: skip


def write_supervoxel_preview(path: str | Path, image: Volume, labels: np.ndarray) -> None:
    """Write a PNG of three slices, below each the same slice with its supervoxels filled; 0 is left as it is.

    Slices, orientation and window are those of :func:`medfs.export.write_preview`.

    Args:
        path: the file, ``*.png``; its folder must exist.
        image: the scan, ``(X, Y, Z)``.
        labels: ``(X, Y, Z)`` integers on the grid of ``image``, 0 outside, ids from 1.

    Raises:
        UsageError: the name has another suffix, or the array is no label map of that shape.
        StorageError: the file cannot be written.
    """
    from medfs.export import figure  # matplotlib only where a picture is drawn

    path, name = Path(path), shown(path)
    if path.suffix.lower() != ".png":
        raise UsageError(f"{name}: expected a name that ends in .png")
    if labels.shape != image.array.shape or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise UsageError(f"{name}: labels of shape {labels.shape} and type {labels.dtype}; expected ids on the image")
    colors = neighbour_colors(labels)
    heading = (case_name(image.path), f"{np.unique(labels[labels > 0]).size} supervoxels")
    with atomic_path(path) as temporary:
        planes = three_planes(image, labels)
        figure.save_regions(temporary, planes, display_window(image.array), [COLORS[c] for c in colors], heading)


def neighbour_colors(labels: np.ndarray) -> NDArray[np.intp]:
    """A number below ``len(COLORS)`` for each id, another one for ids that share a face wherever the colours suffice.

    Args:
        labels: ``(X, Y, Z)`` integers, ids from 1.

    Returns:
        ``(K + 1,)`` for the largest id K; that of 0 has no meaning.

    >>> first, second, third = neighbour_colors(np.array([[[1, 2, 3]]]))[1:].tolist()
    >>> first != second != third
    True
    """
    neighbours: list[set[int]] = [set() for _ in range(int(labels.max(initial=0)) + 1)]
    for a, b in _touching(labels):
        neighbours[a].add(b)
        neighbours[b].add(a)
    colors = np.full(len(neighbours), -1, np.intp)
    for label in sorted(range(len(neighbours)), key=lambda one: (-len(neighbours[one]), one)):
        taken = np.bincount([colors[one] for one in neighbours[label] if colors[one] >= 0], minlength=len(COLORS))
        shifted = np.roll(taken, -label)  # each starts at another colour, so that all are used
        colors[label] = (int(shifted.argmin()) + label) % len(COLORS)
    return colors


def _touching(labels: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of different ids that share a face of a voxel, 0 left out."""
    pairs = []
    for axis in range(labels.ndim):
        along = np.moveaxis(labels, axis, 0)
        first, second = along[:-1], along[1:]
        border = (first != second) & (first > 0) & (second > 0)
        pairs.append(np.stack([first[border], second[border]], axis=1))
    return [(a, b) for a, b in np.unique(np.concatenate(pairs), axis=0).tolist()]
