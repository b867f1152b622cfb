"""A segmentation head whose weights are generated per class from text, per sample from the image."""

from collections.abc import Sequence
from math import gcd

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.networks.dynamic_convolution import apply_kernels, kernel_sizes


def group_norm(channels: int) -> nn.GroupNorm:
    """16 groups as published, fewer where 16 does not divide the channels."""
    return nn.GroupNorm(gcd(16, channels), channels)


class ClassVectors(nn.Module):
    """One stored vector per class: what remains of the text path in a deployed network.

    Args:
        num_classes: number of classes, background included.
        channels: width of a vector.
    """

    vectors: Tensor

    def __init__(self, num_classes: int, channels: int = 256) -> None:
        super().__init__()
        self.out_channels = channels
        self.register_buffer("vectors", torch.zeros(num_classes, channels))

    def forward(self) -> Tensor:
        """The vectors, (N, channels)."""
        return self.vectors


class TextFusion(nn.Module):
    """Learned fusion of frozen text embeddings to one vector per class.

    Every text goes through one shared linear layer with ReLU, the texts of a class are concatenated, and a second
    such layer fuses them.

    Args:
        prior: module that maps names to embeddings (N, T, D), e.g. ``medfs.text.TextPrior``.
        names: the classes in label order, background first.
        hidden_channels: width after the first layer.
        out_channels: width of a class vector.

    Raises:
        UsageError: if the prior does not give at least one text for every name.

    References:
        Gu et al. 2025, *Leveraging Textual Anatomical Knowledge for Class-Imbalanced Semi-Supervised Multi-Organ
        Segmentation*.
    """

    def __init__(
        self, prior: nn.Module, names: Sequence[str], *, hidden_channels: int = 256, out_channels: int = 256
    ) -> None:
        super().__init__()
        self.prior = prior
        self.names = tuple(names)
        self.out_channels = out_channels
        shape = tuple(self.embedding().shape)
        if len(shape) != 3 or shape[0] != len(self.names) or 0 in shape:
            raise UsageError(f"text prior gives {shape}; expected ({len(self.names)}, texts per class, width)")
        self.text_channels = shape[2]
        self.project = nn.Sequential(nn.Linear(shape[2], hidden_channels), nn.ReLU())
        self.fuse = nn.Sequential(nn.Linear(shape[1] * hidden_channels, out_channels), nn.ReLU())

    def embedding(self) -> Tensor:
        """The text embeddings of the classes, (N, T, D)."""
        return self.prior(self.names)

    def forward(self) -> Tensor:
        """One vector per class, (N, out_channels)."""
        return self.fuse(self.project(self.embedding()).flatten(1))


class GlobalContext(nn.Module):
    """One vector per image: mean over stages of group normalisation, ReLU, global average and a linear layer.

    Args:
        in_channels: channels of the stages to pool.
        out_channels: width of the vector.
        spatial_dims: 2 or 3.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int = 256, *, spatial_dims: int = 3) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, spatial_dims]
        self.norms = nn.ModuleList(group_norm(channels) for channels in in_channels)
        self.projections = nn.ModuleList(convolution(channels, out_channels, 1) for channels in in_channels)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Vector (B, out_channels) of the stages (B, C_i, *S_i)."""
        vectors = []
        for stage, norm, projection in zip(stages, self.norms, self.projections, strict=True):
            axes = tuple(range(2, stage.dim()))
            vectors.append(projection(torch.relu(norm(stage)).mean(axes, keepdim=True)).flatten(1))
        return torch.stack(vectors).mean(0)


class TextConditionedHead(nn.Module):
    """Three 1-wide convolutions per class, their weights generated from a class vector and the image's context.

    Class vectors and context are concatenated; a linear controller turns every pair into the kernels and biases of
    ``in -> h -> h -> 1`` with ``h = head_channels``. Every sample has its own kernels.

    Args:
        classes: module without arguments that returns the class vectors (N, E), its width in ``out_channels``:
            ``TextFusion`` in training, ``ClassVectors`` when deployed.
        in_channels: channels of the decoded features.
        context_channels: width of the image's context.
        head_channels: channels of the features that the generated kernels see and produce.
        spatial_dims: 2 or 3.

    References:
        Zhang et al. 2021, *DoDNet*; Liu et al. 2023, *CLIP-Driven Universal Model*; Gu et al. 2025 (``TextFusion``).
    """

    def __init__(
        self,
        classes: nn.Module,
        in_channels: int = 16,
        context_channels: int = 256,
        *,
        head_channels: int = 8,
        spatial_dims: int = 3,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.context_channels = context_channels
        self.head_channels = head_channels
        width = context_channels + int(classes.out_channels)  # type: ignore[arg-type]
        self.controller = nn.Linear(width, sum(kernel_sizes(head_channels)))
        self.reduce = nn.Sequential(
            group_norm(in_channels), nn.ReLU(), Conv[Conv.CONV, spatial_dims](in_channels, head_channels, 1)
        )

    def kernels(self, context: Tensor) -> Tensor:
        """Generated parameters (B, N, P) of every sample and class, in the order of ``kernel_sizes``."""
        vectors = self.classes()
        batch, number = context.shape[0], vectors.shape[0]
        pair = torch.cat(
            [
                context[:, None].expand(batch, number, context.shape[1]),
                vectors[None].expand(batch, number, vectors.shape[1]),
            ],
            dim=2,
        )
        return self.controller(pair)

    def forward(self, decoded: Tensor, context: Tensor) -> Tensor:
        """Logits of every class.

        Args:
            decoded: features (B, C, *S).
            context: vector per image (B, G).

        Returns:
            Logits (B, N, *S), mutually exclusive classes: to be used with softmax.
        """
        return apply_kernels(self.reduce(decoded), self.kernels(context))
