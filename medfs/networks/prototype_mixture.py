"""Prototype mixtures: several directions for a class, found by expectation and maximisation."""

import torch
from torch import Tensor

_SMALLEST = 1e-6


@torch.no_grad()
def mixture_directions(values: Tensor, initial: Tensor, *, steps: int = 10, concentration: float = 20.0) -> Tensor:
    """Mean directions of a mixture of von Mises-Fisher distributions, without gradient.

    Values count with their length, so that zeros count nowhere.

    Args:
        values: (B, N, C), of a class; what does not belong to it is zero.
        initial: (P, C), directions to begin with.
        steps: of expectation and maximisation.
        concentration: of all components.

    Returns:
        (B, P, C) of length 1; 0 where all values are.

    >>> values = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])
    >>> mixture_directions(values, torch.eye(2)).round().tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """
    with torch.autocast(values.device.type, enabled=False):
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        directions = initial.to(values).expand(len(values), *initial.shape)
        for _ in range(steps):
            belongs = (concentration * values @ directions.transpose(1, 2)).softmax(dim=2)
            means = belongs.transpose(1, 2) @ values / (belongs.sum(dim=1)[..., None] + _SMALLEST)
            directions = means / (means.norm(dim=2, keepdim=True) + _SMALLEST)
    return directions


def mixture_probability(features: Tensor, background: Tensor, foreground: Tensor) -> Tensor:
    """Probability of both classes at each place: the softmax over all components, summed within each class.

    Args:
        features: (B, C, *S).
        background: (B, P, C), directions.
        foreground: (B, P', C).

    Returns:
        (B, 2, *S), background first.
    """
    with torch.autocast(features.device.type, enabled=False):
        directions = torch.cat([background, foreground], dim=1).float()
        belongs = torch.einsum("bc...,bpc->bp...", features.float(), directions).softmax(dim=1)
        of_background, of_foreground = belongs.split([background.shape[1], foreground.shape[1]], dim=1)
        return torch.stack([of_background.sum(dim=1), of_foreground.sum(dim=1)], dim=1)
