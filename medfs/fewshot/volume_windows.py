"""Parts of volumes that fit at once."""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medfs.errors import UsageError


def window_size(size: Sequence[int], most_voxels: int) -> tuple[int, ...]:
    """The largest window of at most so many voxels: the longest axis is halved until it fits.

    >>> window_size((36, 256, 256), 2**22), window_size((36, 256, 256), 2**20)
    ((36, 256, 256), (36, 128, 128))
    """
    window = list(size)
    while prod(window) > most_voxels:
        longest = window.index(max(window))
        window[longest] = -(-window[longest] // 2)
    return tuple(window)


def surroundings(
    masks: Sequence[NDArray[np.bool_]], most_voxels: int, names: Sequence[str] = ()
) -> list[tuple[slice, ...]]:
    """The parts of K volumes that lie around what is labelled, by the widest margin with which they fit.

    Parts fit if a volume that holds the largest of them along each axis has at most so many voxels.

    Args:
        masks: K times (*S); S may differ.
        most_voxels: in that volume.
        names: of the volumes, for messages.

    Raises:
        UsageError: nothing is labelled in a volume, or the labels alone reach over more voxels.
    """
    names = names or [f"support {place + 1}" for place in range(len(masks))]
    places = [np.argwhere(mask) for mask in masks]
    if unlabelled := [name for name, found in zip(names, places, strict=True) if not len(found)]:
        raise UsageError(f"{unlabelled[0]}: nothing is labelled; expected a support that shows an organ to look for")
    first, last = (np.stack([end(found, axis=0) for found in places]) for end in (np.min, np.max))
    shapes = np.array([mask.shape for mask in masks])

    def ends(margin: int) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        return np.maximum(first - margin, 0), np.minimum(last + 1 + margin, shapes)

    def largest(margin: int) -> list[int]:
        starts, stops = ends(margin)
        return [int(length) for length in (stops - starts).max(axis=0)]

    if prod(largest(0)) > most_voxels:
        widest = [names[place] for place in dict.fromkeys((last - first).argmax(axis=0).tolist())]
        raise UsageError(
            f"{', '.join(widest)}: labels reach over {' x '.join(map(str, largest(0)))} voxels, "
            f"but {most_voxels} fit at once; expected fewer: take a coarser grid, by a smaller size, or allow more"
        )
    low, high = 0, int(shapes.max())
    while low < high:
        margin = (low + high + 1) // 2
        low, high = (margin, high) if prod(largest(margin)) <= most_voxels else (low, margin - 1)
    return [tuple(map(slice, start, stop)) for start, stop in zip(*(each.tolist() for each in ends(low)), strict=True)]


def grown(volume: Tensor, size: Sequence[int], value: float) -> Tensor:
    """The last three axes grown to a size at their ends by a value."""
    missing = [wanted - length for wanted, length in zip(size, volume.shape[-3:], strict=True)]
    if not any(missing):
        return volume
    return F.pad(volume, [n for after in reversed(missing) for n in (0, after)], value=value)
