"""Many prototypes of a class: the mean feature of the class in the whole picture and in windows of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medfs.networks.functional import mean_of_shots

AVERAGE_POOL: dict[int, Callable[..., Tensor]] = {2: F.avg_pool2d, 3: F.avg_pool3d}
"""By the number of spatial axes."""

_LONE_VOXELS = 100
_ROUNDING = 1e-3  # of a voxel count
_SMALLEST_COUNT = 1e-5
_SMALLEST_SQUARE = 1e-10  # below it, a distance has no gradient


@dataclass(frozen=True, slots=True, eq=False)
class PrototypeBank:
    """Prototypes of a class.

    Attributes:
        values: (B, P, C), the mean of the class first, if it is in it.
        valid: (B, P), bool, false where an episode has fewer.
    """

    values: Tensor
    valid: Tensor

    def expanded(self, features: Tensor, prior: Tensor, amount: Tensor) -> "PrototypeBank":
        """All moved by the mean of features (B, C, *S) under a mask (B, 1, *S), times an amount (B, 1)."""
        count = prior.flatten(1).sum(dim=1, keepdim=True)
        mean = (features * prior).flatten(2).sum(dim=2) / (count + _SMALLEST_COUNT)
        return PrototypeBank(self.values + (amount * mean)[:, None], self.valid)

    def local(self) -> "PrototypeBank":
        """Without the first."""
        return PrototypeBank(self.values[:, 1:], self.valid[:, 1:])

    def thinned(self, most: int) -> "PrototypeBank":
        """The valid ones alone; of more than ``most``, some that are evenly spaced. What is not valid is zero."""
        places, valid = evenly_spaced(self.valid, most)
        return PrototypeBank(_rows(self.values, places) * valid[..., None], valid)

    def weights(self, similarity: Tensor, temperature: Tensor) -> Tensor:
        """Softmax over the valid prototypes of temperature (B,) times similarity (B, P, *S); 0 if none is valid."""
        axes = [1] * (similarity.ndim - 2)
        scores = temperature.view(-1, 1, *axes) * similarity
        valid = self.valid.view(*self.valid.shape, *axes)
        return scores.masked_fill(~valid, torch.finfo(scores.dtype).min).softmax(dim=1) * valid


def prototype_bank(
    features: Tensor,
    mask: Tensor,
    counts: Tensor,
    *,
    window: Sequence[int],
    stride: Sequence[int],
    rate: float = 1.0,
    most: int = 150,
) -> PrototypeBank:
    """The mean of a class and its means in overlapping windows.

    A window counts if the class fills ``rate`` of it, or if it holds a hundredth of the class. If no window of a shot
    does, up to 100 voxels of the class stand in. The global mean is that of the shots, each counting the same; the
    windows of all shots form one list, and if it is longer than ``most``, elements evenly spaced along it are taken.

    Sums over windows are average pooling of features times mask, so that no window is ever copied out.

    Args:
        features: (B, K, C, *S).
        mask: (B, K, *S), bool, on the same grid.
        counts: (B, K), bool, shots that count.
        window: voxels of a window along each axis; a window larger than the grid is the grid.
        stride: from window to window.
        rate: share of a window that the class fills.
        most: local prototypes of an episode.

    Returns:
        The global mean first, zero where the class is empty, then the local ones.

    >>> picture, everywhere = torch.ones(1, 1, 1, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool)
    >>> bank = prototype_bank(picture, everywhere, everywhere[:, :, 0, 0], window=(2, 2), stride=(2, 2))
    >>> bank.values.shape
    torch.Size([1, 5, 1])
    """
    shots = mask.shape[:2]
    flat, of_class = features.flatten(0, 1), mask.flatten(0, 1)
    local, kept = _window_means(flat, of_class, window, stride, rate)
    lone = of_class.flatten(1) & ~kept.any(dim=1, keepdim=True)
    if lone.any():
        places, chosen = evenly_spaced(lone, _LONE_VOXELS)
        local = torch.cat([local, _rows(flat.flatten(2).transpose(1, 2), places)], dim=1)
        kept = torch.cat([kept, chosen], dim=1)
    kept = kept.unflatten(0, shots) & counts[:, :, None]
    bank = PrototypeBank(local.unflatten(0, shots).flatten(1, 2), kept.flatten(1)).thinned(most)
    overall = mean_of_shots(features.flatten(3), mask.flatten(2) & counts[:, :, None])
    return PrototypeBank(torch.cat([overall[:, None], bank.values], dim=1), F.pad(bank.valid, (1, 0), value=True))


def _window_means(
    features: Tensor, mask: Tensor, window: Sequence[int], stride: Sequence[int], rate: float
) -> tuple[Tensor, Tensor]:
    """Means of a class in all windows (B, n, C), and which windows count (B, n)."""
    size, share = mask.shape[1:], mask[:, None].to(features.dtype)
    kernel = [min(wanted, length) for wanted, length in zip(window, size, strict=True)]
    pool, voxels = AVERAGE_POOL[len(size)], math.prod(kernel)
    held = pool(share, kernel, list(stride)).flatten(1) * voxels
    needed = (share.flatten(1).sum(dim=1, keepdim=True) / 100).clamp(max=rate * voxels)
    # held is a mean times a number: what should be 0 or a whole number is so up to rounding
    kept = (held >= needed - _ROUNDING) & (held > 0.5)
    sums = pool(features * share, kernel, list(stride)).flatten(2) * voxels
    return (sums / held.clamp(min=1)[:, None]).transpose(1, 2), kept


def evenly_spaced(wanted: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Up to ``most`` of the wanted places of each row, evenly spaced among them; all if there are no more.

    Args:
        wanted: (B, N), bool.
        most: how many.

    Returns:
        (B, n), places in ascending order, n being the largest number taken, and (B, n), false where a row has fewer.

    >>> evenly_spaced(torch.tensor([[True, True, False, True, True]]), 2)[0].tolist()
    [[0, 3]]
    """
    available = wanted.sum(dim=1, keepdim=True)
    taken = available.clamp(max=most)
    index = torch.arange(int(taken.max()), device=wanted.device)[None]
    rank = index * available // taken.clamp(min=1)
    order = wanted.byte().argsort(dim=1, descending=True, stable=True)
    return order.gather(1, rank.clamp(max=wanted.shape[1] - 1)), index < taken


