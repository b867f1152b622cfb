"""The voxels while they are being painted."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfs.phantom.fields import FloatArray
from medfs.phantom.shapes import Shape
from medfs.phantom.tissues import ORGANS, Tissue


class Canvas:
    """A tissue for every point; later paint covers earlier paint.

    Attributes:
        points: ``(3, V)``, places in the standard body, in mm.
        tissue: ``(V,)`` uint8, values of :class:`Tissue`.
        depth: ``(V,)`` float32, depth inside the shape that was painted last, see :mod:`medfs.phantom.shapes`.
    """

    def __init__(self, points: FloatArray) -> None:
        self.points = points
        self.tissue = np.full(points.shape[1], Tissue.AIR, dtype=np.uint8)
        self.depth = np.zeros(points.shape[1], dtype=np.float32)

    def paint(self, tissue: Tissue, shape: Shape, *, within: NDArray[np.bool_] | None = None) -> None:
        """Give the inside of ``shape`` a tissue, where ``within`` (``(V,)``) allows it."""
        near = np.ones(self.points.shape[1], dtype=bool) if within is None else within.copy()
        for axis in range(3):
            near &= (self.points[axis] > shape.lower[axis]) & (self.points[axis] < shape.upper[axis])
        index = np.flatnonzero(near)
        depth = shape.depth(self.points[:, index])
        inside = depth < 0
        self.tissue[index[inside]] = tissue
        self.depth[index[inside]] = depth[inside]

    def fill(self, tissue: Tissue, where: NDArray[np.bool_]) -> None:
        """Give the points of a mask ``(V,)`` a tissue."""
        self.tissue[where] = tissue
        self.depth[where] = 0


def without_islands(tissue: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep the largest piece of each organ in ``(X, Y, Z)``; smaller ones, cut off by a neighbour, become fat."""
    result = tissue.copy()
    boxes = ndimage.find_objects(tissue, max_label=len(ORGANS))
    for organ, box in zip(ORGANS, boxes, strict=True):
        if box is None:
            continue
        pieces, count = ndimage.label(tissue[box] == organ, structure=np.ones((3, 3, 3)))
        if count > 1:
            largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
            result[box][(pieces > 0) & (pieces != largest)] = Tissue.FAT
    return result
