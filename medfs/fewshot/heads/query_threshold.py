"""What Q-Net and DMAP share: two levels of features, and a threshold that the query itself gives."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.fewshot.heads.base import EpisodeHead
from medfs.networks.functional import Pool, foreground_of_shots, resize, threshold_decision
from medfs.networks.reductions import ImageScalars, PointwiseConv
from medfs.types import Features

_DECISION = 0  # the scalar of an image that is its threshold


class QueryThresholdHead(EpisodeHead):
    """The query is foreground where its scaled cosine with a prototype exceeds a linear function of its mean feature.

    Args:
        in_channels: of the encoder's stages, fine and coarse.
        channels: after the reduction of each stage.
        level_weights: of the probabilities of both levels; a level of weight 0 is not computed.
        pool: see :func:`medfs.networks.functional.foreground_of_shots`.
        hidden: width of the layer before the scalars.
        scalars: of an image, the threshold first.

    Raises:
        UsageError: an unknown pool, not two levels, or no level with a weight.
    """

    align_corners = True

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        *,
        level_weights: Sequence[float],
        pool: Pool,
        hidden: int,
        scalars: int = 1,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if pool not in ("image", "feature"):
            raise UsageError(f"{name}: pool {pool!r}; expected image or feature")
        if len(in_channels) != 2 or len(level_weights) != 2 or not any(level_weights):
            raise UsageError(
                f"{name}: stages {in_channels}, weights {level_weights}; expected two each, not both weights 0"
            )
        self.in_channels, self.channels, self.hidden = tuple(in_channels), channels, hidden
        self.level_weights, self.pool = tuple(level_weights), pool
        self.levels = [level for level, weight in enumerate(level_weights) if weight]
        self.reduce = nn.ModuleList(PointwiseConv(width, channels) for width in in_channels)
        self.thresholds = ImageScalars(in_channels[-1], scalars=scalars, hidden=hidden)

    @property
    def prototype_channels(self) -> tuple[int, ...]:
        """Those after the reduction, for each level in use."""
        return (self.channels,) * len(self.levels)

    def prototype_features(self, support: Features) -> Features:
        """The reduced levels in use."""
        stages = ((level, support[level]) for level in self.levels)
        return tuple(self.reduce[level](each.flatten(0, 1)).unflatten(0, each.shape[:2]) for level, each in stages)

    def threshold(self, features: Features) -> Tensor:
        """The decision threshold (B, 1) of images with these features (B, C, *S)."""
        return self.thresholds(features[-1], _DECISION)

    def foreground(self, support: Features, mask: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Reduced features (B, K, C, n) of a level and which of them are foreground (B, K, n)."""
        features = self.reduce[level](support[level].flatten(0, 1))
        return foreground_of_shots(features, mask, self.pool, align_corners=self.align_corners)

    def decide(self, query: Features, prototypes: Iterable[Tensor], threshold: Tensor, size: Sequence[int]) -> Tensor:
        """Probability of foreground (B, *size), the weighted sum of what each level in use gives.

        Args:
            query: (B, C, *S) at each level.
            prototypes: (B, 1, C) for each level in use.
            threshold: (B, 1).
            size: of the result.
        """
        total = torch.zeros((), device=threshold.device)
        for level, prototype in zip(self.levels, prototypes, strict=True):
            probability = threshold_decision(self.reduce[level](query[level]), prototype, threshold)
            total = total + self.level_weights[level] * resize(probability, size)[:, 0]
        return total
