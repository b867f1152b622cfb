"""Crops cut into a grid of cubes and put together again, and cubes exchanged between the crops of a batch."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from medfs.errors import UsageError

CubeOrder = Literal["spatial", "published"]


def cubes_along(patch_size: Sequence[int], cubes: int | Sequence[int], levels: int = 1) -> tuple[int, ...]:
    """Number of cubes along each axis, checked against the patch and the depth of a network.

    Args:
        patch_size: voxels of a crop along each axis.
        cubes: along every axis, or along each.
        levels: resolutions of the network, which needs two voxels of a cube along each axis at the coarsest.

    Raises:
        UsageError: the cubes do not divide the patch, are a single one, or are too small for the network.

    >>> cubes_along((96, 96, 96), 3, levels=5)
    (3, 3, 3)
    """
    counts = (cubes,) * len(patch_size) if isinstance(cubes, int) else tuple(cubes)
    stride = 2 ** (levels - 1)
    fits = len(counts) == len(patch_size) and all(count >= 1 for count in counts) and max(counts) > 1
    for side, count in zip(patch_size, counts, strict=False):
        fits = fits and side % (count * stride) == 0 and (levels == 1 or side >= 2 * count * stride)
    if not fits:
        sides, numbers = ("x".join(map(str, values)) for values in (patch_size, counts))
        least = f" and at least {2 * stride}" if levels > 1 else ""
        raise UsageError(
            f"patch {sides} in {numbers} cubes with {levels} levels: expected more than one cube, every side of a cube "
            f"a multiple of {stride} voxels{least}; take another patch, fewer cubes or fewer levels"
        )
    return counts


def split_cubes(volume: Tensor, cubes: Sequence[int]) -> Tensor:
    """Cut into cubes.

    Args:
        volume: (B, C, *S).
        cubes: their number along each axis, which divides S.

    Returns:
        (B, n, C, *S / cubes); of the n cubes those along the last axis follow each other.

    Raises:
        UsageError: the cubes do not divide the volume.

    >>> split_cubes(torch.arange(4).view(1, 1, 2, 2), (2, 2)).flatten().tolist()
    [0, 1, 2, 3]
    """
    dims, size = len(cubes), volume.shape[2:]
    if len(size) != dims or any(side % count for side, count in zip(size, cubes, strict=True)):
        raise UsageError(f"{tuple(cubes)} cubes do not divide a volume of {tuple(size)} voxels")
    sides = [side // count for side, count in zip(size, cubes, strict=True)]
    parts = [number for pair in zip(cubes, sides, strict=True) for number in pair]
    grid, inside = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    return volume.reshape(*volume.shape[:2], *parts).permute(0, *grid, 1, *inside).flatten(1, dims)


def merge_cubes(parts: Tensor, cubes: Sequence[int], order: CubeOrder = "spatial") -> Tensor:
    """Put cubes together: the inverse of `split_cubes`.

    Args:
        parts: (B, n, C, *c).
        cubes: their number along each axis, with product n.
        order: ``published`` reads the cubes with the first axis fastest, which exchanges the first and the last axis
            of the grid: of 27 cubes 9 come back to their place. It is there to measure what that fault costs.

    Returns:
        (B, C, *S).

    Raises:
        UsageError: another number of cubes, or a grid whose axes cannot be exchanged.
    """
    dims, (batch, number, channels), sides = len(cubes), parts.shape[:3], parts.shape[3:]
    if number != torch.Size(cubes).numel() or len(sides) != dims:
        raise UsageError(f"{number} cubes of {tuple(sides)} voxels cannot fill a grid of {tuple(cubes)}")
    grid = list(range(1, 1 + dims))
    if order == "published":
        if (cubes[0], sides[0]) != (cubes[-1], sides[-1]):
            raise UsageError(f"cube order 'published' needs as many cubes along the first as the last axis: {cubes}")
        grid = grid[::-1]
    elif order != "spatial":
        raise UsageError(f"cube order {order!r}; expected 'spatial' or 'published'")
    inside = range(2 + dims, 2 + 2 * dims)
    axes = [axis for pair in zip(grid, inside, strict=True) for axis in pair]
    whole = [count * side for count, side in zip(cubes, sides, strict=True)]
    return parts.reshape(batch, *cubes, channels, *sides).permute(0, 1 + dims, *axes).reshape(batch, channels, *whole)


def draw_sources(batch: int, number: int, device: torch.device | None = None) -> Tensor:
    """For each of ``number`` places an independent permutation of the batch, (B, n)."""
    return torch.rand(batch, number, device=device).argsort(0)


def mix_cubes(volume: Tensor, sources: Tensor, cubes: Sequence[int]) -> Tensor:
    """Exchange cubes between the volumes of a batch; each keeps its place.

    Args:
        volume: (B, C, *S).
        sources: (B, n), from which volume each cube is taken; every column is a permutation.
        cubes: their number along each axis.
    """
    parts = split_cubes(volume, cubes)
    return merge_cubes(parts[sources, torch.arange(sources.shape[1], device=sources.device)], cubes)


def unmix_cubes(volume: Tensor, sources: Tensor, cubes: Sequence[int]) -> Tensor:
    """Bring exchanged cubes back: the inverse of `mix_cubes`, on the same grid or a coarser or finer one."""
    return mix_cubes(volume, sources.argsort(0), cubes)
