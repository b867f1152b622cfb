"""The fifteen organs: standard shapes, and how far a patient's may differ from them.

Coordinates are those of :mod:`medfs.phantom.torso`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medfs.phantom.canvas import Canvas
from medfs.phantom.shapes import Point, Shape, ellipsoid, half_space, posed, tube, union, without
from medfs.phantom.tissues import Tissue


class Variation(NamedTuple):
    """Standard deviations of an organ's own position in mm, angles in degrees and logarithmic size."""

    shift_mm: float
    degrees: float
    log_size: float


class Organ(NamedTuple):
    """How one organ, or the fat around it, is built; ``group`` names the neighbours it moves with."""

    tissue: Tissue
    build: Callable[[np.random.Generator], Shape]
    pivot: Point
    group: str
    variation: Variation


def paint_organs(canvas: Canvas, rng: np.random.Generator, free: NDArray[np.bool_]) -> None:
    """Paint all organs into the points ``free`` ``(V,)``; where two meet, the smaller and firmer one stays whole."""
    groups = {name: rng.normal(0, sd, size=3).clip(-1.8 * sd, 1.8 * sd) for name, sd in _GROUP_SHIFT_MM.items()}
    for organ in _ORGANS:
        own, degrees, log_size = organ.variation
        shift = groups[organ.group] + rng.normal(0, own, size=3).clip(-2 * own, 2 * own)
        turn = rng.normal(0, degrees, size=3).clip(-2 * degrees, 2 * degrees)
        growth = np.exp((rng.normal() + 0.5 * rng.normal(size=3)).clip(-1.8, 1.8) * log_size)
        shape = posed(organ.build(rng), organ.pivot, shift_mm=shift, degrees=turn, scale=growth)
        if organ.tissue == Tissue.FAT:
            canvas.paint(Tissue.FAT, shape, within=np.isin(canvas.tissue, _PUSHED_BY_FAT))
        else:
            canvas.paint(organ.tissue, shape, within=free)


def _liver(rng: np.random.Generator) -> Shape:
    left_reach = float(rng.uniform(50, 85))
    right = ellipsoid((84, 4, 52), (74, 88, 82), (0, 8, 0))
    left = ellipsoid((34 - left_reach / 2, 48, 78), (left_reach, 36, 30), (0, -10, -8))
    beyond = half_space((58, 6, 14), (0.62, 0.35, 0.70))
    return union(without(right, beyond), left, blend=0.25)


def _spleen(rng: np.random.Generator) -> Shape:
    hollow = ellipsoid((-72, -4, 50), (34, 40, 58))
    return without(ellipsoid((-106, -30, 56), (31, 50, 60), (-22, 10, 24)), hollow)


def _stomach(rng: np.random.Generator) -> Shape:
    sag = float(rng.uniform(-18, 12))
    course: list[Point] = [
        (-60, -12, 98), (-72, 8, 78), (-70, 34, 46), (-48, 52, 16 + sag), (-14, 54, 8 + sag), (24, 44, 16),
    ]  # fmt: skip
    return tube(course, [24, 33, 28, 24, 19, 11])


def _pancreas(rng: np.random.Generator) -> Shape:
    course: list[Point] = [(34, 8, -28), (30, 14, -10), (8, 24, 4), (-28, 20, 14), (-60, -4, 26), (-86, -22, 36)]
    return tube(course, [12, 17, 10.5, 12, 11, 8])


def _duodenum(rng: np.random.Generator) -> Shape:
    course: list[Point] = [
        (26, 44, 14), (46, 28, 10), (56, 10, -12), (54, 4, -46), (30, 9, -64), (-4, 14, -60), (-30, 14, -34),
    ]  # fmt: skip
    return tube(course, [13, 14, 13, 14, 12.5, 12, 11])


def _kidney(side: int, z: float) -> Callable[[np.random.Generator], Shape]:
    def build(rng: np.random.Generator) -> Shape:
        x, y = side * 62.0, -46.0
        course: list[Point] = [
            (x - side * 14, y - 10, z + 33), (x - side * 1, y - 2, z + 14),
            (x + side * 4, y + 1, z - 10), (x + side * 2, y + 4, z - 31),
        ]  # fmt: skip
        hilum = ellipsoid((x - side * 24, y + 12, z), (13, 13, 14))
        return without(tube(course, [22.5, 26.5, 26.5, 22.5]), hilum)

    return build


def _perirenal_fat(side: int, z: float) -> Callable[[np.random.Generator], Shape]:
    """The bed of kidney and adrenal gland, which keeps liver and spleen off them."""

    def build(rng: np.random.Generator) -> Shape:
        return tube(
            [(side * 36.0, -34.0, z + 84), (side * 48.0, -46.0, z + 30), (side * 62.0, -46.0, z - 20)], [18, 32, 36]
        )

    return build


def _gallbladder(rng: np.random.Generator) -> Shape:
    full = float(rng.uniform(0.85, 1.25))
    return tube([(52, 27, 28), (63, 43, 12), (69, 55, -6)], [7, 14 * full, 16 * full])


