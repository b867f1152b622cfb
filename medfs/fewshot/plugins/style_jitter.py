"""Features in another style: an augmentation of the supports in training."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SMALLEST_VARIANCE = 1e-10
_CONV = {2: F.conv2d, 3: F.conv3d}


class FeatureStyleJitter(nn.Module):
    """In training, gives features the mean and deviation, channel by channel, of a changed copy of themselves.

    The change is drawn anew at each call, one of four for the whole batch: noise is added; everything is amplified and
    cut at 0; what a random 3x3 filter of each channel finds is added; contrast is lowered. Nothing is learned. In
    evaluation nothing happens.

    The draws depend on the seed and on a counter, which is part of the state: global random numbers are neither used
    nor moved, and a resumed training goes on as it would have.

    Args:
        strength: of the change; 0 for none.
        seed: of the draws.

    **Differs from the paper**: its text does not have this, only its release. A channel without contrast has no
    gradient through its deviation, which would be infinite there.

    References:
        CD-TG, Leveraging language to generalize natural images to few-shot medical image segmentation.
    """

    drawn: Tensor

    def __init__(self, strength: float = 0.3, seed: int = 0) -> None:
        super().__init__()
        self.strength, self.seed = strength, seed
        self.register_buffer("drawn", torch.zeros((), dtype=torch.long))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, *S) in another style.

        Args:
            features: (B, C, *S), 2 or 3 spatial axes.
        """
        if not self.training or not self.strength:
            return features
        state = np.random.SeedSequence([self.seed, int(self.drawn)]).generate_state(1, np.uint64)
        self.drawn += 1
        return restyled(features, self._changed(features, torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))))

    def _changed(self, features: Tensor, random: torch.Generator) -> Tensor:
        style = int(torch.randint(4, (), generator=random))
        if style == 0:
            return features + self.strength * torch.randn(features.shape, generator=random).to(features)
        if style == 1:
            return (features * (1 + self.strength)).relu()
        if style == 2:
            return features + self.strength * _filtered(features, random)
        mean = features.flatten(2).mean(dim=2).view(*features.shape[:2], *[1] * (features.ndim - 2))
        return mean + self.strength * (features - mean)


def restyled(features: Tensor, style: Tensor) -> Tensor:
    """Features (B, C, *S) with the mean and deviation that each channel of a style (B, C, *S) has.

    >>> restyled(torch.tensor([[[[0.0, 2.0]]]]), torch.tensor([[[[6.0, 10.0]]]]))
    tensor([[[[ 6., 10.]]]])
    """
    (mean, deviation), (new_mean, new_deviation) = _statistics(features), _statistics(style)
    return (features - mean) / deviation * new_deviation + new_mean


def _statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, (B, C, 1, ...)."""
    variance, mean = torch.var_mean(features.flatten(2).float(), dim=2, correction=0)
    shape = (*features.shape[:2], *[1] * (features.ndim - 2))
    return mean.view(shape), (variance + _SMALLEST_VARIANCE).sqrt().view(shape)


def _filtered(features: Tensor, random: torch.Generator) -> Tensor:
    """Each channel through a random filter of its own, drawn as PyTorch initialises convolutions."""
    axes, channels = features.ndim - 2, features.shape[1]
    bound = 1 / math.sqrt(3**axes)
    kernel = (2 * torch.rand(channels, 1, *[3] * axes, generator=random) - 1) * bound
    return _CONV[axes](features, kernel.to(features), padding=1, groups=channels)
