"""2D datasets: each picture becomes a volume of one slice, so that everything in medfs reads it.

The luminance of a colour picture is the image, because medfs holds one number per voxel. Its colours are volumes of
their own in ``red/``, ``green/`` and ``blue/``, under the same names and on the same grid: whoever needs three channels
reads three files, whoever takes one channel reads ``images/``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from medfs.errors import InputError
from medfs.io.names import shown
from medfs.io.pictures import picture_volume, read_picture
from preprocessing.recipe import Loaded, RawCase

COLOURS = ("red", "green", "blue")
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601

Draw = Callable[[tuple[int, int]], np.ndarray]
"""Label values (columns, rows) for a picture of that size."""


def picture_case(
    name: str,
    picture: Path,
    draw: Draw | None,
    *sources: Path,
    facts: Mapping[str, str] | None = None,
    colour: bool = True,
) -> RawCase:
    """A case of one picture.

    Args:
        name: of the case, which is a patient of its own.
        picture: the file.
        draw: gives its labels; None for an unlabelled case.
        sources: further files it is made from.
        facts: as in :class:`~preprocessing.recipe.RawCase`.
        colour: also write the colours; a grey picture among them has three equal ones.
    """
    load = partial(_load, picture, draw, colour)
    return RawCase(name, name, (picture, *sources), load, facts or {})


def mask_values(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Grey values or palette indices of a mask.

    Returns:
        ``(columns, rows)`` uint8.

    Raises:
        InputError: it has colours, more than 8 bits, or another size than the picture.
    """
    values = read_picture(path)
    if values.ndim == 3 and (values == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim == 3 or values.dtype != np.uint8:
        raise InputError(f"{shown(path)}: colours or 16 bits; expected a mask of 8-bit grey values or a palette")
    if values.shape != size:
        raise InputError(f"{shown(path)}: {values.shape} pixels, its picture has {size}")
    return values


def above_half(path: Path, label: int, size: tuple[int, int]) -> np.ndarray:
    """``label`` where a mask is at least 128, else 0."""
    return np.where(mask_values(path, size) >= 128, np.uint8(label), np.uint8(0))


def luminance(picture: np.ndarray) -> np.ndarray:
    """Grey values of a picture: ``0.299 red + 0.587 green + 0.114 blue``, rounded; grey stays as it is.

    >>> luminance(np.array([[[255, 0, 0], [10, 10, 10]]], np.uint8)).tolist()
    [[76, 10]]
    """
    return picture if picture.ndim == 2 else np.rint(picture @ np.array(_LUMINANCE)).astype(np.uint8)


def _load(path: Path, draw: Draw | None, colour: bool) -> Loaded:
    picture = read_picture(path)
    grey = luminance(picture)
    planes = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1)
    channels = {name: planes[..., k, None] for k, name in enumerate(COLOURS)} if colour else {}
    labels = None if draw is None else draw((grey.shape[0], grey.shape[1]))[..., None]
    return Loaded(picture_volume(grey, path), labels, channels)
