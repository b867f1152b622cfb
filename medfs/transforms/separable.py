"""Linear interpolation on grids that share the axes of the volume, one axis after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from scipy import ndimage

_SLAB_VALUES = 2**19  # values of one slab on the new grid: what fits the cache is fastest, and memory stays bounded
_HALF = 0.5 - 1e-6  # exactly one half must not depend on rounding
_LISTED = 2**16  # labels up to here are looked up by their number


@dataclass(frozen=True)
class AxisSamples:
    """Where one axis of a volume is sampled; only samples in the field are listed.

    Attributes:
        count: samples of the new axis, those outside the field included.
        first: the first sample in the field.
        low: index of the voxel at or before each sample.
        high: index of the voxel after it.
        weight: share of the voxel after it, float64.
    """

    count: int
    first: int
    low: torch.Tensor
    high: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def regular(cls, voxels: int, start: float, step: float, count: int) -> "AxisSamples":
        """Samples at ``start + step * k`` in voxel indices.

        The field reaches half a voxel beyond the first and the last centre; there, the nearest voxel counts.
        """
        position = (start + step * torch.arange(count, dtype=torch.float64)).round(decimals=9)
        inside = torch.nonzero((position >= -0.5) & (position < voxels - 0.5)).flatten()
        position = position[inside].clamp(0, voxels - 1)
        low = position.floor()
        weight = position - low
        low = low.long()
        return cls(count, int(inside[0]) if len(inside) else 0, low, (low + 1).clamp(max=voxels - 1), weight)

    @property
    def inside(self) -> slice:
        """The samples in the field."""
        return slice(self.first, self.first + len(self.low))

    def part(self, chosen: slice, shift: int = 0) -> "AxisSamples":
        """Some samples in the field, in voxels counted from ``shift``."""
        low, high, weight = self.low[chosen], self.high[chosen], self.weight[chosen]
        return AxisSamples(len(low), 0, low - shift, high - shift, weight)

    def touching(self, start: int, stop: int) -> slice:
        """The samples in the field that the voxels from ``start`` to ``stop`` can have a share in."""
        first = torch.searchsorted(self.high, start)
        last = torch.searchsorted(self.low, stop)
        return slice(int(first), int(last))

    def nearest(self) -> "AxisSamples":
        """The same samples, each taking its nearest voxel."""
        index = torch.where(self.weight < 0.5, self.low, self.high)
        return AxisSamples(self.count, self.first, index, index, torch.zeros_like(self.weight))


def sample(volume: torch.Tensor, axes: Sequence[AxisSamples], dtype: torch.dtype) -> torch.Tensor:
    """Interpolate a volume linearly on a grid along its own axes.

    The volume is passed through in slabs of the new grid, so what is needed besides the result is small whatever the
    size. The result has the memory order of the volume.

    Args:
        volume: (*S) voxels of any real type.
        axes: samples of each axis.
        dtype: floating type of the computation and the result.

    Returns:
        (*S') values; 0 outside the field.
    """
    order, back = _memory_order(volume)
    source = volume.permute(order)
    ordered = [axes[axis] for axis in order]
    result = torch.zeros([axis.count for axis in ordered], dtype=dtype, device=volume.device)
    field = result[tuple(axis.inside for axis in ordered)]
    if field.numel() == 0:
        return result.permute(back)
    shrinking_first = sorted(range(volume.ndim), key=lambda axis: field.shape[axis] / source.shape[axis])
    rows = max(1, _SLAB_VALUES // prod(field.shape[1:]))
    for start in range(0, len(field), rows):
        chosen = slice(start, start + rows)
        first, last = int(ordered[0].low[chosen][0]), int(ordered[0].high[chosen][-1])
        slab, parts = source[first : last + 1], [ordered[0].part(chosen, first), *ordered[1:]]
        for axis in shrinking_first:
            slab = _along(slab, axis, parts[axis], dtype)
        field[chosen] = slab
    return result.permute(back)


def vote(labels: torch.Tensor, axes: Sequence[AxisSamples]) -> torch.Tensor:
    """Resample each label's indicator linearly and keep the label where it reaches one half.

    Labels are written in ascending order onto 0, so the largest wins where several have one half. Only the box of a
    label is looked at: elsewhere its share is 0.

    Args:
        labels: (*S) whole numbers from 0, of any type.
        axes: samples of each axis.

    Returns:
        (*S') labels of the same type; 0 outside the field.
    """
    order, back = _memory_order(labels)
    source = labels.permute(order)
    ordered = [axes[axis] for axis in order]
    result = torch.zeros([axis.count for axis in ordered], dtype=labels.dtype, device=labels.device)
    field = result[tuple(axis.inside for axis in ordered)]
    values, numbered = _numbered(source.numpy(force=True))
    for value, box in zip(values, ndimage.find_objects(numbered), strict=True):
        if box is None:
            continue
        near = [slice(max(0, s.start - 1), s.stop + 1) for s in box]  # neighbours that share a sample with the label
        chosen = [axis.touching(s.start, s.stop) for axis, s in zip(ordered, box, strict=True)]
        parts = [axis.part(c, s.start) for axis, c, s in zip(ordered, chosen, near, strict=True)]
        share = sample(source[tuple(near)] == value, parts, torch.float32)
        field[tuple(chosen)].masked_fill_(share >= _HALF, value)
    return result.permute(back)


def _memory_order(volume: torch.Tensor) -> tuple[list[int], list[int]]:
    """The axes from the slowest to the fastest in memory, and the permutation that undoes it."""
    order = sorted(range(volume.ndim), key=volume.stride, reverse=True)
    return order, [order.index(axis) for axis in range(volume.ndim)]


def _numbered(labels: np.ndarray) -> tuple[Sequence[int], np.ndarray]:
    """All labels above 0 that may occur, and the map that holds the place in that list, counted from 1."""
    top = int(labels.max(initial=0))
    if top <= _LISTED:
        return range(1, top + 1), labels if labels.dtype.kind in "iu" else labels.astype(np.int32)
    values, places = np.unique(labels, return_inverse=True)
    places = places.reshape(labels.shape) + (values[0] != 0)
    return values[values != 0].astype(np.int64).tolist(), places


def _along(values: torch.Tensor, axis: int, samples: AxisSamples, dtype: torch.dtype) -> torch.Tensor:
    if not samples.weight.any():
        first, length = int(samples.low[0]), len(samples.low)
        if bool((samples.low.diff() == 1).all()):
            return values.narrow(axis, first, length).to(dtype)
        return _take(values, axis, samples.low).to(dtype)
    weight = samples.weight.to(values.device, dtype).reshape(-1, *[1] * (values.ndim - axis - 1))
    before = _take(values, axis, samples.low).to(dtype)
    return before.lerp_(_take(values, axis, samples.high).to(dtype), weight)


def _take(values: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    index = index.to(values.device)
    if axis == values.ndim - 1:  # index_select takes three times as long along the fastest axis
        return values.gather(axis, index.expand(*values.shape[:-1], -1))
    return values.index_select(axis, index)
