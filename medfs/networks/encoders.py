"""Encoders of few-shot segmentation: an image in, raw stages out, fine to coarse."""

from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.networks.weights import load_exactly, read_weights
from medfs.types import Features

_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_CLASSIFIERS = ("fc.", "backbone.fc.", "classifier.", "aux_classifier.")
_CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class ResNetEncoder(nn.Module):
    """A residual network that gives its third and fourth stages, with dilation in place of strides where asked.

    With the default dilation the stages lie on a quarter and an eighth of the image's resolution. Parameters have the
    names of torchvision's ResNet, so that its weights and those of its DeepLabv3 load. An image of one channel is
    shown to all three input channels, as published; ImageNet's mean and deviation are not applied.

    Args:
        depth: 18, 50 or 101.
        spatial_dims: 2 for slices; 3 for volumes, with cubic kernels and the same strides along all axes.
        dilate: for the second, third and fourth stage, whether dilation takes the place of the stride. DeepLabv3 has
            ``(False, True, True)``.

    Raises:
        UsageError: another depth or number of axes.

    **Differs from the paper**: the blocks of ResNet-18 dilate too, where torchvision refuses; parameters are the same.

    References:
        He et al., Deep residual learning for image recognition, CVPR 2016; Chen et al., Rethinking atrous convolution
        for semantic image segmentation, 2017.
    """

    def __init__(
        self, depth: int = 101, *, spatial_dims: int = 2, dilate: Sequence[bool] = (True, True, False)
    ) -> None:
        super().__init__()
        if depth not in _BLOCKS or spatial_dims not in _CONVOLUTION:
            raise UsageError(f"a ResNet-{depth} for {spatial_dims} axes; expected depth 18, 50 or 101, 2 or 3 axes")
        self.depth, self.spatial_dims, self.dilate = depth, spatial_dims, tuple(dilate)
        self.conv1 = _CONVOLUTION[spatial_dims](3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = _NORM[spatial_dims](64)
        self.maxpool = _POOL[spatial_dims](3, stride=2, padding=1)
        stages: list[nn.Sequential] = []
        channels, dilation = 64, 1
        for stage, (width, blocks) in enumerate(zip((64, 128, 256, 512), _BLOCKS[depth], strict=True)):
            stride, first = (1 if stage == 0 else 2), dilation
            if stage > 0 and self.dilate[stage - 1]:
                stride, dilation = 1, dilation * 2
            layers: list[_Block] = []
            for index in range(blocks):
                step, rate = (stride, first) if index == 0 else (1, dilation)
                layers.append(_Block(channels, width, step, rate, spatial_dims, bottleneck=depth > 18))
                channels = layers[-1].out_channels
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.out_channels = (channels // 2, channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Features:
        """Give the third and fourth stages of images (B, 1 or 3, *S).

        Raises:
            UsageError: the images have other channels or axes.
        """
        if image.ndim != self.spatial_dims + 2 or image.shape[1] not in (1, 3):
            raise UsageError(
                f"encoder: images of shape {tuple(image.shape)}; expected 1 or 3 channels and {self.spatial_dims} axes"
            )
        image = image.expand(-1, 3, *image.shape[2:])
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


class _Block(nn.Module):
    """A residual block: two 3x3 convolutions, or one between two of 1x1 (bottleneck)."""

    def __init__(
        self, channels: int, width: int, stride: int, dilation: int, spatial_dims: int, *, bottleneck: bool
    ) -> None:
        super().__init__()
        convolution, norm = _CONVOLUTION[spatial_dims], _NORM[spatial_dims]
        self.out_channels = width * (4 if bottleneck else 1)
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        sizes = (channels, *[width] * (len(kernels) - 1), self.out_channels)
        for place, (kernel, step) in enumerate(zip(kernels, strides, strict=True)):
            rate = dilation if kernel > 1 else 1
            padding = rate * (kernel // 2)
            layer = convolution(
                sizes[place], sizes[place + 1], kernel, stride=step, padding=padding, dilation=rate, bias=False
            )
            self.add_module(f"conv{place + 1}", layer)
            self.add_module(f"bn{place + 1}", norm(sizes[place + 1]))
        self.layers = len(kernels)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or channels != self.out_channels:
            shortcut = convolution(channels, self.out_channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, norm(self.out_channels))

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        for place in range(1, self.layers + 1):
            features = self.get_submodule(f"bn{place}")(self.get_submodule(f"conv{place}")(features))
            if place < self.layers:
                features = F.relu(features)
        return F.relu(features + shortcut)
