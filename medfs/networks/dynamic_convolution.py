"""The three generated 1-wide convolutions of the text-conditioned head."""

import torch
from torch import Tensor


def kernel_sizes(channels: int) -> tuple[int, ...]:
    """Lengths of the generated parts, in order: weights of the three layers, then their biases.

    >>> kernel_sizes(8), sum(kernel_sizes(8))
    ((64, 64, 8, 8, 8, 1), 153)
    """
    return (channels * channels, channels * channels, channels, channels, channels, 1)


def split_kernels(kernels: Tensor, channels: int) -> tuple[Tensor, ...]:
    """Weights (B, N, out, in) and biases (B, N, out, 1) of the three layers from generated parameters (B, N, P)."""
    w1, w2, w3, b1, b2, b3 = kernels.split(kernel_sizes(channels), dim=2)
    square = (channels, channels)
    return (
        w1.unflatten(2, square),
        w2.unflatten(2, square),
        w3.unsqueeze(2),
        b1.unsqueeze(3),
        b2.unsqueeze(3),
        b3.unsqueeze(3),
    )


def apply_kernels(features: Tensor, kernels: Tensor) -> Tensor:
    """Logits (B, N, *S) of features (B, H, *S) under generated parameters (B, N, P)."""
    w1, w2, w3, b1, b2, b3 = split_kernels(kernels, features.shape[1])
    hidden = torch.relu(w1 @ features.flatten(2).unsqueeze(1) + b1)
    hidden = torch.relu(w2 @ hidden + b2)
    return (w3 @ hidden + b3).squeeze(2).unflatten(2, features.shape[2:])
