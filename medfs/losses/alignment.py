"""Prototype alignment: what the query was taken for has to find the support again."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from medfs.losses.likelihood import IGNORED, probability_nll
from medfs.networks.functional import resize
from medfs.types import Features, Prediction, Prototypes


class Matches(Protocol):
    """The two steps of a few-shot head."""

    def extract(self, support: Features, mask: Tensor) -> tuple[Prototypes, ...]:
        """Prototypes of supports (B, K, C, *S) with masks (B, K, *S)."""

    def match(self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]) -> Prediction:
        """The query (B, C, *S) segmented."""


def alignment_loss(
    head: Matches,
    prediction: Prediction,
    query: Features,
    support: Features,
    mask: Tensor,
    class_weights: Sequence[float] = (1.0, 1.0),
    valid: Tensor | None = None,
) -> Tensor:
    """Swap the roles: query and predicted mask become a one-shot support, and every support a query.

    The predicted mask is the one that the head decided on, see :class:`~medfs.types.Prediction`, which may be coarser
    than the images. Episodes in which nothing was predicted are left out; 0 if that is all of them.

    Args:
        head: extracts and matches as in the forward direction.
        prediction: of the query, its logits on the grid of the masks.
        query: (B, C, *S) at each level.
        support: (B, K, C, *S) at each level.
        mask: (B, K, *S), bool.
        class_weights: of background and foreground.
        valid: (B, K, *S), false where a support is padded; None if nothing is.

    References:
        Wang et al., PANet, ICCV 2019.
    """
    shots = mask.shape[1]
    predicted = prediction.logits.argmax(dim=1) == 1 if prediction.found is None else prediction.found
    empty = ~predicted.flatten(1).any(dim=1)
    if empty.all():
        return prediction.logits.new_zeros(())
    roles = tuple(stage[:, None].repeat_interleave(shots, dim=0) for stage in query)
    found = predicted[:, None].repeat_interleave(shots, dim=0)
    swapped = head.match(tuple(stage.flatten(0, 1) for stage in support), roles, found, head.extract(roles, found))
    target = mask.flatten(0, 1).long()
    left_out = empty.repeat_interleave(shots).view(-1, *[1] * (target.ndim - 1))
    if valid is not None:
        left_out = left_out | ~valid.flatten(0, 1)
    probability = resize(swapped.probability, mask.shape[2:])
    return probability_nll(probability, torch.where(left_out, IGNORED, target), class_weights)
