"""Ribs, spine and pelvis, in the coordinates of :mod:`medfs.phantom.torso`."""

import numpy as np
from numpy.typing import NDArray

from medfs.phantom.canvas import Canvas
from medfs.phantom.shapes import Point, ellipsoid, tube
from medfs.phantom.tissues import Tissue

SKELETON = (Tissue.BONE, Tissue.MARROW, Tissue.DISC, Tissue.CORD)

_VERTEBRA_MM = 34.0
_DISC_MM = 8.0
_RIB_PITCH_MM = 28.0
_COLUMN = ((0, -62, 230), (0, -58, 110), (0, -52, 20), (0, -46, -60), (0, -52, -115), (0, -76, -165), (0, -92, -225))
_SACRUM_Z = -130.0


def paint_ribs(canvas: Canvas, shell: NDArray[np.bool_]) -> None:
    """Paint ribs and sternum into the points of a ``shell`` ``(V,)`` around the chest."""
    x, y, z = canvas.points
    arch = np.where(y > 20, 1.1 * (y - 20), 0.3 * (20 - y)) - 15
    rib = np.abs((z + 0.5 * y) / _RIB_PITCH_MM % 1 - 0.5) < 0.22
    canvas.fill(Tissue.BONE, shell & rib & (z > arch) & (np.abs(x) > 15))
    canvas.fill(Tissue.BONE, shell & (y > 70) & (np.abs(x) < 16) & (z > 105))


def paint_spine(canvas: Canvas, disc_offset: float) -> None:
    """Paint vertebrae, discs, sacrum and the spinal canal; ``disc_offset`` in [0, 1) moves the discs along it."""
    levels = np.arange(_SACRUM_Z, 240.0, _VERTEBRA_MM) + disc_offset * _VERTEBRA_MM
    arch = tube([(x, y - 42, z) for x, y, z in _COLUMN], [13, 15, 15, 14, 12])
    canvas.paint(Tissue.BONE, arch)
    for z in levels:
        back = float(np.interp(z, *_rising(1))) - 34
        for side in (-1, 1):
            canvas.paint(Tissue.BONE, tube([(side * 10, back, z), (side * 36, back - 4, z + 4)], [7, 5]))
    canvas.paint(Tissue.BONE, tube(_COLUMN, [24, 24, 22, 20, 18][::-1]))
    canvas.paint(Tissue.MARROW, tube(_COLUMN, [20, 20, 18, 16, 14][::-1]))
    for z in levels:
        middle = (0.0, float(np.interp(z, *_rising(1))), float(z))
        disc = (canvas.points[2] > z - _DISC_MM / 2) & (canvas.points[2] < z + _DISC_MM / 2)
        canvas.paint(Tissue.DISC, ellipsoid(middle, (24, 22, 22)), within=disc)
    canvas.paint(Tissue.CORD, tube([(x, y - 30, z) for x, y, z in _COLUMN], [8, 8, 8, 7, 5]))


def _rising(axis: int) -> tuple[list[float], list[float]]:
    """Heights of the column from below, and its coordinate there."""
    return [float(point[2]) for point in _COLUMN[::-1]], [float(point[axis]) for point in _COLUMN[::-1]]


def paint_pelvis(canvas: Canvas) -> None:
    """Paint hip bones and the heads of the femurs."""
    for side in (-1, 1):
        wing = ellipsoid((side * 104, -38, -168), (11, 62, 52), (0, side * 24, side * -38))
        canvas.paint(Tissue.BONE, wing)
        _paint_shaft(canvas, [(side * 88, -20, -205), (side * 82, -6, -245), (side * 66, -26, -300)], [20, 22, 16])
        _paint_shaft(canvas, [(side * 80, 20, -245), (side * 42, 64, -252), (side * 9, 72, -264)], [13, 9, 11])
        canvas.paint(Tissue.MUSCLE, ellipsoid((side * 112, 2, -250), (28, 28, 28)))
        _paint_shaft(canvas, [(side * 112, 2, -250), (side * 128, 2, -268), (side * 148, -4, -300)], [24, 16, 20])


def _paint_shaft(canvas: Canvas, course: list[Point], radii: list[float]) -> None:
    canvas.paint(Tissue.BONE, tube(course, radii))
    canvas.paint(Tissue.MARROW, tube(course, [radius - 4 for radius in radii]))
