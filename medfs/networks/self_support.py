"""Self-support: what a picture is taken for gives it prototypes of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor

_SCALE = 10.0
_CERTAIN_FOREGROUND, _CERTAIN_BACKGROUND = 0.7, 0.6
_FEWEST = 12  # places, where none is certain
_SHARPNESS = 2.0


def class_scores(features: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Scaled cosines (B, 2, *S) with background and foreground.

    Args:
        features: (B, C, *S).
        foreground: (B, C), or (B, C, *S), one for each place.
        background: likewise.
    """
    with torch.autocast(features.device.type, enabled=False):
        axes = [1] * (features.ndim - 2)
        unit = F.normalize(features.float(), dim=1)
        directions = (F.normalize(each.float(), dim=1) for each in (background, foreground))
        each = (d.view(*d.shape, *axes) if d.ndim == 2 else d for d in directions)
        return _SCALE * torch.stack([(unit * direction).sum(dim=1) for direction in each], dim=1)


def self_prototypes(features: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Prototypes of what scores as certain foreground and background.

    Where no place is certain, the twelve most probable ones stand in.

    Args:
        features: (B, C, *S).
        scores: (B, 2, *S), background and foreground.

    Returns:
        The mean foreground (B, C), the mean background (B, C), and for each place a mean of the background that weighs
        more what resembles the place (B, C, *S).
    """
    with torch.autocast(features.device.type, enabled=False):
        places = features.float().flatten(2).transpose(1, 2)
        background, foreground = scores.float().flatten(2).softmax(dim=1).unbind(dim=1)
        of_foreground = _certain(foreground, _CERTAIN_FOREGROUND)
        of_background = _certain(background, _CERTAIN_BACKGROUND)
        unit = F.normalize(places, dim=2)
        local = F.scaled_dot_product_attention(unit, unit, places, of_background[:, None], scale=_SHARPNESS)
        means = [_mean(places, chosen) for chosen in (of_foreground, of_background)]
        return means[0], means[1], local.transpose(1, 2).unflatten(2, features.shape[2:])


def _certain(probability: Tensor, threshold: float) -> Tensor:
    """Places (B, N), bool, above a threshold, or the most probable ones."""
    above = probability > threshold
    best = probability.topk(min(_FEWEST, probability.shape[1]), dim=1).indices
    most = torch.zeros_like(above).scatter(1, best, value=True)
    return torch.where(above.any(dim=1, keepdim=True), above, most)


def _mean(places: Tensor, chosen: Tensor) -> Tensor:
    weight = chosen.to(places.dtype)
    return torch.einsum("bnc,bn->bc", places, weight) / weight.sum(dim=1, keepdim=True)
