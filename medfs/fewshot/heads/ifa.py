"""IFA: the query supports itself, then query and support find each other in turns."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from medfs.fewshot.heads.base import EpisodeHead
from medfs.fewshot.heads.class_banks import shots_that_count
from medfs.losses import IGNORED, logit_nll
from medfs.networks.functional import mean_of_shots, resize
from medfs.networks.self_support import class_scores, self_prototypes
from medfs.types import Features, Prediction, Prototypes

_EVEN = (1.0, 1.0)
_ROUNDS = 3
_WEIGHTS = {"query": 1.0, "support": 0.2, "support_1": 0.4}


class _Pair(NamedTuple):
    """Prototypes of both classes, (B, C), or (B, C, *S) where each place has its own."""

    foreground: Tensor
    background: Tensor


class IFAHead(EpisodeHead):
    """What the query is taken for gives it prototypes of its own; with refinement this happens twice.

    The class means of the supports decide a first time. Certain places of the query give prototypes of both classes,
    and each place a background of its own. Together with the supports' they decide. There are no parameters: all
    learning is the encoder's. Loss: likelihood of all decisions; of the query by its true prototypes, of the supports
    by theirs, and of the supports by what the query was taken for. With ``round_weight``, this goes on for two more
    rounds.

    An empty support mask gives a zero prototype. Shots without the class do not count, unless none has it. The side
    output ``first``, (B, 2, *s), is the decision before refinement.

    Args:
        in_channels: of the encoder's stages; the last is used.
        refine: whether to decide again.
        round_weight: of the decisions of further rounds in training; 0 in the training on source images, 0.1 where the
            encoder is adapted to the target.

    **Differs from the paper**: adapting is training on the annotated images of the target, with ``round_weight`` 0.1;
    it is no part of the head. The release draws new labelled images of the test set in each epoch of it, and keeps
    the network that is best on the test set; so it does in the training on source images. Neither is done here.

    References:
        Nie et al., Cross-domain few-shot segmentation via iterative support-query correspondence mining, CVPR 2024;
        Fan et al., Self-support few-shot semantic segmentation, ECCV 2022.
    """

    def __init__(self, in_channels: Sequence[int] = (1024,), *, refine: bool = True, round_weight: float = 0.0) -> None:
        super().__init__()
        self.in_channels, self.refine, self.round_weight = tuple(in_channels), refine, round_weight

    @property
    def prototype_channels(self) -> tuple[int, ...]:
        """Those of the last stage."""
        return self.in_channels[-1:]

    def prototype_features(self, support: Features) -> Features:
        """The last stage."""
        return support[-1:]

    def extract(self, support: Features, mask: Tensor) -> tuple[Prototypes, ...]:
        """The mean features (B, 1, C) of foreground and background.

        Args:
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
        """
        pair = _mean_pair(support[-1], mask)
        return (Prototypes(pair.foreground[:, None], pair.background[:, None]),)

    def match(self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]) -> Prediction:
        """The query decided, and with refinement decided again.

        Args:
            query: (B, C, *S) at each level.
            support: not looked at.
            mask: (B, K, *S), gives the size of the result.
            prototypes: as extracted.
        """
        features = query[-1].float()
        given = _pair_of(prototypes)
        supported = _supported(features, given)
        first = class_scores(features, *supported)
        scores = self._refined(features, given, supported, first) if self.refine else first
        return Prediction(resize(scores, mask.shape[2:]), {"first": first})

    def loss(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The likelihood of the last decision; both classes count the same."""
        return logit_nll(prediction.logits, target, _EVEN)

    def auxiliary(
        self, prediction: Prediction, query: Features, support: Features, mask: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """The weighted likelihoods of the decision before refinement and of :meth:`outputs_of_training`."""
        terms = {"first": _of_image(prediction.side["first"], target)} if self.refine else {}
        counts = shots_that_count(mask)
        truth = mask.long().masked_fill(~counts.view(*counts.shape, *[1] * (mask.ndim - 2)), IGNORED)
        for name, scores in self.outputs_of_training(prediction, query, support, mask, target).items():
            weight = _WEIGHTS.get(name, self.round_weight)
            if weight:
                of_support = name.startswith("support")
                likelihood = _of_image(scores, truth.flatten(0, 1) if of_support else target)
                terms[name] = weight * likelihood
        return terms

    def outputs_of_training(
        self, prediction: Prediction, query: Features, support: Features, mask: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """Further decisions, for the loss alone: scores (B, 2, *s) of queries, (B K, 2, *s) of supports.

        ``query`` and ``support`` are decided by their own true prototypes; ``support_1`` by what the query was taken
        for; ``round_2``, ``support_2``, ``round_3`` and ``support_3`` by what the round before gave.

        Args:
            prediction: of the query.
            query: (B, C, *S) at each level.
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
            target: (B, *S), integers; of padding neither class.
        """
        features, shots, counts = query[-1].float(), support[-1].flatten(0, 1).float(), shots_that_count(mask)
        own = _Pair(*(_mean_pair(query[-1][:, None], (target == label)[:, None]).foreground for label in (1, 0)))
        outputs = {"query": class_scores(features, *own)}
        each = _mean_pair(support[-1].flatten(0, 1)[:, None], mask.flatten(0, 1)[:, None])
        outputs["support"] = class_scores(shots, *each)
        pair = _mean_pair(support[-1], mask)
        for number in range(1, _ROUNDS + 1):
            supported = _supported(features, pair)
            if number > 1:
                outputs[f"round_{number}"] = class_scores(features, *supported)
            begun, *repeated = (part.repeat_interleave(mask.shape[1], dim=0) for part in (pair.foreground, *supported))
            found = _self_supported(shots, begun, class_scores(shots, *repeated))
            outputs[f"support_{number}"] = class_scores(shots, *found)
            pair = _Pair(*(_mean_of(part.unflatten(0, mask.shape[:2]), counts) for part in found))
        return outputs

    def _refined(self, features: Tensor, given: _Pair, supported: _Pair, first: Tensor) -> Tensor:
        again = _self_supported(features, given.foreground, first)
        axes = [1] * (features.ndim - 2)
        background = given.background.view(*given.background.shape, *axes)
        mixed = _Pair(
            0.5 * given.foreground + 0.2 * supported.foreground + 0.3 * again.foreground,
            0.5 * background + 0.2 * supported.background + 0.3 * again.background,
        )
        return 0.7 * class_scores(features, *mixed) + 0.3 * first


def _supported(features: Tensor, given: _Pair) -> _Pair:
    """Prototypes after features (B, C, *S) have supported themselves, starting from given ones."""
    return _self_supported(features, given.foreground, class_scores(features, *given))


def _self_supported(features: Tensor, foreground: Tensor, scores: Tensor) -> _Pair:
    own_foreground, own_background, local = self_prototypes(features, scores)
    own_background = own_background.view(*own_background.shape, *[1] * (features.ndim - 2))
    return _Pair(0.5 * foreground + 0.5 * own_foreground, 0.3 * own_background + 0.7 * local)


def _mean_pair(support: Tensor, mask: Tensor) -> _Pair:
    """The class means (B, C) of features (B, K, C, *s) under masks (B, K, *S)."""
    size = support.shape[3:]
    share = resize(mask.flatten(0, 1)[:, None].float(), size).flatten(1).unflatten(0, mask.shape[:2])
    counts, flat = shots_that_count(mask)[..., None], support.flatten(3).float()
    return _Pair(mean_of_shots(flat, share * counts), mean_of_shots(flat, (1 - share) * counts))


def _pair_of(prototypes: tuple[Prototypes, ...]) -> _Pair:
    background = prototypes[0].background
    assert background is not None
    return _Pair(prototypes[0].foreground.mean(dim=1).float(), background.mean(dim=1).float())


def _mean_of(values: Tensor, counts: Tensor) -> Tensor:
    """Means of values (B, K, ...) over the shots that count."""
    weight = counts.to(values.dtype)
    return torch.einsum("bk...,bk->b...", values, weight / weight.sum(dim=1, keepdim=True))


def _of_image(scores: Tensor, target: Tensor) -> Tensor:
    """Likelihood of a target (B, *S) in scores (B, 2, *s)."""
    return logit_nll(resize(scores, target.shape[1:]), target, _EVEN)
