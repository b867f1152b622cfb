"""A decoder of matched features that serves slices and volumes."""

import torch.nn.functional as F
from torch import Tensor, nn

from medfs.networks.reductions import PointwiseConv


class PlaneConv(nn.Conv2d):
    """A convolution of odd kernels over the last two axes; of a volume, in each of its slices.

    Without stride the grid stays.

    Args:
        in_channels: of the features.
        out_channels: of the result.
        kernel: its side.
        stride: along both axes.
        dilation: likewise.
        bias: whether there is one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(in_channels, out_channels, kernel, stride, padding, dilation, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *S) to (B, C', *S')."""
        if features.ndim == 4:
            return super().forward(features)
        step, pad, rate = self.stride[0], self.dilation[0] * (self.kernel_size[0] // 2), self.dilation[0]
        weight = self.weight[:, :, None]
        return F.conv3d(features, weight, self.bias, (1, step, step), (0, pad, pad), (1, rate, rate))


class MatchDecoder(nn.Module):
    """One logit a place: two pointwise layers, a residual pair of 3x3 convolutions and two layers that decide.

    Weights start with the variance of He et al. (2015), so that what is told apart in the features is in the logits.
    PyTorch's default variance leaves a fiftieth of it, and training hardly moves.

    **Differs from the paper**: the release starts from the default.

    Args:
        in_channels: of what was concatenated.
        channels: inside.
        spatial_dims: 2 for 3x3 kernels, which see the slices of a volume one by one; 3 for 3x3x3, volumes alone.
    """

    def __init__(self, in_channels: int, channels: int, *, spatial_dims: int = 2) -> None:
        super().__init__()
        self.merge = nn.Sequential(PointwiseConv(in_channels, channels), nn.ReLU(), nn.Dropout(0.2))
        self.lift = nn.Sequential(PointwiseConv(channels, channels), nn.ReLU())
        first, second, last = (_convolution(channels, spatial_dims) for _ in range(3))
        self.residual = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.decide = nn.Sequential(last, nn.ReLU(), nn.Dropout(0.1), PointwiseConv(channels, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *S) to (B, 1, *S)."""
        lifted = self.lift(self.merge(features))
        return self.decide(lifted + self.residual(lifted))


def _convolution(channels: int, spatial_dims: int) -> nn.Module:
    if spatial_dims == 2:
        return PlaneConv(channels, channels)
    return nn.Conv3d(channels, channels, kernel_size=3, padding=1, bias=False)
