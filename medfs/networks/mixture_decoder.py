"""The decoder of prototype mixtures: a residual block that reads a map, two more, and pyramid pooling."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfs.networks.match_decoder import PlaneConv
from medfs.networks.reductions import PointwiseConv

_RATES = (6, 12, 18)
_RESIDUALS = 2  # behind the one that reads the map


class PlaceNorm(nn.BatchNorm1d):
    """Batch normalisation over any number of spatial axes."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *S) to the same."""
        return super().forward(features.flatten(2)).unflatten(2, features.shape[2:])


class MixtureDecoder(nn.Module):
    """Two logits a place from matched features and a map of both classes' probabilities.

    Volumes are seen slice by slice, but for the mean of the pyramid, which is that of the volume.

    Args:
        channels: of the features and inside.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.read_map = _double(channels + 2, channels)
        self.residuals = nn.ModuleList(_double(channels, channels) for _ in range(_RESIDUALS))
        self.of_all, self.of_place = PointwiseConv(channels, channels), PointwiseConv(channels, channels)
        self.around = nn.ModuleList(PlaneConv(channels, channels, dilation=rate, bias=True) for rate in _RATES)
        self.merge = PointwiseConv(channels * (2 + len(_RATES)), channels)
        self.decide = PointwiseConv(channels, 2)

    def forward(self, features: Tensor, probability: Tensor) -> Tensor:
        """(B, C, *S) and (B, 2, *S) to (B, 2, *S)."""
        features = F.relu(features + self.read_map(torch.cat([features, probability.to(features.dtype)], dim=1)))
        for residual in self.residuals:
            features = F.relu(features + residual(features))
        axes = tuple(range(2, features.ndim))
        overall = self.of_all(features.mean(dim=axes, keepdim=True)).expand_as(features)
        seen = [overall, self.of_place(features), *(layer(features) for layer in self.around)]
        return self.decide(F.relu(self.merge(F.relu(torch.cat(seen, dim=1)))))


def _double(in_channels: int, channels: int) -> nn.Sequential:
    first, second = PlaneConv(in_channels, channels, bias=True), PlaneConv(channels, channels, bias=True)
    return nn.Sequential(first, nn.ReLU(), second)
