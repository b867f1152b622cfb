"""The body around the organs, from skin to bowel.

Everything is drawn in a standard body: the origin lies in the midline, halfway between back and front, at the height
of the renal hilum; x to the right, y to the front, z to the head, in mm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfs.phantom.canvas import Canvas
from medfs.phantom.fields import FloatArray, WaveField
from medfs.phantom.shapes import ellipsoid, tube
from medfs.phantom.skeleton import SKELETON, paint_pelvis, paint_ribs, paint_spine
from medfs.phantom.tissues import Tissue

_HEIGHTS = (-300.0, -230.0, -165.0, -110.0, -60.0, 20.0, 100.0, 180.0)
_MUSCLE_X = (152.0, 160.0, 158.0, 146.0, 140.0, 146.0, 150.0, 146.0)
_MUSCLE_Y = (105.0, 112.0, 110.0, 106.0, 104.0, 108.0, 112.0, 112.0)
_MUSCLE_CENTRE_Y = -10.0
_CAVITY_X = (58.0, 66.0, 100.0, 126.0, 128.0, 134.0, 138.0, 134.0)
_CAVITY_Y = (66.0, 74.0, 84.0, 86.0, 86.0, 88.0, 92.0, 92.0)
_CAVITY_CENTRE_Y = 2.0
_ROUNDNESS = 2.4  # 2 is an ellipse, more is nearer to a rectangle

_COLON = (
    (98, 0, -135), (106, -14, -80), (98, 8, -32), (55, 62, -45), (0, 68, -58), (-55, 62, -30), (-104, 8, 18),
    (-112, -22, -30), (-106, -18, -110), (-70, 10, -150), (-25, 0, -165), (0, -42, -180), (0, -58, -220),
    (0, -40, -290),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Habitus:
    """How one patient's trunk differs from the standard body.

    Attributes:
        scale: width, depth and height relative to the standard.
        fat_mm: thickness of the subcutaneous fat.
        dome_mm: how much higher the diaphragm stands.
    """

    scale: tuple[float, float, float]
    fat_mm: float
    dome_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Habitus":
        """Draw a patient."""
        width, depth, height = np.exp(rng.normal(0, 0.035) + rng.normal(0, 0.03, size=3)).clip(0.9, 1.12).tolist()
        return cls((width, depth, height), float(rng.uniform(8, 34)), float(rng.normal(0, 6)))

    def half_size_mm(self) -> tuple[float, float]:
        """Half the patient's width and depth."""
        width, depth, _ = self.scale
        return width * max(_MUSCLE_X) + self.fat_mm, depth * max(_MUSCLE_Y) + self.fat_mm


def paint_torso(canvas: Canvas, habitus: Habitus, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Paint everything that is no organ; return the points ``(V,)`` that organs may take."""
    cavity = _girth(canvas.points, _CAVITY_X, _CAVITY_Y, _CAVITY_CENTRE_Y)
    inside = cavity < 1
    skin = _girth(canvas.points, _MUSCLE_X, _MUSCLE_Y, _MUSCLE_CENTRE_Y, margin_mm=habitus.fat_mm)
    canvas.fill(Tissue.FAT, skin < 1)
    canvas.fill(Tissue.MUSCLE, _girth(canvas.points, _MUSCLE_X, _MUSCLE_Y, _MUSCLE_CENTRE_Y) < 1)
    paint_pelvis(canvas)
    canvas.fill(Tissue.FAT, inside)
    _paint_muscles(canvas)
    _paint_vessels(canvas)
    _paint_bowel(canvas, rng, inside)
    _paint_chest(canvas, inside, habitus.dome_mm)
    paint_ribs(canvas, (cavity > 1.02) & (cavity < 1.1))
    paint_spine(canvas, rng.random())
    return inside & ~np.isin(canvas.tissue, SKELETON)


def _girth(
    points: FloatArray, half_x: tuple[float, ...], half_y: tuple[float, ...], centre_y: float, margin_mm: float = 0.0
) -> FloatArray:
    """1 on the outline whose half axes at ``_HEIGHTS`` are given, less inside."""
    x, y, z = points
    across = np.abs(x) / (np.interp(z, _HEIGHTS, half_x) + margin_mm)
    along = np.abs(y - centre_y) / (np.interp(z, _HEIGHTS, half_y) + margin_mm)
    return (across**_ROUNDNESS + along**_ROUNDNESS) ** (1 / _ROUNDNESS)


def _paint_muscles(canvas: Canvas) -> None:
    for side in (-1, 1):
        psoas = tube([(side * 30, -50, 30), (side * 40, -48, -60), (side * 62, -20, -180)], [9, 20, 22, 18])
        crus = tube([(side * 14, -28, 110), (side * 17, -32, 60), (side * 17, -34, 20)], [5, 6, 4])
        canvas.paint(Tissue.MUSCLE, psoas)
        canvas.paint(Tissue.MUSCLE, crus)


def _paint_vessels(canvas: Canvas) -> None:
    for side in (-1, 1):
        iliac = tube(
            [(side * 5, -16, -74), (side * 32, -28, -130), (side * 62, 8, -200), (side * 74, 50, -262)], [7, 6]
        )
        canvas.paint(Tissue.VESSEL, iliac)
    canvas.paint(Tissue.VESSEL, tube([(-4, 26, -80), (6, 20, -30), (12, 12, 2), (36, 14, 48)], [5, 6.5, 7.5]))


def _paint_bowel(canvas: Canvas, rng: np.random.Generator, inside: NDArray[np.bool_]) -> None:
    loops = np.array(
        [
            (direction * x, y + (36 if row % 2 else 0), z)
            for row, z in enumerate(range(-165, -55, 25))
            for direction, y in ((1, 20), (-1, 22))
            for x in ((70, 25) if direction > 0 else (25, 70))
        ]
    )
    loops = loops + rng.normal(0, 9, size=loops.shape)
    canvas.paint(Tissue.BOWEL, tube(loops.tolist(), [12, 14, 12, 15, 12]), within=inside)
    colon = np.array(_COLON) + rng.normal(0, 7, size=(len(_COLON), 3))
    canvas.paint(Tissue.STOOL, tube(colon.tolist(), [25, 22, 19, 18, 16, 15, 18]), within=inside)
    stool = canvas.tissue == Tissue.STOOL
    content = WaveField.draw(rng, wavelength_mm=(60, 160), sd=1.0).at(canvas.points)[0]
    wall = stool & (canvas.depth > -0.2)
    canvas.fill(Tissue.BOWEL, wall)
    canvas.fill(Tissue.GAS, stool & ~wall & (content > 0.4))


def _paint_chest(canvas: Canvas, inside: NDArray[np.bool_], dome_mm: float) -> None:
    x, y, z = canvas.points
    domes = np.maximum(122 - 55 * ((x - 68) / 75) ** 2, 112 - 55 * ((x + 72) / 72) ** 2)
    diaphragm = domes - 62 * np.abs((y - 12) / 92) ** 2.2 + dome_mm
    mediastinum = np.abs(x + 4) < 17 + 0.1 * (y + 40)
    canvas.fill(Tissue.LUNG, inside & (z > diaphragm) & ~mediastinum)
    canvas.paint(Tissue.HEART, ellipsoid((-18, 30, 168), (58, 42, 46), (0, 12, 0)))
