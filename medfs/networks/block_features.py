"""Residual networks that give other features: those of every block, or earlier stages."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.networks.encoders import ResNetEncoder
from medfs.types import Features


class ResNetBlocksEncoder(ResNetEncoder):
    """A residual network that gives what each block of its second, third and fourth stage adds up, fine to coarse.

    The maps are those before the last nonlinearity of a block. Of a ResNet-50 there are 4, 6 and 3, on an eighth, a
    sixteenth and a thirty-second of the resolution. Parameters are those of
    :class:`~medfs.networks.ResNetEncoder`.

    Args:
        depth: 18, 50 or 101.
        spatial_dims: 2 for slices, 3 for volumes.
        dilate: for the second, third and fourth stage, whether dilation takes the place of the stride.
        width: channels of the first stage.
        spacing_mm: of the images; see :class:`~medfs.networks.ResNetEncoder`.

    Raises:
        UsageError: another depth or number of axes, or a width or spacing that does not fit.

    References:
        Min et al., Hypercorrelation squeeze for few-shot segmentation, ICCV 2021.
    """

    def __init__(
        self,
        depth: int = 50,
        *,
        spatial_dims: int = 2,
        dilate: Sequence[bool] = (False, False, False),
        width: int = 64,
        spacing_mm: Sequence[float] | None = None,
    ) -> None:
        super().__init__(depth, spatial_dims=spatial_dims, dilate=dilate, width=width, spacing_mm=spacing_mm)
        self.out_channels = tuple(
            width * 2**place * (4 if depth > 18 else 1)
            for place, stage in enumerate((self.layer2, self.layer3, self.layer4), start=1)
            for _ in stage
        )

    def forward(self, image: Tensor) -> Features:
        """Give the map of each block of images (B, 1 or 3, *S).

        Raises:
            UsageError: the images have other channels or axes.
        """
        stem = F.relu(self.bn1(self.conv1(three_channels(image, self.spatial_dims))))
        features, maps = self.layer1(self.maxpool(stem)), []
        for stage in (self.layer2, self.layer3, self.layer4):
            for block in stage:
                maps.append(before_nonlinearity(block, features))
                features = F.relu(maps[-1])
        return tuple(maps)


class ResNetStagesEncoder(ResNetEncoder):
    """A residual network up to its third stage that gives the second and the third, for PMMs.

    With the defaults both lie on an eighth of the resolution. Parameters are those of
    :class:`~medfs.networks.ResNetEncoder` without the fourth stage.

    Args:
        depth: 18, 50 or 101.
        spatial_dims: 2 for slices, 3 for volumes.
        dilate: for the second and third stage, whether dilation takes the place of the stride.
        width: channels of the first stage.

    Raises:
        UsageError: another depth or number of axes, or a width below 1.

    References:
        Yang et al., Prototype mixture models for few-shot semantic segmentation, ECCV 2020.
    """

    def __init__(
        self, depth: int = 50, *, spatial_dims: int = 2, dilate: Sequence[bool] = (False, True), width: int = 64
    ) -> None:
        super().__init__(depth, spatial_dims=spatial_dims, dilate=(*dilate, False), width=width)
        self.dilate = tuple(dilate)
        del self.layer4
        _, last = self.out_channels
        self.out_channels = (last // 4, last // 2)

    def forward(self, image: Tensor) -> Features:
        """Give the second and third stages of images (B, 1 or 3, *S).

        Raises:
            UsageError: the images have other channels or axes.
        """
        stem = F.relu(self.bn1(self.conv1(three_channels(image, self.spatial_dims))))
        second = self.layer2(self.layer1(self.maxpool(stem)))
        return second, self.layer3(second)


def three_channels(image: Tensor, spatial_dims: int) -> Tensor:
    """Images (B, 1 or 3, *S) as (B, 3, *S).

    Raises:
        UsageError: they have other channels or axes.
    """
    if image.ndim != spatial_dims + 2 or image.shape[1] not in (1, 3):
        raise UsageError(
            f"encoder: images of shape {tuple(image.shape)}; expected 1 or 3 channels and {spatial_dims} axes"
        )
    return image.expand(-1, 3, *image.shape[2:])


def before_nonlinearity(block: nn.Module, features: Tensor) -> Tensor:
    """The sum of a residual block of :class:`ResNetEncoder` and its shortcut."""
    layers, inner = dict(block.named_children()), features
    convolutions = sum(name.startswith("conv") for name in layers)
    for place in range(1, convolutions + 1):
        inner = layers[f"bn{place}"](layers[f"conv{place}"](inner))
        if place < convolutions:
            inner = F.relu(inner)
    return inner + (layers["downsample"](features) if "downsample" in layers else features)
