"""ADNet: one foreground prototype and one learned threshold; what is unlike the prototype is an anomaly."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.fewshot.heads.base import EpisodeHead
from medfs.networks.functional import Pool, foreground_of_shots, mean_of_shots, resize, threshold_decision
from medfs.networks.reductions import PointwiseConv
from medfs.types import Features, Prediction, Prototypes

_LOWEST_SCORE = 20.0  # the scaled cosine of what equals the prototype; the unit of the threshold's penalty


class ADNetHead(EpisodeHead):
    """The query is foreground where its scaled cosine with the mean foreground feature exceeds a learned threshold.

    The background is not modelled. Of the encoder's stages the last alone is used. Loss: likelihood with weights 0.1
    and 1, alignment on the grid of the features, and a penalty that keeps the threshold low.

    An empty support mask gives a zero prototype, so that the threshold alone decides: background.

    Args:
        in_channels: of the encoder's stages.
        channels: after the reduction of the last stage.
        initial_threshold: of the anomaly score, from -20, equal to the prototype, to 20; -10 is a cosine of 0.5.
        threshold_weight: of the penalty, the threshold divided by 20.
        pool: ``"image"`` interpolates the features at the foreground of the mask, ``"feature"`` brings the mask to the
            grid of the features, which takes far less memory for volumes.

    Raises:
        UsageError: an unknown pool.

    **Differs from the paper**: several shots, which it does not treat, are averaged: each counts the same, however
    large its organ. ``pool="feature"`` is an argument of ours. The release has an encoder with the dilation of
    DeepLabv3, ``ResNetEncoder(101, dilate=(False, True, True))``.

    References:
        Hansen et al., Anomaly detection-inspired few-shot medical image segmentation through self-supervision with
        supervoxels, Medical Image Analysis 78 (2022).
    """

    alignment_weight = 1.0

    def __init__(
        self,
        in_channels: Sequence[int] = (1024, 2048),
        channels: int = 256,
        *,
        initial_threshold: float = -10.0,
        threshold_weight: float = 1.0,
        pool: Pool = "image",
    ) -> None:
        super().__init__()
        if pool not in ("image", "feature"):
            raise UsageError(f"ADNet: pool {pool!r}; expected image or feature")
        self.in_channels, self.channels, self.pool = tuple(in_channels), channels, pool
        self.initial_threshold, self.threshold_weight = initial_threshold, threshold_weight
        self.reduce = PointwiseConv(in_channels[-1], channels)
        self.threshold = nn.Parameter(torch.tensor([float(initial_threshold)]))

    @property
    def prototype_channels(self) -> tuple[int, ...]:
        """Those after the reduction."""
        return (self.channels,)

    def prototype_features(self, support: Features) -> Features:
        """The reduced last stage."""
        return (self.reduce(support[-1].flatten(0, 1)).unflatten(0, support[-1].shape[:2]),)

    def extract(self, support: Features, mask: Tensor) -> tuple[Prototypes, ...]:
        """The mean foreground feature, (B, 1, C).

        Args:
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
        """
        features = self.reduce(support[-1].flatten(0, 1))
        values, foreground = foreground_of_shots(features, mask, self.pool, align_corners=False)
        return (Prototypes(mean_of_shots(values, foreground)[:, None]),)

    def match(self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]) -> Prediction:
        """The query's cosine with the prototype against the threshold.

        Args:
            query: (B, C, *S) at each level.
            support: not looked at.
            mask: (B, K, *S), gives the size of the result.
            prototypes: as extracted.
        """
        probability = threshold_decision(self.reduce(query[-1]), prototypes[0].foreground, self.threshold)
        return Prediction.of_foreground(resize(probability, mask.shape[2:])[:, 0], found=probability[:, 0] > 0.5)

    def auxiliary(
        self, prediction: Prediction, query: Features, support: Features, mask: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """The penalty of a high threshold, ``threshold``."""
        return {"threshold": self.threshold_weight * self.threshold[0] / _LOWEST_SCORE}