def angle_and_magnitude(features: Tensor, prototypes: Tensor, weight: Tensor, *, steepness: float = 3.5) -> Tensor:
    """Similarity of the features at each place with each prototype: cosine plus weighted closeness.

    Closeness is ``2 / (1 + exp(steepness d))`` with d the root of the mean squared difference of the channels: 1 where
    features and prototype are equal, 0 far away. Its gradient stays finite at distance 0. Computed in single precision
    at least, because distances come from differences of large products.

    Args:
        features: (B, C, *S).
        prototypes: (B, P, C).
        weight: of closeness, one number.
        steepness: how fast closeness falls.

    Returns:
        (B, P, *S).

    >>> one = torch.ones(1, 2, 1, 1)
    >>> angle_and_magnitude(one, one[:, None, :, 0, 0], torch.tensor(0.5)).round(decimals=3).item()
    1.5
    """
    with torch.autocast(features.device.type, enabled=False):
        precision = torch.promote_types(features.dtype, torch.float32)
        places, prototypes = features.flatten(2).to(precision), prototypes.to(precision)
        product = prototypes @ places
        of_places, of_prototypes = places.square().sum(dim=1)[:, None], prototypes.square().sum(dim=2)[..., None]
        norms = of_places.clamp(min=_SMALLEST_SQUARE).sqrt() * of_prototypes.clamp(min=_SMALLEST_SQUARE).sqrt()
        mean_square = (of_places + of_prototypes - 2 * product) / places.shape[1]
        distance = mean_square.clamp(min=_SMALLEST_SQUARE).sqrt()
        similarity = product / norms + weight * 2 * torch.sigmoid(-steepness * distance)
    return similarity.unflatten(2, features.shape[2:])


def _rows(values: Tensor, places: Tensor) -> Tensor:
    """Rows (B, n, C) of values (B, N, C)."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))
