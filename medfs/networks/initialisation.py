"""A start and a pace for the text-conditioned head with which it learns at least as fast as an output convolution."""

from typing import Any

import torch
from torch import Tensor, nn

from medfs.networks.dynamic_convolution import kernel_sizes
from medfs.networks.text_head import GlobalContext, TextConditionedHead, TextFusion

_TINY = 1e-12
_SMALLEST_DIRECTION = 1e-2  # of the largest difference between classes: what lies below is no difference
_CLASS_DEVIATION = 0.05  # of the hidden kernels around the identity, between classes
_OUTPUT_DEVIATION = 0.2  # of the last kernels, as an output convolution of 8 channels starts
_LINEAR_RANGE = 2.0  # features above its negative pass both ReLUs unchanged: none of them starts or soon becomes dead
_CONTEXT_SCALE = 0.1


@torch.no_grad()
def initialise_from_text(head: TextConditionedHead) -> None:
    """Start the head as an ordinary small network, whatever the texts look like.

    Text embeddings of different classes are nearly parallel, and default weights keep them so. Here each layer of the
    text path is scaled and shifted until its outputs have zero mean and unit variance across classes. Then the
    controller is solved for, by least squares, so that the generated kernels are given draws: hidden kernels near the
    identity, with biases that keep the features in the linear range of both ReLUs, and independent output kernels.
    The head so starts nearly as an ordinary output convolution. With He's variance instead, hidden units that all
    classes share die in the first steps, and two organs that look alike can stay one for hundreds of steps.

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
    """Set the controller so that class vectors (N, E) generate the drawn kernels."""
    kernels = _draw_kernels(len(vectors), head.head_channels).to(vectors.device)
    mean = vectors.double().mean(0)
    inverse = torch.linalg.pinv(vectors.double() - mean, rtol=_SMALLEST_DIRECTION)
    solution = (inverse @ kernels).T
    head.controller.weight[:, : head.context_channels] *= _CONTEXT_SCALE
    head.controller.weight[:, head.context_channels :] = solution.to(vectors.dtype)
    head.controller.bias.copy_(kernels.mean(0) - solution @ mean)


def _draw_kernels(number: int, channels: int) -> Tensor:
    """Kernels and biases (N, P) of every class at the start, float64."""
    w1, w2, w3, *_ = kernel_sizes(channels)
    own = torch.randn(number, w1 + w2, dtype=torch.float64)
    hidden = torch.eye(channels, dtype=torch.float64).flatten().repeat(2) + _CLASS_DEVIATION * own
    output = _OUTPUT_DEVIATION * torch.randn(number, w3, dtype=torch.float64)
    shift = torch.tensor([_LINEAR_RANGE, 0.0], dtype=torch.float64).repeat_interleave(channels).expand(number, -1)
    return torch.cat([hidden, output, shift, -_LINEAR_RANGE * output.sum(1, keepdim=True)], dim=1)


def parameter_groups(
    network: nn.Module, lr: float, generator_factor: float = 0.03, source_factor: float = 0.1
) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser, with smaller steps for what generates kernels.

    One step of the controller moves every generated kernel through hundreds of inputs at once, and one step of the
    text path or of the image's context moves all those inputs: at the rate of the other layers that is a jump, after
    which the classes are alike again. Vectors that are learned in the place of texts keep the rate of the other layers:
    at that of the text path they would stay what they were drawn as.

    Args:
        network: any network, with a ``TextConditionedHead`` or without.
        lr: learning rate of everything else.
        generator_factor: the controller's rate as a fraction of it.
        source_factor: the rate of text path and context as a fraction of the controller's.

    Returns:
        Groups that together hold every trainable parameter once; only one group where nothing is generated.
    """
    controllers: list[nn.Module] = []
    sources: list[nn.Module] = []
    learned: list[nn.Module] = []
    for module in network.modules():
        if isinstance(module, TextConditionedHead):
            controllers.append(module.controller)
            sources.append(module.classes)
            if isinstance(module.classes, TextFusion):
                learned.append(module.classes.prior)
        elif isinstance(module, GlobalContext):
            sources.append(module)
    rates = {id(p): lr for p in network.parameters()}
    rates |= {id(p): lr * generator_factor for module in controllers for p in module.parameters()}
    rates |= {id(p): lr * generator_factor * source_factor for module in sources for p in module.parameters()}
    rates |= {id(p): lr for module in learned for p in module.parameters()}
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if rates[id(p)] == rate], "lr": rate}
        for rate in dict.fromkeys(rates[id(p)] for p in trainable)
    ]
