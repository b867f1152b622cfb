"""Prototypes of the cells of a grid, which keep what a class looks like in different places."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_SMALLEST = 1e-6


def cell_similarity(query: Tensor, support: Tensor, share: Tensor, cells: int = 4) -> Tensor:
    """Mean cosine of a query with the mean feature of a class in each cell of the support.

    A cosine is linear in the direction of a prototype, so that the mean direction of all cells is compared once. Cells
    without the class count as 0.

    Args:
        query: (B, C, *Q).
        support: (B, C, *S).
        share: (B, *S), how much of each place is of the class.
        cells: along each axis; where they do not divide it, one more lies at its end and overlaps.

    Returns:
        (B, 1, *Q).
    """
    with torch.autocast(query.device.type, enabled=False):
        members = [_cells(length, cells).to(support.device) for length in share.shape[1:]]
        total = _summed(support.float() * share[:, None], members).flatten(2)
        means = total / (_summed(share[:, None].float(), members).flatten(2) + _SMALLEST)
        direction = F.normalize(means, dim=1).mean(dim=2)
        unit = F.normalize(query.float(), dim=1)
        return torch.einsum("bc...,bc->b...", unit, direction)[:, None]


def _cells(length: int, cells: int) -> Tensor:
    """Which places belong to which cell of an axis, (cells, length).

    >>> _cells(5, 2).int().tolist()
    [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]]
    """
    side = max(1, length // cells)
    starts = list(range(0, length - side + 1, side))
    if starts[-1] + side < length:
        starts.append(length - side)
    places = torch.arange(length)
    return torch.stack([(places >= start) & (places < start + side) for start in starts]).float()


def _summed(values: Tensor, members: Sequence[Tensor]) -> Tensor:
    """Sums of (B, C, *S) over the cells, (B, C, *cells)."""
    for axis, member in enumerate(members, start=2):
        values = (values.movedim(axis, -1) @ member.T).movedim(-1, axis)
    return values
