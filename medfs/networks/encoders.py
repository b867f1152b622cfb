"""Encoders of few-shot segmentation: an image in, raw stages out, fine to coarse."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.networks.weights import load_exactly, read_weights
from medfs.types import Features

_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_CLASSIFIERS = ("fc.", "backbone.fc.", "classifier.", "aux_classifier.")
_CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[str, dict[int, Callable[[int], nn.Module]]] = {
    "batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
    "instance": {2: partial(nn.InstanceNorm2d, affine=True), 3: partial(nn.InstanceNorm3d, affine=True)},
}
_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_COARSE = 3.0  # times the finest spacing


class ResNetEncoder(nn.Module):
    """A residual network that gives its third and fourth stages, with dilation in place of strides where asked.

    With the defaults the stages lie on a quarter and an eighth of the image's resolution. Parameters have the names of
    torchvision's ResNet, so that its weights and those of its DeepLabv3 load. An image of one channel is shown to all
    three input channels, as published; ImageNet's mean and deviation are not applied.

    With ``spacing_mm``, an axis takes part in a step, a stride or the dilation in its place, only while its spacing is
    less than three times the finest, each step taken doubling it; until then, kernels are flat along it.

    Args:
        depth: 18, 50 or 101.
        spatial_dims: 2 for slices, 3 for volumes.
        dilate: for the second, third and fourth stage, whether dilation takes the place of the stride. DeepLabv3 has
            ``(False, True, True)``.
        width: channels of the first stage; each further stage has twice as many. Published is 64.
        spacing_mm: of the images, along slices, rows and columns or along rows and columns; None takes all axes as
            equally fine.
        stem: strides of the first convolution and of the pooling behind it, published 2 and 2; small volumes need
            ``(2, 1)`` or ``(1, 1)``.
        norm: ``"batch"``, published; ``"instance"`` takes every image by itself, in training and afterwards alike,
            which suits short trainings on few volumes.
        positions: whether the network also sees where a place is, see :func:`relative_positions`.

    Raises:
        UsageError: another depth or number of axes, a width below 1, a spacing that does not fit, or other strides.

    **Differs from the paper**: the blocks of ResNet-18 dilate too, where torchvision refuses; parameters are the same.
    Volumes are ours, and with them ``width``, ``spacing_mm``, ``stem``, ``norm`` and ``positions``.

    References:
        He et al., Deep residual learning for image recognition, CVPR 2016; Chen et al., Rethinking atrous convolution
        for semantic image segmentation, 2017.
    """

    def __init__(
        self,
        depth: int = 101,
        *,
        spatial_dims: int = 2,
        dilate: Sequence[bool] = (True, True, False),
        width: int = 64,
        spacing_mm: Sequence[float] | None = None,
        stem: Sequence[int] = (2, 2),
        norm: Literal["batch", "instance"] = "batch",
        positions: bool = False,
    ) -> None:
        super().__init__()
        if depth not in _BLOCKS or spatial_dims not in _CONVOLUTION:
            raise UsageError(f"a ResNet-{depth} for {spatial_dims} axes; expected depth 18, 50 or 101, 2 or 3 axes")
        if width < 1 or len(stem) != 2 or not {*stem} <= {1, 2} or norm not in _NORM:
            raise UsageError(
                f"encoder: width {width}, stem {tuple(stem)}, norm {norm!r}; expected a width above 0, two strides of "
                "1 or 2, batch or instance"
            )
        self.depth, self.spatial_dims, self.dilate = depth, spatial_dims, tuple(dilate)
        self.width, self.stem, self.norm, self.positions = width, tuple(stem), norm, positions
        norms = _NORM[norm][spatial_dims]
        self.spacing_mm = None if spacing_mm is None else tuple(map(float, spacing_mm))
        steps = _Steps((1.0,) * spatial_dims if self.spacing_mm is None else self.spacing_mm, spatial_dims)
        first, pool = (steps.next(stride) for stride in stem)
        self.conv1 = first.convolution(3 + positions * spatial_dims, width, 7)
        self.bn1 = norms(width)
        self.maxpool = pool.pooling(3)
        stages: list[nn.Sequential] = []
        channels = width
        for stage, blocks in enumerate(_BLOCKS[depth]):
            opening, following = steps.stage(1 if stage == 0 else 2, dilate=stage > 0 and self.dilate[stage - 1])
            layers: list[_Block] = []
            for index in range(blocks):
                grid = opening if index == 0 else following
                layers.append(_Block(channels, width * 2**stage, grid, norms, bottleneck=depth > 18))
                channels = layers[-1].out_channels
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.out_channels = (channels // 2, channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Features:
        """Give the third and fourth stages of images (B, 1 or 3, *S).

        A network with positions also takes images (B, 1 + axes, *S) that bring them, as crops and windows of a larger
        volume should; without, they are those within the image.

        Raises:
            UsageError: the images have other channels or axes.
        """
        channels, axes = image.shape[1], self.spatial_dims
        brought = self.positions and channels == 1 + axes and image.ndim == axes + 2
        if image.ndim != axes + 2 or (channels not in (1, 3) and not brought):
            raise UsageError(f"encoder: images of shape {tuple(image.shape)}; expected 1 or 3 channels and {axes} axes")
        places = image[:, 1:] if brought else None
        image = (image[:, :1] if brought else image).expand(-1, 3, *image.shape[2:])
        if self.positions:
            if places is None:
                places = relative_positions(image.shape[2:]).to(image).expand(len(image), -1, *image.shape[2:])
            image = torch.cat([image, places], dim=1)
        stage = self.maxpool(F.relu(self.bn1(self.conv1(image))))
        fine = self.layer3(self.layer2(self.layer1(stage)))
        return fine, self.layer4(fine)

    def load_file(self, path: str | Path) -> tuple[str, ...]:
        """Load weights of torchvision, of its DeepLabv3 (``backbone.*``) or of a file of this class.

        Returns:
            The names that the file has beyond the encoder: classifiers.

        Raises:
            InputError: the file cannot be read, or a name is missing or belongs to no ResNet of this depth; nothing is
                loaded.
        """
        weights = read_weights(path)
        prefix = "backbone." if any(name.startswith("backbone.") for name in weights) else ""
        extra = tuple(name for name in weights if name.startswith(_CLASSIFIERS))
        wanted = {name: value for name, value in weights.items() if name not in extra}
        load_exactly(self, wanted, str(path), lambda name: prefix + name)
        return extra


def relative_positions(size: Sequence[int]) -> Tensor:
    """Where each voxel of a field of view lies along each axis, (axes, *S), from -1 to 1 between its outer borders.

    No truth is needed for it, but it tells something only where scans show about the same part of the body.

    >>> relative_positions((2, 4))[1, 0].tolist()
    [-0.75, -0.25, 0.25, 0.75]
    """
    along = [(2 * torch.arange(length) + 1) / length - 1 for length in size]
    return torch.stack(torch.meshgrid(*along, indexing="ij"))


@dataclass(frozen=True, slots=True)
class _Grid:
    """How a layer moves along each axis: its stride, its dilation, and whether its kernel is flat."""

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    flat: tuple[bool, ...]

    def convolution(self, channels: int, width: int, kernel: int) -> nn.Module:
        """A convolution of odd kernels without bias; a kernel of one voxel has nothing to dilate."""
        size = tuple(1 if flat else kernel for flat in self.flat)
        rate = tuple(rate if n > 1 else 1 for rate, n in zip(self.dilation, size, strict=True))
        padding = tuple(r * (n // 2) for r, n in zip(rate, size, strict=True))
        layer: Any = _CONVOLUTION[len(size)]
        return layer(channels, width, size, stride=self.stride, padding=padding, dilation=rate, bias=False)

    def pooling(self, kernel: int) -> nn.Module:
        """The maximum under odd kernels."""
        size = tuple(1 if flat else kernel for flat in self.flat)
        return _POOL[len(size)](size, stride=self.stride, padding=tuple(n // 2 for n in size))

    def still(self) -> "_Grid":
        """The same without strides."""
        return replace(self, stride=(1,) * len(self.stride))


class _Steps:
    """The steps of a network, one after another: which axes take part in each.

    Args:
        spacing_mm: of the images.
        spatial_dims: how many axes there are.
    """

    def __init__(self, spacing_mm: Sequence[float], spatial_dims: int) -> None:
        if len(spacing_mm) != spatial_dims or not all(0 < value < math.inf for value in spacing_mm):
            raise UsageError(f"encoder: spacing {tuple(spacing_mm)} mm; expected {spatial_dims} numbers above 0")
        self.spacing_mm, self.dilation = list(spacing_mm), (1,) * spatial_dims

    def next(self, stride: int) -> _Grid:
        """A layer of this stride."""
        coarse = tuple(value >= _COARSE * min(self.spacing_mm) for value in self.spacing_mm)
        if stride > 1:
            self.spacing_mm = [v if flat else v * stride for v, flat in zip(self.spacing_mm, coarse, strict=True)]
        return _Grid(tuple(1 if flat else stride for flat in coarse), self.dilation, coarse)

    def stage(self, stride: int, *, dilate: bool) -> tuple[_Grid, _Grid]:
        """The strided layer and the others of a stage; dilation, if it takes the stride's place, begins behind it."""
        opening = self.next(stride)
        if not dilate:
            return opening, opening.still()
        self.dilation = tuple(rate * step for rate, step in zip(self.dilation, opening.stride, strict=True))
        return opening.still(), replace(opening.still(), dilation=self.dilation)


