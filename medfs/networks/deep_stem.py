"""A residual network with three small convolutions at its beginning, cut off behind its third stage."""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.networks.block_features import before_nonlinearity, three_channels
from medfs.networks.encoders import ResNetEncoder
from medfs.types import Features


class DeepStemEncoder(ResNetEncoder):
    """A residual network whose third stage, on an eighth of the resolution, is all that it gives.

    Three convolutions of 3 stand for one of 7. The last nonlinearity is left out, so that features may be negative.
    Parameters have the names of :class:`~medfs.networks.ResNetEncoder`, with ``conv1.0``, ``conv1.1``, ... at the
    beginning and no fourth stage.

    Args:
        depth: 50 or 101.
        spatial_dims: 2 for slices, 3 for volumes.
        dilate: for the second and third stage, whether dilation takes the place of the stride.
        width: channels of the first stage.

    Raises:
        UsageError: another depth or number of axes, or a width below 1.

    References:
        Fan et al., Self-support few-shot semantic segmentation, ECCV 2022; Zhao et al., Pyramid scene parsing network,
        CVPR 2017.
    """

    def __init__(
        self, depth: int = 50, *, spatial_dims: int = 2, dilate: Sequence[bool] = (False, True), width: int = 64
    ) -> None:
        if depth == 18:
            raise UsageError("a deep stem for a ResNet-18; expected depth 50 or 101")
        super().__init__(depth, spatial_dims=spatial_dims, dilate=(*dilate, False), width=width)
        self.dilate = tuple(dilate)
        kind: Callable[..., nn.Module] = type(self.conv1)
        norm: Callable[[int], nn.Module] = type(self.bn1)
        sizes = ((3, width, 2), (width, width, 1), (width, 2 * width, 1))
        first, second, third = (kind(a, b, 3, stride, 1, bias=False) for a, b, stride in sizes)
        narrow, shortcut = kind(2 * width, width, 1, bias=False), kind(2 * width, 4 * width, 1, bias=False)
        for layer in (first, second, third, narrow, shortcut):
            nn.init.kaiming_normal_(layer.get_parameter("weight"), mode="fan_out", nonlinearity="relu")
        self.conv1 = nn.Sequential(first, norm(width), nn.ReLU(), second, norm(width), nn.ReLU(), third)
        self.bn1 = norm(2 * width)
        self.layer1[0].add_module("conv1", narrow)
        self.layer1[0].add_module("downsample", nn.Sequential(shortcut, norm(4 * width)))
        del self.layer4
        self.out_channels = (16 * width,)  # type: ignore[assignment]  # of a single stage

    def forward(self, image: Tensor) -> Features:
        """Give the third stage of images (B, 1 or 3, *S).

        Raises:
            UsageError: the images have other channels or axes.
        """
        image = three_channels(image, self.spatial_dims)
        features = self.layer2(self.layer1(self.maxpool(F.relu(self.bn1(self.conv1(image))))))
        *before, last = self.layer3
        for block in before:
            features = block(features)
        return (before_nonlinearity(last, features),)
