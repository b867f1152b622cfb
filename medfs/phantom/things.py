"""Coloured, textured shapes with names: what the pictures of :mod:`medfs.phantom.scenes` show.

A shape tells for points of a plane how deep inside it they lie: negative inside, positive outside. Points are (2, ...),
to the right and downwards; shapes have about unit size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medfs.phantom.fields import FloatArray

Depth = Callable[[FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class Thing:
    """One class of things.

    Attributes:
        shape: key into :data:`SHAPES`.
        color: key into :data:`COLORS`.
        texture: key into :data:`TEXTURES`.
    """

    shape: str
    color: str
    texture: str

    @property
    def name(self) -> str:
        """The class name.

        >>> Thing("star", "red", "striped").name
        'red_striped_star'
        """
        return f"{self.color}_{self.texture}_{self.shape}"

    @property
    def sentence(self) -> str:
        """What it looks like.

        >>> Thing("star", "red", "striped").sentence
        'a photo of a red star, which has five pointed arms and parallel stripes on its surface'
        """
        return f"a photo of a {self.color} {self.shape}, which has {_FORM[self.shape]} and {_SURFACE[self.texture]}"


def _polygon(corners: int) -> Depth:
    """A regular polygon within the unit circle."""

    def depth(x: FloatArray, y: FloatArray) -> FloatArray:
        sector = 2 * np.pi / corners
        angle = np.mod(np.arctan2(x, -y) + sector / 2, sector) - sector / 2
        return np.hypot(x, y) * np.cos(np.abs(angle) - sector / 2) - np.cos(sector / 2)

    return depth


def _petals(arms: int, reach: float) -> Depth:
    """A disc whose rim swings outwards ``arms`` times."""

    def depth(x: FloatArray, y: FloatArray) -> FloatArray:
        return np.hypot(x, y) - 1 + reach * (1 - np.cos(arms * np.arctan2(x, -y))) / 2

    return depth


def _star(x: FloatArray, y: FloatArray) -> FloatArray:
    sector = 2 * np.pi / 5
    share = np.abs(np.mod(np.arctan2(x, -y) + sector / 2, sector) - sector / 2) / (sector / 2)
    return np.hypot(x, y) - (1 - 0.6 * share)


def _cross(x: FloatArray, y: FloatArray) -> FloatArray:
    upright = np.maximum(np.abs(x) - 0.32, np.abs(y) - 1)
    return np.minimum(upright, np.maximum(np.abs(y) - 0.32, np.abs(x) - 1))


def _crescent(x: FloatArray, y: FloatArray) -> FloatArray:
    return np.maximum(np.hypot(x, y) - 1, 0.8 - np.hypot(x - 0.55, y))


def _heart(x: FloatArray, y: FloatArray) -> FloatArray:
    return np.cbrt((x**2 + y**2 - 0.7) ** 3 + x**2 * y**3)


SHAPES: dict[str, Depth] = {
    "ball": lambda x, y: np.hypot(x, y) - 0.9,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.75) - 0.25,
    "box": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.8,
    "bar": lambda x, y: np.maximum(np.abs(x) - 1.2, np.abs(y) - 0.32),
    "triangle": _polygon(3),
    "hexagon": _polygon(6),
    "star": _star,
    "flower": _petals(6, 0.5),
    "clover": _petals(3, 0.7),
    "cross": _cross,
    "crescent": _crescent,
    "heart": _heart,
}
"""Depth by name."""

_FORM = {
    "ball": "a round outline without corners",
    "ring": "a hole in its middle",
    "box": "four straight sides of equal length",
    "bar": "a long and narrow body",
    "triangle": "three straight sides and three corners",
    "hexagon": "six straight sides of equal length",
    "star": "five pointed arms",
    "flower": "six rounded petals",
    "clover": "three rounded leaves",
    "cross": "four arms of equal length",
    "crescent": "two horns like a new moon",
    "heart": "two rounded lobes over a point",
}

COLORS = {
    "red": (205, 50, 45),
    "orange": (235, 140, 40),
    "yellow": (230, 210, 60),
    "green": (60, 150, 70),
    "teal": (40, 160, 165),
    "blue": (50, 85, 195),
    "brown": (120, 80, 45),
    "white": (235, 235, 230),
}
"""Red, green and blue of 255 by name."""

_SURFACE = {
    "plain": "one even colour all over",
    "striped": "parallel stripes on its surface",
    "spotted": "dark round spots on its surface",
    "checked": "a pattern of light and dark squares",
}

TEXTURES: dict[str, Depth] = {
    "plain": lambda x, y: np.zeros_like(x),
    "striped": lambda x, y: np.sin(9 * x),
    "spotted": lambda x, y: np.where(np.sin(7 * x) * np.sin(7 * y) > 0.35, -1.0, 0.2),
    "checked": lambda x, y: np.sign(np.sin(8 * x) * np.sin(8 * y)),
}
"""Brightness from -1 to 1 by name."""

THINGS = tuple(
    Thing(shape, color, texture)
    for shape, colors in zip(
        SHAPES,
        (
            *(("red", "teal"), ("yellow", "blue"), ("green", "orange"), ("white", "brown")),
            *(("blue", "yellow"), ("orange", "teal"), ("red", "green"), ("white", "blue")),
            *(("green", "brown"), ("orange", "red"), ("yellow", "white"), ("teal", "brown")),
        ),
        strict=True,
    )
    for color, texture in zip(colors, (tuple(_SURFACE)[len(shape) % 2 :: 2]), strict=True)
)
"""All classes: each shape in two colours, each with a texture of its own. Class ``i`` has the label value ``i + 1``."""
