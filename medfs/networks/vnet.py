"""The V-Net backbone of MagicNet and TAK: plain convolutions, instance normalisation, additive skips."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medfs.errors import UsageError

Stages = tuple[Tensor, ...]


def _convolutions(dims: int, count: int, in_channels: int, channels: int) -> nn.Sequential:
    """``count`` times 3-wide convolution, instance normalisation, ReLU."""
    layers: list[nn.Module] = []
    for index in range(count):
        layers.append(Conv[Conv.CONV, dims](channels if index else in_channels, channels, 3, padding=1))
        layers += [Norm[Norm.INSTANCE, dims](channels), nn.ReLU()]
    return nn.Sequential(*layers)


def _resampling(kind: str, dims: int, in_channels: int, channels: int) -> nn.Sequential:
    """A convolution (``Conv.CONV``) or its transpose that halves or doubles every axis."""
    return nn.Sequential(Conv[kind, dims](in_channels, channels, 2, 2), Norm[Norm.INSTANCE, dims](channels), nn.ReLU())


class VNet(nn.Module):
    """Encoder and decoder without an output layer, in 2D or 3D.

    Stage ``i`` works at stride ``2**i`` with ``filters * 2**i`` channels and holds 1, 2, 3, 3, 3 convolutions. The
    decoder mirrors it; skips are added. Normalisation has neither affine parameters nor running statistics, so that
    training and evaluation compute the same, and one sample never influences another.

    Args:
        in_channels: channels of the image.
        spatial_dims: 2 or 3.
        filters: channels of the first stage.
        levels: number of stages, at least 2; every axis of a patch must be a multiple of ``2**(levels-1)`` and
            hold two voxels in the deepest stage.
        gradient_checkpointing: in training keep only what leaves each stage and compute the rest again in the backward
            pass: the same gradients, less memory, more time.

    Raises:
        UsageError: for other ``spatial_dims`` or ``levels``.

    Example:
        >>> stages, decoded = VNet(spatial_dims=2, filters=4, levels=3)(torch.zeros(1, 1, 16, 8))
        >>> [tuple(stage.shape) for stage in stages], tuple(decoded.shape)
        ([(1, 4, 16, 8), (1, 8, 8, 4), (1, 16, 4, 2)], (1, 4, 16, 8))

    References:
        Chen et al. 2023, *MagicNet: Semi-Supervised Multi-Organ Segmentation via Magic-Cube Partition and Recovery*.
    """

    def __init__(
        self,
        in_channels: int = 1,
        *,
        spatial_dims: int = 3,
        filters: int = 16,
        levels: int = 5,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3) or levels < 2:
            raise UsageError(f"V-Net: {spatial_dims=}, {levels=}; expected 2 or 3 axes and at least 2 levels")
        self.spatial_dims, self.gradient_checkpointing = spatial_dims, gradient_checkpointing
        self.channels = tuple(filters * 2**level for level in range(levels))
        counts = [min(level + 1, 3) for level in range(levels)]
        pairs = list(zip(self.channels[:-1], self.channels[1:], strict=True))
        self.encoder = nn.ModuleList(
            _convolutions(spatial_dims, count, channels if level else in_channels, channels)
            for level, (count, channels) in enumerate(zip(counts, self.channels, strict=True))
        )
        self.down = nn.ModuleList(_resampling(Conv.CONV, spatial_dims, fine, coarse) for fine, coarse in pairs)
        self.up = nn.ModuleList(_resampling(Conv.CONVTRANS, spatial_dims, coarse, fine) for fine, coarse in pairs)
        self.decoder = nn.ModuleList(
            _convolutions(spatial_dims, count, fine, fine) for count, (fine, _) in zip(counts, pairs, strict=False)
        )

    def encode(self, image: Tensor) -> Stages:
        """Features of every stage, fine to coarse.

        Args:
            image: (B, C, *S).

        Returns:
            One (B, C_i, *S / 2**i) per level.

        Raises:
            UsageError: where the patch does not fit the depth of the network.
        """
        if not torch.jit.is_tracing():
            self._check(image.shape[2:])
        stages = [self._stage(self.encoder[0], image)]
        for down, convolutions in zip(self.down, list(self.encoder)[1:], strict=True):
            stages.append(self._stage(nn.Sequential(down, convolutions), stages[-1]))
        return tuple(stages)

    def decode(self, stages: Sequence[Tensor]) -> Tensor:
        """Features at full resolution, (B, filters, *S), from those of ``encode``."""
        for decoded in self.decoded(stages):  # noqa: B007
            pass
        return decoded

    def decoded(self, stages: Sequence[Tensor]) -> Iterator[Tensor]:
        """Features (B, C_i, *S / 2**i) of the decoder's levels, coarse to fine; the last are those of ``decode``."""
        decoded = stages[-1]
        for level in reversed(range(len(self.up))):
            decoded = self._stage(partial(self._joined, level), decoded, stages[level])
            yield decoded

    def forward(self, image: Tensor) -> tuple[Stages, Tensor]:
        """Stages and decoded features of an image (B, C, *S)."""
        stages = self.encode(image)
        return stages, self.decode(stages)

    def _joined(self, level: int, coarse: Tensor, skip: Tensor) -> Tensor:
        joined: Tensor = self.decoder[level](self.up[level](coarse) + skip)
        return joined

    def _stage(self, layers: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            recomputed: Tensor = checkpoint(layers, *inputs, use_reentrant=False, preserve_rng_state=False)
            return recomputed
        return layers(*inputs)

    def _check(self, size: Sequence[int]) -> None:
        stride = 2 ** len(self.down)
        if len(size) != self.spatial_dims or any(axis % stride or axis < 2 * stride for axis in size):
            raise UsageError(
                f"V-Net: patch of {tuple(size)} voxels; {len(self.channels)} levels need {self.spatial_dims} axes, "
                f"each a multiple of {stride} and at least {2 * stride}"
            )


class PlainVNet(nn.Module):
    """The same backbone with an ordinary 1-wide output convolution: the control without text.

    Args:
        num_classes: channels of the output, background included.
        in_channels: channels of the image.
        spatial_dims: 2 or 3.
        filters: channels of the first stage.
        levels: number of stages.
        gradient_checkpointing: as in `VNet`.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1,
        *,
        spatial_dims: int = 3,
        filters: int = 16,
        levels: int = 5,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = VNet(
            in_channels,
            spatial_dims=spatial_dims,
            filters=filters,
            levels=levels,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.num_classes = num_classes
        self.output = Conv[Conv.CONV, spatial_dims](filters, num_classes, 1)

    def encode(self, image: Tensor) -> Stages:
        """Features of every stage, fine to coarse."""
        return self.backbone.encode(image)

    def decode(self, stages: Sequence[Tensor]) -> Tensor:
        """Features at full resolution, (B, filters, *S)."""
        return self.backbone.decode(stages)

    def predict(self, stages: Sequence[Tensor], decoded: Tensor) -> Tensor:
        """Logits (B, N, *S); the stages play no part here, they keep the interface of ``TextVNet``."""
        return self.output(decoded)

    def deploy(self) -> "PlainVNet":
        """A copy for inference, as of ``TextVNet``."""
        return deepcopy(self).eval()

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, N, *S) of an image (B, C, *S)."""
        stages = self.encode(image)
        return self.predict(stages, self.decode(stages))
