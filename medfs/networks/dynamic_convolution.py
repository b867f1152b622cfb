"""The three generated 1-wide convolutions of the text-conditioned head, plain and in bounded memory."""

from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor
from torch.autograd.function import once_differentiable

# Voxels computed at a time. On a CPU the activations of a chunk stay in the cache; on an accelerator fewer, larger
# launches count.
_CPU_CHUNK = 2048
_DEVICE_CHUNK = 2**18


def kernel_sizes(channels: int) -> tuple[int, ...]:
    """Lengths of the generated parts, in order: weights of the three layers, then their biases.

    >>> kernel_sizes(8), sum(kernel_sizes(8))
    ((64, 64, 8, 8, 8, 1), 153)
    """
    return (channels * channels, channels * channels, channels, channels, channels, 1)


def split_kernels(kernels: Tensor, channels: int) -> tuple[Tensor, ...]:
    """Weights (..., out, in) and biases (..., out, 1) of the three layers from generated parameters (..., P)."""
    w1, w2, w3, b1, b2, b3 = kernels.split(kernel_sizes(channels), dim=-1)
    square = (channels, channels)
    weights = (w1.unflatten(-1, square), w2.unflatten(-1, square), w3.unsqueeze(-2))
    return (*weights, b1.unsqueeze(-1), b2.unsqueeze(-1), b3.unsqueeze(-1))


def apply_kernels_plain(features: Tensor, kernels: Tensor) -> Tensor:
    """As ``apply_kernels``, in three matrix products that hold the activations of all classes in memory."""
    w1, w2, w3, b1, b2, b3 = split_kernels(kernels, features.shape[1])
    hidden = torch.relu(w1 @ features.flatten(2).unsqueeze(1) + b1)
    hidden = torch.relu(w2 @ hidden + b2)
    return (w3 @ hidden + b3).squeeze(2).unflatten(2, features.shape[2:])


def apply_kernels(features: Tensor, kernels: Tensor) -> Tensor:
    """Logits of every class under generated kernels.

    Computed exactly, over chunks of voxels whose activations are recomputed in the backward pass, so that memory grows
    with the logits alone and not with classes times ``H`` channels. While a graph is recorded for export or
    compilation the plain form is recorded instead. Differentiable once.

    Args:
        features: (B, H, *S).
        kernels: generated parameters (B, N, P), ``P = sum(kernel_sizes(H))``.

    Returns:
        Logits (B, N, *S); under autocast in its type.
    """
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return apply_kernels_plain(features, kernels)
    device = features.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        features, kernels = features.to(dtype), kernels.to(dtype)
    # Metadata would be copied by every operation on every chunk: set aside, and given back at the end.
    flat = features.flatten(2).as_subclass(Tensor)
    logits = _ChunkedKernels.apply(flat, kernels.as_subclass(Tensor)).unflatten(2, features.shape[2:])
    return MetaTensor(logits).copy_meta_from(features) if isinstance(features, MetaTensor) else logits


def _hidden(features: Tensor, parts: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Activations (N, H, V) of both hidden layers for one sample's features (H, V)."""
    w1, w2, _, b1, b2, _ = parts
    first = torch.addmm(b1.flatten(0, 1), w1.flatten(0, 1), features).relu_().view(w1.shape[0], -1, features.shape[1])
    return first, torch.baddbmm(b2, w2, first).relu_()


class _ChunkedKernels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, kernels: Tensor) -> Tensor:
        ctx.save_for_backward(features, kernels)
        batch, channels, voxels = features.shape
        logits = features.new_empty(batch, kernels.shape[1], voxels)
        chunk = _chunk(features)
        with torch.autocast(features.device.type, enabled=False):
            for sample in range(batch):
                parts = split_kernels(kernels[sample], channels)
                for start in range(0, voxels, chunk):
                    span = slice(start, start + chunk)
                    _, second = _hidden(features[sample, :, span], parts)
                    logits[sample, :, span] = torch.baddbmm(parts[5], parts[2], second).squeeze(1)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        features, kernels = ctx.saved_tensors
        gradient = gradient.as_subclass(Tensor)
        feature_gradient = torch.empty_like(features)
        precise = torch.promote_types(kernels.dtype, torch.float32)
        kernel_gradient = torch.empty_like(kernels, dtype=precise)
        chunk = _chunk(features)
        with torch.autocast(features.device.type, enabled=False):
            for sample in range(len(features)):
                parts = split_kernels(kernels[sample], features.shape[1])
                sums = [torch.zeros_like(part, dtype=precise) for part in parts]
                for start in range(0, features.shape[2], chunk):
                    span = slice(start, start + chunk)
                    feature_gradient[sample, :, span] = _backward_chunk(
                        features[sample, :, span], gradient[sample, :, span], parts, sums
                    )
                kernel_gradient[sample] = torch.cat([part.flatten(1) for part in sums], dim=1)
        return feature_gradient, kernel_gradient.to(kernels.dtype)


def _backward_chunk(features: Tensor, gradient: Tensor, parts: tuple[Tensor, ...], sums: list[Tensor]) -> Tensor:
    """Gradient (H, V) of one chunk's features; adds the gradients of the kernels to ``sums``, ordered as ``parts``."""
    w1, w2, w3 = parts[:3]
    first, second = _hidden(features, parts)
    outer = gradient.unsqueeze(1)
    sums[2] += outer @ second.mT
    sums[5] += outer.sum(2, keepdim=True)
    middle = torch.ops.aten.threshold_backward(w3.mT * outer, second, 0)
    sums[1] += middle @ first.mT
    sums[4] += middle.sum(2, keepdim=True)
    inner = torch.ops.aten.threshold_backward(w2.mT @ middle, first, 0)
    sums[0] += (inner.flatten(0, 1) @ features.mT).view_as(w1)
    sums[3] += inner.sum(2, keepdim=True)
    return w1.flatten(0, 1).mT @ inner.flatten(0, 1)


def _chunk(features: Tensor) -> int:
    return _CPU_CHUNK if features.device.type == "cpu" else _DEVICE_CHUNK
