"""Q-Net: two levels, a threshold that the query gives, and prototypes that are refined on the query."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from medfs.fewshot.heads.base import Bound
from medfs.fewshot.heads.query_threshold import QueryThresholdHead
from medfs.losses import Matches
from medfs.networks.functional import Pool, mean_of_shots, threshold_decision
from medfs.types import Features, Prediction, Prototypes


class QNetHead(QueryThresholdHead):
    """The mean foreground feature on two levels, against a threshold that the query itself gives.

    The threshold is a linear function of the query's mean feature. Within :meth:`adapt` the prototypes are moved by a
    few steps of gradient descent towards what the query was taken for. Loss: likelihood with weights 0.1 and 1, and
    alignment, in which the supports are decided with the query's threshold.

    An empty support mask gives a zero prototype, so that the threshold alone decides. The side output ``threshold`` is
    (B, 1).

    Args:
        in_channels: of the encoder's stages, fine and coarse.
        channels: after the reduction of each stage.
        level_weights: of the probabilities of both levels, with sum 1; a level of weight 0 is not computed. Published
            are (0.9, 0.1) for Setting 1 and (0.6, 0.4) for Setting 2.
        refinement_steps: of :meth:`adapt`; 0 for none.
        learning_rate: of these steps.
        pool: ``"image"`` interpolates the features at the foreground of the mask, ``"feature"`` brings the mask to the
            grid of the features, which takes far less memory for volumes.
        hidden: width of the layer before the threshold.

    Raises:
        UsageError: an unknown pool, not two levels, or no level with a weight.

    **Differs from the paper**: several shots are averaged: each counts the same, however large its organ.
    ``pool="feature"`` is an argument of ours. Episodes of a batch are refined independently.

    References:
        Shen et al., Q-Net: query-informed few-shot medical image segmentation, IntelliSys 2023.
    """

    alignment_weight = 1.0
    align_corners = False

    def __init__(
        self,
        in_channels: Sequence[int] = (1024, 2048),
        channels: int = 512,
        *,
        level_weights: Sequence[float] = (0.9, 0.1),
        refinement_steps: int = 7,
        learning_rate: float = 0.01,
        pool: Pool = "image",
        hidden: int = 1000,
    ) -> None:
        super().__init__(in_channels, channels, level_weights=level_weights, pool=pool, hidden=hidden)
        self.refinement_steps, self.learning_rate = refinement_steps, learning_rate
        self._shifts: tuple[Tensor, ...] = ()

    def extract(self, support: Features, mask: Tensor) -> tuple[Prototypes, ...]:
        """The mean foreground feature (B, 1, C) of each level in use.

        Args:
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
        """
        return tuple(
            Prototypes(mean_of_shots(*self.foreground(support, mask, level))[:, None]) for level in self.levels
        )

    def match(self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]) -> Prediction:
        """The query against its own threshold, within :meth:`adapt` by the refined prototypes.

        Args:
            query: (B, C, *S) at each level.
            support: not looked at.
            mask: (B, K, *S), gives the size of the result.
            prototypes: as extracted.
        """
        return self.match_with(self.threshold(query), query, support, mask, prototypes)

    def match_with(
        self, threshold: Tensor, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]
    ) -> Prediction:
        """As :meth:`match`, with a given threshold (B, 1)."""
        refined = (each.foreground for each in self.refined(prototypes))
        foreground = self.decide(query, refined, threshold, mask.shape[2:])
        return Prediction.of_foreground(foreground, {"threshold": threshold})

    def refined(self, prototypes: tuple[Prototypes, ...]) -> tuple[Prototypes, ...]:
        """Prototypes as :meth:`adapt` refined them; outside of it as they are."""
        if not self._shifts:
            return prototypes
        pairs = zip(prototypes, self._shifts, strict=True)
        return tuple(replace(each, foreground=each.foreground + shift) for each, shift in pairs)

    def swapped(self, prediction: Prediction) -> Matches:
        """This head bound to the threshold of the query, as published."""
        return Bound(self, prediction.side["threshold"])

    @contextmanager
    def adapt(
        self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...] | None = None
    ) -> Iterator[None]:
        """Refine the prototypes on one batch of episodes; on exit they are the supports' own again.

        The query's features are compared with themselves, the prototype put in the place of all that was found. Adam
        lowers the cross-entropy of both, each brought to the range from 0 to 1 and through a logistic function. Where
        nothing was found the prototype stays.

        Args:
            query: (B, C, *S) at each level.
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
            prototypes: what will be matched; None for what is extracted.
        """
        with torch.no_grad():
            threshold, shifts = self.threshold(query), []
            for level, prototype in zip(self.levels, prototypes or self.extract(support, mask), strict=True):
                features = self.reduce[level](query[level])
                found = threshold_decision(features, prototype.foreground, threshold) > 0.5
                shifts.append(self._shift(features.float(), found, prototype.foreground.float()))
        self._shifts = tuple(shifts)
        try:
            yield
        finally:
            self._shifts = ()

    @torch.inference_mode(False)
    @torch.enable_grad()
    def _shift(self, features: Tensor, found: Tensor, prototype: Tensor) -> Tensor:
        """What refinement adds to a prototype (B, 1, C), from features (B, C, *S) and what was found (B, 1, *S)."""
        features, found, prototype = features.clone(), found.clone(), prototype.clone()  # no tensors of inference mode
        shift = torch.zeros_like(prototype, requires_grad=True)
        optimiser = torch.optim.Adam([shift], lr=self.learning_rate)
        own = _unit_range(features)
        for _ in range(self.refinement_steps):
            refined = (prototype + shift).view(*features.shape[:2], *[1] * (features.ndim - 2))
            replaced = _unit_range(torch.where(found, refined, features)).sigmoid()
            entropy = F.binary_cross_entropy_with_logits(own, replaced, reduction="none")
            (shift.grad,) = torch.autograd.grad(entropy.flatten(1).mean(dim=1).sum(), [shift])
            optimiser.step()
        return shift.detach()


def _unit_range(features: Tensor) -> Tensor:
    """Each item (C, *S) of a batch brought to the range from 0 to 1; 0 where all of it is equal."""
    axes = tuple(range(1, features.ndim))
    lowest, highest = features.amin(dim=axes, keepdim=True), features.amax(dim=axes, keepdim=True)
    return (features - lowest) / (highest - lowest).clamp(min=torch.finfo(features.dtype).tiny)
