"""Synthetic pictures of named things on clutter: a source domain without a download, and without anything medical."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfs.errors import UsageError
from medfs.io import atomic_path, make_folder
from medfs.io.pictures import write_png
from medfs.phantom.fields import FloatArray, WaveField
from medfs.phantom.things import COLORS, SHAPES, TEXTURES, THINGS

_SMALLEST = 16
_MOST_THINGS = 3
_CLUTTER = (4, 10)
_CONTRAST = 45.0


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture with its truth.

    Attributes:
        picture: (rows, columns, 3) uint8, red, green and blue.
        labels: (rows, columns) uint8, 0 clutter, ``i + 1`` for class ``i`` of :data:`medfs.phantom.things.THINGS`.
    """

    picture: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def scene_classes() -> dict[int, str]:
    """Class name by label value, 0 left out.

    >>> len(scene_classes()) >= 20
    True
    """
    return {value: thing.name for value, thing in enumerate(THINGS, start=1)}


def scene_sentences() -> dict[str, str]:
    """One sentence for each class name."""
    return {thing.name: thing.sentence for thing in THINGS}


def draw_scene(seed: int, index: int, size: int = 96) -> Scene:
    """Draw a picture of one to three things of different classes on clutter.

    It depends on nothing but its arguments. Things vary in size, place, direction, tint and light; clutter are patches
    of all colours, plain or textured, that belong to no class. Class ``index % classes`` is always there and on top.

    Args:
        seed: not negative; another seed, other pictures.
        index: number of the picture, not negative.
        size: rows and columns, at least 16.

    Raises:
        UsageError: a number is too small.
    """
    if min(seed, index) < 0 or size < _SMALLEST:
        raise UsageError(f"scene {index} of seed {seed}, {size} pixels; expected numbers >= 0 and {_SMALLEST} pixels")
    random = np.random.default_rng((seed, index))
    axis = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(axis, axis)
    canvas = np.zeros((size, size, 3)) + random.uniform(50, 200, 3) + _texture(random, x, y, 0.4, 3)
    labels = np.zeros((size, size), np.uint8)
    for _ in range(random.integers(*_CLUTTER)):
        _paint_patch(random, canvas, x, y)
    others = random.choice(len(THINGS), random.integers(_MOST_THINGS), replace=False)
    shown = [int(number) for number in others if number != index % len(THINGS)]
    for number in (*shown, index % len(THINGS)):
        labels[_paint_thing(random, canvas, x, y, number)] = number + 1
    light = 1 + _texture(random, x, y, 1.0, 1) / (4 * _CONTRAST)
    canvas = canvas * light + random.normal(0, random.uniform(2, 10), canvas.shape)
    return Scene(np.clip(np.rint(canvas), 0, 255).astype(np.uint8), labels)


def write_scenes(folder: str | Path, count: int, *, seed: int = 0, size: int = 96) -> None:
    """Write pictures as a dataset: ``images/<scene>.png``, ``labels/<scene>.png`` and ``class_slices.json``.

    Args:
        folder: made if missing; files of the same names are replaced.
        count: pictures; those of a smaller count are the first of a larger one.
        seed: as of :func:`draw_scene`.
        size: as of :func:`draw_scene`.

    Raises:
        UsageError: a number is too small.
        StorageError: a file cannot be written.
    """
    if count < 1:
        raise UsageError(f"{count} scenes; expected at least 1")
    folder = Path(folder)
    slices: dict[str, dict[str, list[int]]] = {name: {} for name in ("background", *scene_classes().values())}
    for part in ("images", "labels"):
        make_folder(folder / part)
    for index in range(count):
        scene, name = draw_scene(seed, index, size), f"scene_{index:05d}"
        write_png(folder / "images" / f"{name}.png", scene.picture)
        write_png(folder / "labels" / f"{name}.png", scene.labels)
        for value, places in enumerate(slices.values()):
            places[name] = [0] if (scene.labels == value).any() else []
    with atomic_path(folder / "class_slices.json") as temporary:
        temporary.write_text(json.dumps(slices) + "\n", "utf-8")


def _paint_patch(random: np.random.Generator, canvas: FloatArray, x: FloatArray, y: FloatArray) -> None:
    """A blob of no class: an ellipse with a wavy rim, of any colour."""
    u, v = _local(random, x, y, random.uniform(0.05, 0.3), random.uniform(0.05, 0.3))
    wave = random.uniform(0, 0.3) * np.sin(random.integers(2, 8) * np.arctan2(v, u) + random.uniform(0, 6))
    inside = np.hypot(u, v) < 1 + wave
    color = random.uniform(30, 230, 3) + _texture(random, x, y, 0.15, 3)
    canvas[inside] = color[inside]


def _paint_thing(
    random: np.random.Generator, canvas: FloatArray, x: FloatArray, y: FloatArray, number: int
) -> NDArray[np.bool_]:
    """Paint one thing and give the pixels that it covers."""
    thing, radius = THINGS[number], random.uniform(0.15, 0.32)
    u, v = _local(random, x, y, radius, radius * random.uniform(0.8, 1.2))
    inside = SHAPES[thing.shape](u, v) < 0
    color = np.array(COLORS[thing.color]) * random.uniform(0.75, 1.1) + random.normal(0, 12, 3)
    surface = color + _CONTRAST * TEXTURES[thing.texture](u, v)[..., None] + _texture(random, x, y, 0.2, 3) / 4
    canvas[inside] = surface[inside]
    return np.asarray(inside, bool)


def _local(
    random: np.random.Generator, x: FloatArray, y: FloatArray, width: float, height: float
) -> tuple[FloatArray, FloatArray]:
    """Coordinates of a thing at a place and in a direction that are drawn."""
    (left, top), angle = random.uniform(0.2, 0.8, 2), random.uniform(-np.pi, np.pi)
    right, down = x - left, y - top
    return (
        (np.cos(angle) * right + np.sin(angle) * down) / width,
        (np.cos(angle) * down - np.sin(angle) * right) / height,
    )


def _texture(random: np.random.Generator, x: FloatArray, y: FloatArray, length: float, components: int) -> FloatArray:
    """A smooth random pattern (rows, columns, components) of about the contrast of a thing's own."""
    field = WaveField.draw(random, wavelength_mm=(length / 2, 2 * length), sd=_CONTRAST / 2, components=components)
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    return np.moveaxis(field.at(points).reshape(components, *x.shape), 0, -1)
