"""DMAP: a prototype of those foreground voxels that resemble their mean."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from medfs.errors import UsageError
from medfs.fewshot.heads.query_threshold import QueryThresholdHead
from medfs.losses import FocalLoss
from medfs.networks.functional import Pool, cosine_map, mean_of_shots
from medfs.types import Features, Prediction, Prototypes

Filter = Literal["none", "fixed", "learned"]
_FILTER = 1  # the scalar of an image that is the threshold of the filter
_SMALLEST_EXPONENT = -80.0  # weights count relative to each other, but must not vanish all at once


class DMAPHead(QueryThresholdHead):
    """One de-biased foreground prototype a level, and a decision threshold that the query itself gives.

    The mean of the foreground features is compared with each of them; those similar enough are averaged again. The
    query is foreground where its scaled cosine with that prototype exceeds a threshold, a linear function of its own
    mean feature. Loss: focal on probabilities; no alignment.

    An empty support mask gives a zero prototype, so that the threshold alone decides. If no voxel is similar enough,
    all are kept. The side outputs are ``threshold`` (B, 1) and ``kept``, the share of foreground kept at the finest
    level in use (B,).

    Args:
        in_channels: of the encoder's stages, fine and coarse.
        channels: after the reduction of each stage.
        level_weights: of the probabilities of both levels; a level of weight 0 is not computed.
        filter: ``"fixed"`` keeps cosines of at least ``tau``; ``"none"`` keeps all; ``"learned"`` weights voxels by
            a logistic function of the cosine minus a threshold in (0, 1), the mean of what supports and query give,
            and keeps those above it in evaluation mode.
        tau: the fixed threshold.
        softness: width of that logistic function, in units of the cosine.
        pool: ``"image"`` interpolates the features at the foreground of the mask, ``"feature"`` brings the mask to the
            grid of the features, which takes far less memory for volumes.
        hidden: width of the layer before the thresholds.
        gamma: exponent of the focal loss.
        class_weights: of background and foreground in it.

    Raises:
        UsageError: an unknown filter or pool, not two levels, or no level with a weight.

    **Differs from the paper**: the defaults are what the release computes: its learned filter is overwritten by 0.9,
    and its second level has weight 0. ``filter="learned"`` is the method as the abstract describes it, with a gradient.
    Several shots, which the release can only add up, are averaged: each counts the same, however large its organ.

    References:
        Zhu et al., Learning de-biased prototypes for few-shot medical image segmentation, Pattern Recognition Letters
        (2024).
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (1024, 2048),
        channels: int = 512,
        *,
        level_weights: Sequence[float] = (1.0, 0.0),
        filter: Filter = "fixed",
        tau: float = 0.9,
        softness: float = 0.05,
        pool: Pool = "image",
        hidden: int = 1000,
        gamma: float = 0.7,
        class_weights: Sequence[float] = (0.1, 1.0),
    ) -> None:
        super().__init__(in_channels, channels, level_weights=level_weights, pool=pool, hidden=hidden, scalars=2)
        if filter not in ("none", "fixed", "learned"):
            raise UsageError(f"DMAPHead: filter {filter!r}; expected none, fixed or learned")
        self.filter, self.tau, self.softness = filter, tau, softness
        self.gamma, self.class_weights = gamma, tuple(class_weights)
        self.focal = FocalLoss(gamma, class_weights)

    def extract(self, support: Features, mask: Tensor) -> tuple[Prototypes, ...]:
        """One foreground prototype (B, 1, C) a level; with the learned filter it is the plain mean.

        Args:
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
        """
        return tuple(self._prototype(*self.foreground(support, mask, level)) for level in self.levels)

    def match(self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]) -> Prediction:
        """The query against its own threshold; with the learned filter, after filtering the supports for this query.

        Args:
            query: (B, C, *S) at each level.
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
            prototypes: as extracted.
        """
        threshold = self.threshold(query)
        if self.filter == "learned":
            tau = self._tau(query, support)
            prototypes = tuple(
                self._filtered(*self.foreground(support, mask, level), anchor.foreground[:, 0], tau)
                for level, anchor in zip(self.levels, prototypes, strict=True)
            )
        foreground = self.decide(query, (each.foreground for each in prototypes), threshold, mask.shape[2:])
        return Prediction.of_foreground(foreground, {"threshold": threshold, "kept": prototypes[0].side["kept"]})

    def loss(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Focal loss of the probabilities."""
        return self.focal(prediction.probability, target)

    def _prototype(self, features: Tensor, foreground: Tensor) -> Prototypes:
        mean = mean_of_shots(features, foreground)
        if self.filter == "fixed":
            return self._filtered(features, foreground, mean, torch.full_like(mean[:, :1], self.tau))
        return Prototypes(mean[:, None], side={"kept": torch.ones_like(mean[:, 0])})

    def _filtered(self, features: Tensor, foreground: Tensor, anchor: Tensor, tau: Tensor) -> Prototypes:
        """The mean of foreground whose cosine with the anchor (B, C) reaches the threshold (B, 1)."""
        cosine = cosine_map(features.transpose(1, 2).flatten(2), anchor[:, None]).view(foreground.shape)
        above = cosine - tau[:, :, None]
        if self.filter == "learned" and self.training:
            weight = torch.sigmoid((above / self.softness).clamp(min=_SMALLEST_EXPONENT)) * foreground
        else:
            kept = foreground & (above >= 0)
            none = ~kept.flatten(1).any(dim=1)
            weight = (kept | (foreground & none[:, None, None])).to(features.dtype)
        share = weight.sum(dim=(1, 2)) / foreground.sum(dim=(1, 2)).clamp(min=1)
        return Prototypes(mean_of_shots(features, weight)[:, None], side={"kept": share.detach()})

    def _tau(self, query: Features, support: Features) -> Tensor:
        """The learned filter's threshold (B, 1): what supports and query say, each with half the weight."""
        batch, shots = support[-1].shape[:2]
        of_shots = self.thresholds(support[-1].flatten(0, 1), _FILTER).view(batch, shots).mean(dim=1, keepdim=True)
        return torch.sigmoid((of_shots + self.thresholds(query[-1], _FILTER)) / 2)
