"""A start for the text-conditioned head from which it learns as fast as an ordinary output layer."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from medfs.networks.dynamic_convolution import kernel_sizes
from medfs.networks.text_head import TextConditionedHead, TextFusion

_TINY = 1e-12
_SMALLEST_DIRECTION = 1e-2  # of the largest difference between classes: what lies below is no difference
_CONTEXT_SCALE = 0.1


@torch.no_grad()
def initialise_from_text(head: TextConditionedHead) -> None:
    """Give every class its own kernels at the start, whatever the texts look like.

    Text embeddings of different classes are nearly alike, and default weights keep them so: all classes would start
    with almost the same kernel of almost no variance. Here each layer of the text path is scaled and shifted until its
    outputs have zero mean and unit variance across classes; then the controller is solved for, by least squares, so
    that the generated kernels are independent draws of He's distribution with zero biases, and the part that the image
    adds starts small. A head without texts is left alone.

    **Differs from the paper**, which starts from default weights.

    Args:
        head: changed in place. Texts that cannot tell classes apart leave their kernels alike, but finite.
    """
    fusion = head.classes
    if not isinstance(fusion, TextFusion):
        return
    texts = fusion.embedding()
    _standardise(fusion.project[0], texts)
    _standardise(fusion.fuse[0], fusion.project(texts).flatten(1))
    _solve_controller(head, fusion())


def _standardise(layer: nn.Module, inputs: Tensor) -> None:
    """Scale and shift a linear layer: outputs of zero mean and, across classes (the first axis), unit variance."""
    assert isinstance(layer, nn.Linear)
    outputs = layer(inputs).double()
    outputs = outputs.unsqueeze(1) if outputs.dim() == 2 else outputs
    deviation = outputs.var(0, correction=0).mean(0).sqrt()
    scale = torch.where(deviation > _TINY, 1 / deviation.clamp(min=_TINY), 1.0)
    layer.bias.copy_((layer.bias - outputs.mean((0, 1))) * scale)
    layer.weight.mul_(scale.unsqueeze(1))


def _solve_controller(head: TextConditionedHead, vectors: Tensor) -> None:
    """Set the controller so that class vectors (N, E) generate independent He kernels and zero biases."""
    width = head.head_channels
    kernels = torch.randn(len(vectors), sum(kernel_sizes(width)), device=vectors.device, dtype=torch.float64)
    kernels *= (2 / width) ** 0.5
    kernels[:, -sum(kernel_sizes(width)[3:]) :] = 0
    mean = vectors.double().mean(0)
    inverse = torch.linalg.pinv(vectors.double() - mean, rtol=_SMALLEST_DIRECTION)
    solution = (inverse @ kernels).T
    head.controller.weight[:, : head.context_channels] *= _CONTEXT_SCALE
    head.controller.weight[:, head.context_channels :] = solution.to(vectors.dtype)
    head.controller.bias.copy_(kernels.mean(0) - solution @ mean)


def parameter_groups(network: nn.Module, lr: float, controller_factor: float = 0.1) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser, with smaller steps for controllers.

    One step of a controller moves every generated kernel through all its hundreds of inputs at once; at the rate of
    the other layers that is a jump, not a step.

    Args:
        network: any network, with a ``TextConditionedHead`` or without.
        lr: learning rate of everything else.
        controller_factor: the controllers' rate as a fraction of it.

    Returns:
        Groups that together hold every trainable parameter once; only one group where there is no controller.
    """
    heads = [module for module in network.modules() if isinstance(module, TextConditionedHead)]
    controlled = {id(parameter) for head in heads for parameter in head.controller.parameters()}
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [_group((p for p in trainable if id(p) not in controlled), lr)]
    if controlled:
        groups.append(_group((p for p in trainable if id(p) in controlled), lr * controller_factor))
    return groups


def _group(parameters: Iterable[nn.Parameter], lr: float) -> dict[str, Any]:
    return {"params": list(parameters), "lr": lr}
