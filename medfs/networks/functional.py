"""What the heads of few-shot segmentation compute with features: means, similarities, decisions.

``B`` episodes, ``C`` channels, ``P`` prototypes, ``*S`` spatial, 2 or 3 axes.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Pool = Literal["image", "feature"]
"""The grid on which features and mask meet: that of the images, or the coarser one of the features."""

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
_SMALLEST_NORM = 1e-8


def resize(images: Tensor, size: Sequence[int], *, align_corners: bool = True) -> Tensor:
    """Interpolate (B, C, *S) linearly onto another number of samples per axis; the field of view stays.

    Args:
        images: floating point.
        size: of the result.
        align_corners: whether the first and last samples stay in place, as the published heads have it.
    """
    size = tuple(size)
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size, mode=_LINEAR[len(size)], align_corners=align_corners)


def cosine_map(features: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine of the features at each place with each prototype; 0 where one of them is zero.

    Args:
        features: (B, C, *S).
        prototypes: (B, P, C).

    Returns:
        (B, P, *S).

    >>> cosine_map(torch.tensor([[[[3.0]], [[4.0]]]]), torch.tensor([[[5.0, 0.0]]])).item()
    0.6000000238418579
    """
    features = F.normalize(_at_least_single(features), dim=1, eps=_SMALLEST_NORM)
    prototypes = F.normalize(_at_least_single(prototypes), dim=2, eps=_SMALLEST_NORM)
    return torch.einsum("bc...,bpc->bp...", features, prototypes)


def foreground_probability(cosine: Tensor, threshold: Tensor, *, scale: float = 20.0, steepness: float = 0.5) -> Tensor:
    """Probability of foreground from an anomaly score, minus the scaled cosine, against a threshold.

    ``1 - sigmoid(steepness (-scale cosine - threshold))``: one half where the score reaches the threshold.

    Args:
        cosine: (B, *S).
        threshold: broadcast against it, in units of the scaled score.
        scale: factor of the cosine.
        steepness: of the decision.

    References:
        Hansen et al., Anomaly detection-inspired few-shot medical image segmentation, Medical Image Analysis 78 (2022).

    >>> foreground_probability(torch.tensor(0.5), torch.tensor(-10.0)).item()
    0.5
    """
    return torch.sigmoid(steepness * (scale * cosine + threshold))


def threshold_decision(features: Tensor, prototype: Tensor, threshold: Tensor) -> Tensor:
    """Probability of foreground (B, 1, *S) of a query's features, by their cosine with a prototype.

    Args:
        features: (B, C, *S).
        prototype: (B, 1, C).
        threshold: as :func:`foreground_probability` takes it, (B, 1), or (1,) for all.
    """
    cosine = cosine_map(features, prototype)
    return foreground_probability(cosine, threshold.view(-1, *[1] * (cosine.ndim - 1)))


def mask_on_grid(mask: Tensor, size: Sequence[int]) -> Tensor:
    """A mask on a coarser grid, so that small objects do not vanish.

    A place counts if at least half of it does. Where that leaves nothing of an object, the places that hold most of it
    count. An empty mask stays empty.

    Args:
        mask: (B, *S), bool.
        size: of the result, no finer than the mask.

    Returns:
        (B, *size), bool.

    >>> mask_on_grid(torch.eye(4, dtype=torch.bool)[None], (2, 2)).int().tolist()
    [[[1, 0], [0, 1]]]
    """
    size = tuple(size)
    pool: Callable[..., Tensor] = F.adaptive_avg_pool2d if len(size) == 2 else F.adaptive_avg_pool3d
    share = pool(mask[:, None].float(), size)[:, 0].flatten(1)
    half = share >= 0.5
    most = (share == share.amax(dim=1, keepdim=True)) & (share > 0)
    return torch.where(half.any(dim=1, keepdim=True), half, most).unflatten(1, size)


def values_under(features: Tensor, mask: Tensor, *, align_corners: bool = True) -> tuple[Tensor, Tensor]:
    """Features at the voxels of a finer mask, interpolated linearly there and nowhere else.

    The same values as :func:`resize` to the grid of the mask gives, without ever holding that grid.

    Args:
        features: (B, C, *s).
        mask: (B, *S), bool, over the same field of view.
        align_corners: as in :func:`resize`.

    Returns:
        (B, C, n) in the order of the voxels, n being the largest count in the batch and at least 1, and (B, n), false
        where an item has fewer.

    >>> values_under(torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[True, True, False]]]))[0]
    tensor([[[0.0000, 0.5000]]])
    """
    flat, size, features = mask.flatten(1), mask.shape[1:], _at_least_single(features)
    count = max(1, int(flat.sum(dim=1).max()))
    places = flat.byte().argsort(dim=1, descending=True, stable=True)[:, :count]
    valid = flat.gather(1, places)
    axes = torch.unravel_index(places, size)
    # grid_sample wants the last axis first and counts from -1 to 1, between the first and the last sample if corners
    # are aligned, between the outer borders of both if not
    between = [2 * i / max(1, n - 1) if align_corners else (2 * i + 1) / n for i, n in zip(axes, size, strict=True)]
    grid = torch.stack(between[::-1], dim=-1) - 1
    grid = grid.view(len(mask), *[1] * (len(size) - 1), count, len(size)).to(features.dtype)
    values = F.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=align_corners)
    return values.flatten(2), valid


def foreground_of_shots(
    features: Tensor, mask: Tensor, pool: Pool = "image", *, align_corners: bool = True
) -> tuple[Tensor, Tensor]:
    """Features of the supports' foreground.

    Args:
        features: (B K, C, *s), of all supports.
        mask: (B, K, *S), bool.
        pool: ``"image"`` interpolates the features at the foreground of the mask, ``"feature"`` brings the mask to the
            grid of the features.
        align_corners: as in :func:`resize`.

    Returns:
        (B, K, C, n) and which of the n are foreground, (B, K, n); see :func:`values_under`.
    """
    on_grid = mask.flatten(0, 1)
    if pool == "feature":
        on_grid = mask_on_grid(on_grid, features.shape[2:])
    values, foreground = values_under(features, on_grid, align_corners=align_corners)
    return values.unflatten(0, mask.shape[:2]), foreground.unflatten(0, mask.shape[:2])


def mean_of_shots(features: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean within each shot, then over the shots that have any weight; 0 where none has.

    Args:
        features: (B, K, C, n).
        weight: (B, K, n), not negative; bool counts as 0 and 1.

    Returns:
        (B, C).

    >>> mean_of_shots(torch.tensor([[[[2.0, 4.0]], [[9.0, 7.0]]]]), torch.tensor([[[True, True], [False, True]]]))
    tensor([[5.]])
    """
    weight = weight.to(features.dtype)
    total = weight.sum(dim=2)
    present = (total > 0).to(features.dtype)
    mean = torch.einsum("bkcn,bkn->bkc", features, weight) / (total + (1 - present))[..., None]
    return (mean * present[..., None]).sum(dim=1) / present.sum(dim=1, keepdim=True).clamp(min=1)


def _at_least_single(values: Tensor) -> Tensor:
    """Half precision, which can neither hold the smallest norm nor place a voxel, as single."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
