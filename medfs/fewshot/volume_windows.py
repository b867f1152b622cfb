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


def surroundings(mask: NDArray[np.bool_], most_voxels: int, name: str = "support") -> tuple[slice, ...]:
    """The part of a volume of at most so many voxels that lies around what is labelled; all of it, if it fits.

    Args:
        mask: (*S).
        most_voxels: in the part.
        name: of the volume, for messages.

    Raises:
        UsageError: nothing is labelled, or the labels alone reach over more voxels.
    """
    places = np.argwhere(mask)
    if not len(places):
        raise UsageError(f"{name}: nothing is labelled; expected a support that shows an organ to look for")
    if mask.size <= most_voxels:
        return tuple(slice(0, length) for length in mask.shape)
    first, last = places.min(axis=0), places.max(axis=0) + 1
    if prod(int(n) for n in last - first) > most_voxels:
        raise UsageError(
            f"{name}: its labels reach over {' x '.join(map(str, last - first))} voxels, but {most_voxels} fit at "
            "once; expected fewer: take a coarser grid, by a smaller size, or allow more"
        )
    low, high = 0, max(mask.shape)
    while low < high:  # the widest margin that fits
        margin = (low + high + 1) // 2
        extent = np.minimum(last + margin, mask.shape) - np.maximum(first - margin, 0)
        low, high = (margin, high) if prod(int(n) for n in extent) <= most_voxels else (low, margin - 1)
    starts, stops = np.maximum(first - low, 0), np.minimum(last + low, mask.shape)
    return tuple(slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True))


def grown(volume: Tensor, size: Sequence[int], value: float) -> Tensor:
    """The last three axes grown to a size at their ends by a value."""
    missing = [wanted - length for wanted, length in zip(size, volume.shape[-3:], strict=True)]
    if not any(missing):
        return volume
    return F.pad(volume, [n for after in reversed(missing) for n in (0, after)], value=value)
