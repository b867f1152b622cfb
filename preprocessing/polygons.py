"""Polygons and run lengths of annotation files turned into pixels."""

from collections.abc import Sequence

import numpy as np


def fill_polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie inside a polygon (even-odd rule), concave and self-crossing ones included.

    Args:
        points: ``(N, 2)`` corners x, y; the pixel in column ``i`` and row ``j`` covers ``[i, i + 1] x [j, j + 1]``.
        size: columns and rows.

    Returns:
        ``(columns, rows)`` bool; a polygon of fewer than three corners has no inside.

    >>> fill_polygon(np.array([[1, 0], [3, 0], [3, 2], [1, 2]]), (4, 3)).astype(int).tolist()
    [[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]]
    """
    columns, rows = size
    crossed = np.zeros((columns + 1, rows), np.int32)
    y = np.arange(rows) + 0.5
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        hit = np.flatnonzero((y >= min(y1, y2)) & (y < max(y1, y2)))
        if hit.size:
            x = x1 + (y[hit] - y1) * (x2 - x1) / (y2 - y1)
            # every pixel centre at or beyond the crossing changes sides
            np.add.at(crossed, (np.clip(np.ceil(x - 0.5), 0, columns).astype(int), hit), 1)
    return np.cumsum(crossed, axis=0)[:-1] % 2 == 1


def fill_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """The union of the polygons of one object, each ``x1, y1, x2, y2, ...``; ``(columns, rows)`` bool."""
    inside = np.zeros(size, bool)
    for polygon in polygons:
        inside |= fill_polygon(np.asarray(polygon, np.float64).reshape(-1, 2), size)
    return inside


def expand_runs(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """The pixels of COCO's uncompressed run lengths: runs of 0 and 1 in turn, down the columns.

    Returns:
        ``(columns, rows)`` bool.

    Raises:
        ValueError: the runs do not add up to the picture.

    >>> expand_runs([1, 2, 3], (2, 3)).astype(int).tolist()
    [[0, 1, 1], [0, 0, 0]]
    """
    lengths = np.asarray(counts, np.int64)
    if lengths.min(initial=0) < 0 or lengths.sum() != size[0] * size[1]:
        raise ValueError(f"run lengths of {lengths.sum()} pixels in a picture of {size[0] * size[1]}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size)