class _Block(nn.Module):
    """A residual block: two 3x3 convolutions, or one between two of 1x1 (bottleneck)."""

    def __init__(
        self, channels: int, width: int, grid: _Grid, norms: Callable[[int], nn.Module], *, bottleneck: bool
    ) -> None:
        super().__init__()
        self.out_channels = width * (4 if bottleneck else 1)
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        strided = 1 if bottleneck else 0
        sizes = (channels, *[width] * (len(kernels) - 1), self.out_channels)
        for place, kernel in enumerate(kernels):
            moves = grid if place == strided else grid.still()
            self.add_module(f"conv{place + 1}", moves.convolution(sizes[place], sizes[place + 1], kernel))
            self.add_module(f"bn{place + 1}", norms(sizes[place + 1]))
        self.layers = len(kernels)
        self.downsample: nn.Sequential | None = None
        if max(grid.stride) > 1 or channels != self.out_channels:
            shortcut = grid.convolution(channels, self.out_channels, 1)
            self.downsample = nn.Sequential(shortcut, norms(self.out_channels))

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        for place in range(1, self.layers + 1):
            features = self.get_submodule(f"bn{place}")(self.get_submodule(f"conv{place}")(features))
            if place < self.layers:
                features = F.relu(features)
        return F.relu(features + shortcut)
