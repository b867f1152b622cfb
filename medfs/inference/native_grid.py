"""From scores in blocks of slices to labels on the grid of the scan, in bounded memory."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfs.transforms import argmax_on_grid


def labels_of_blocks(
    blocks: Iterable[tuple[range, Tensor]],
    slices: int,
    affine: NDArray[np.float64],
    target_shape: Sequence[int],
    target_affine: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Interpolate scores that come block by block onto another grid and keep the highest class of each voxel.

    The same as :func:`medfs.transforms.argmax_on_grid` of all of them at once. Only the slices that target voxels still
    wait for are kept: with slices along an axis of the target, those of a block and one more.

    Args:
        blocks: slices and their scores (G, N, n, Y, X), ascending, every slice once. G results are made at once.
        slices: their number.
        affine: (4, 4), from working voxel (X, Y, Z) to mm.
        target_shape: three sizes.
        target_affine: (4, 4), from target voxel to mm.

    Returns:
        (G, *target_shape) classes.
    """
    to_working = np.linalg.inv(affine) @ target_affine
    axis = int(np.abs(to_working[2, :3]).argmax())
    lowest, highest = _slices_needed(to_working[2], target_shape, axis)
    order = np.argsort(lowest, kind="stable")
    results: list[NDArray[np.uint8]] = []
    kept, first, done = None, 0, 0
    for block, scores in blocks:
        kept = scores if kept is None else torch.cat([kept, scores], dim=2)
        if not results:
            results = [np.zeros(tuple(target_shape), np.uint8) for _ in scores]
        known = len(order) if block.stop == slices else int((highest[order] <= block.stop - 1).sum())
        if known > done:
            part = slice(int(order[done:known].min()), int(order[done:known].max()) + 1)
            for result, each in zip(results, kept, strict=True):
                _fill(result, each, _moved(affine, 2, first), target_affine, axis, part)
            done = known
        if done < len(order):
            needed = min(max(int(np.floor(lowest[order[done]])), first), block.stop - 1)
            kept, first = kept[:, :, needed - first :].clone(), needed
    return np.stack(results)


def _slices_needed(
    row: NDArray[np.float64], shape: Sequence[int], axis: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest place along the working slices of each layer of the target across ``axis``."""
    ends = [sorted((0.0, row[other] * (shape[other] - 1))) for other in range(3) if other != axis]
    along = row[axis] * np.arange(shape[axis]) + row[3]
    slack = 1e-6  # a layer that lies on a slice needs no other one
    return along + sum(end[0] for end in ends) + slack, along + sum(end[1] for end in ends) - slack


def _fill(
    result: NDArray[np.uint8],
    scores: Tensor,
    affine: NDArray[np.float64],
    target_affine: NDArray[np.float64],
    axis: int,
    part: slice,
) -> None:
    view = np.moveaxis(np.moveaxis(result, axis, 0)[part], 0, axis)
    start = _moved(target_affine, axis, part.start)
    view[:] = argmax_on_grid(scores.permute(0, 3, 2, 1), affine, view.shape, start).numpy()


def _moved(affine: NDArray[np.float64], axis: int, voxels: int) -> NDArray[np.float64]:
    """An affine whose first voxel is another one along an axis."""
    moved = np.array(affine, np.float64)
    moved[:3, 3] += voxels * moved[:3, axis]
    return moved