def _esophagus(rng: np.random.Generator) -> Shape:
    return tube([(-2, -14, 220), (-4, -10, 160), (-12, -4, 124), (-34, -2, 103), (-44, -1, 97)], [9, 9, 9.5, 10, 10])


def _aorta(rng: np.random.Generator) -> Shape:
    bend = float(rng.normal(0, 5))
    course: list[Point] = [(-22, -38, 220), (-18, -36, 150), (-12, -24, 90), (-12 - bend, -16, 10), (-8, -12, -72)]
    return tube(course, [12.5, 12, 11.5, 10.5, 10])


def _postcava(rng: np.random.Generator) -> Shape:
    bend = float(rng.normal(0, 4))
    course: list[Point] = [(16, -14, -78), (19, -18, -30), (22 + bend, -18, 30), (26, -6, 84), (22, 4, 122)]
    return tube(course, [10.5, 11, 12.5, 14, 14])


def _right_adrenal(rng: np.random.Generator) -> Shape:
    return _adrenal((37, -31, 64), (37, -18, 73), (31, -44, 51), (48, -43, 54))


def _left_adrenal(rng: np.random.Generator) -> Shape:
    return _adrenal((-38, -24, 65), (-36, -10, 57), (-33, -38, 49), (-50, -34, 55))


def _adrenal(middle: Point, *tips: Point) -> Shape:
    return union(*(tube([tip, middle], [5.4, 6.5]) for tip in tips), blend=0.2)


def _bladder(rng: np.random.Generator) -> Shape:
    filling = float(rng.uniform(0.75, 1.12))
    above = half_space((0, 38, -212 + 28 * filling), (0, -0.2, -1))
    return without(ellipsoid((0, 38, -212), (46 * filling, 38 * filling, 36 * filling)), above)


def _prostate_or_uterus(rng: np.random.Generator) -> Shape:
    lateral = float(rng.normal(0, 7))
    if rng.random() < 0.5:
        return ellipsoid((0, 24, -262), (27, 21, 22))
    uterus: list[Point] = [(0, -22, -240), (lateral / 2, -20, -208), (lateral, 0, -174)]
    return tube(uterus, [13, 18, 25])


_PUSHED_BY_FAT = (Tissue.LIVER, Tissue.SPLEEN)
_MIDLINE = Variation(2.5, 2.0, 0.08)
_SMALL = Variation(4.0, 12.0, 0.10)

_GROUP_SHIFT_MM = {
    "spine": 3.0,
    "stomach": 7.0,
    "pancreas": 6.0,
    "liver": 6.0,
    "right": 8.0,
    "left": 8.0,
    "pelvis": 6.0,
}

_ORGANS = (
    Organ(Tissue.LIVER, _liver, (80, 5, 60), "liver", Variation(3.0, 5.0, 0.04)),
    Organ(Tissue.SPLEEN, _spleen, (-106, -30, 56), "left", Variation(6.0, 9.0, 0.09)),
    Organ(Tissue.FAT, _perirenal_fat(1, -14.0), (62, -46, -14), "right", Variation(0.0, 0.0, 0.0)),
    Organ(Tissue.FAT, _perirenal_fat(-1, -2.0), (-62, -46, -2), "left", Variation(0.0, 0.0, 0.0)),
    Organ(Tissue.STOMACH, _stomach, (-45, 25, 50), "stomach", Variation(4.0, 8.0, 0.09)),
    Organ(Tissue.DUODENUM, _duodenum, (40, 15, -20), "pancreas", Variation(3.0, 6.0, 0.07)),
    Organ(Tissue.PANCREAS, _pancreas, (0, 10, 5), "pancreas", Variation(3.0, 7.0, 0.09)),
    Organ(Tissue.BLADDER, _bladder, (0, 38, -212), "pelvis", Variation(5.0, 6.0, 0.08)),
    Organ(Tissue.PROSTATE_UTERUS, _prostate_or_uterus, (0, 10, -245), "pelvis", Variation(3.0, 8.0, 0.10)),
    Organ(Tissue.RIGHT_KIDNEY, _kidney(1, -14.0), (62, -46, -14), "right", Variation(5.0, 9.0, 0.06)),
    Organ(Tissue.LEFT_KIDNEY, _kidney(-1, -2.0), (-62, -46, -2), "left", Variation(5.0, 9.0, 0.06)),
    Organ(Tissue.GALLBLADDER, _gallbladder, (62, 43, 12), "liver", Variation(5.0, 12.0, 0.09)),
    Organ(Tissue.ESOPHAGUS, _esophagus, (-10, -12, 130), "stomach", Variation(2.0, 2.0, 0.08)),
    Organ(Tissue.POSTCAVA, _postcava, (20, -10, 20), "spine", _MIDLINE),
    Organ(Tissue.AORTA, _aorta, (-12, -25, 40), "spine", _MIDLINE),
    Organ(Tissue.RIGHT_ADRENAL, _right_adrenal, (37, -33, 62), "right", _SMALL),
    Organ(Tissue.LEFT_ADRENAL, _left_adrenal, (-38, -26, 59), "left", _SMALL),
)
