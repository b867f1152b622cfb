"""What PATNet and DMTNet share: maps of many blocks, prototypes of both classes in each, one decision a shot."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.fewshot.heads.base import EpisodeHead
from medfs.fewshot.heads.class_banks import shots_that_count
from medfs.losses import logit_nll
from medfs.networks.functional import resize
from medfs.networks.hypercorrelation import HypercorrelationDecoder
from medfs.types import Features, Prediction, Prototypes

_EVEN = (1.0, 1.0)
_SMALLEST = 1e-6
_TIE = 0.25  # votes; half of them is foreground


class CorrelatedHead(EpisodeHead):
    """Maps of the encoder in groups of equal size, a decoder of their correlations, and a vote of the shots.

    Args:
        in_channels: of the encoder's maps.
        maps: how many maps lie on each grid, fine to coarse; None takes neighbours with equal channels for one grid.
        spatial_dims: 2 for kernels that see the slices of a volume one by one, 3 for volumes.

    Raises:
        UsageError: groups that do not make up the maps, or more than three.
    """

    def __init__(self, in_channels: Sequence[int], maps: Sequence[int] | None, spatial_dims: int) -> None:
        super().__init__()
        self.in_channels, self.maps = tuple(in_channels), None if maps is None else tuple(maps)
        self.spatial_dims = spatial_dims
        counts = [len(list(group)) for _, group in groupby(in_channels)] if maps is None else list(maps)
        if sum(counts) != len(in_channels) or min(counts) < 1:
            raise UsageError(f"{type(self).__name__}: groups of {counts} maps; expected {len(in_channels)} in all")
        self.grids = [grid for grid, count in enumerate(counts) for _ in range(count)]
        self.decoder = HypercorrelationDecoder(counts[::-1], spatial_dims=spatial_dims)
        widths = [in_channels[self.grids.index(grid)] for grid in range(len(counts))]
        self.anchors = nn.ParameterList(nn.init.kaiming_normal_(torch.empty(2, width)) for width in widths)

    def extract(self, support: Features, mask: Tensor) -> tuple[Prototypes, ...]:
        """The mean features of foreground and background of each shot (B, K, C), for each map.

        Args:
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
        """
        found = []
        for features in support:
            share = share_on(mask, features.shape[3:])
            found.append(Prototypes(mean_under(features, share), mean_under(features, 1 - share)))
        return tuple(found)

    def match(self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]) -> Prediction:
        """Decide with each shot by itself and let the shots vote.

        In training the logits of the shots are averaged. In evaluation several shots vote, as published: a place is
        foreground with half the votes of the place that has most. Shots without the class have no vote, unless none
        shows it. The logits of a vote are those of the share of votes.

        Args:
            query: (B, C, *S) at each level.
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool, gives the size of the result.
            prototypes: as extracted.
        """
        decided = []
        for shot in range(mask.shape[1]):
            one = tuple(stage[:, shot] for stage in support)
            kinds = tuple(class_pair(each, shot) for each in prototypes)
            decided.append(self.match_shot(query, one, mask[:, shot], kinds))
        logits = torch.stack([resize(each.logits, mask.shape[2:]) for each in decided], dim=1)
        counts = shots_that_count(mask)
        side = {name: torch.stack([each.side[name] for each in decided], dim=1) for name in decided[0].side}
        return Prediction(averaged(logits, counts) if self.training else voted(logits, counts), side)

    @abstractmethod
    def match_shot(self, query: Features, support: Features, mask: Tensor, prototypes: Sequence[Tensor]) -> Prediction:
        """The query decided from one shot.

        Args:
            query: (B, C, *S) at each level.
            support: (B, C, *S) at each level.
            mask: (B, *S), bool.
            prototypes: (B, 2, C) for each map, background and foreground.
        """

    def decode(self, correlations: Sequence[Tensor], gains: Sequence[Tensor] = ()) -> Tensor:
        """Logits (B, 2, *s) from the correlation (B, *Q, *S) of each map; gains as the decoder takes them."""
        grids = range(max(self.grids), -1, -1)
        stacked = [[each for each, g in zip(correlations, self.grids, strict=True) if g == grid] for grid in grids]
        return self.decoder([torch.stack(level, dim=1) for level in stacked], gains)

    def loss(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The likelihood; both classes count the same."""
        return logit_nll(prediction.logits, target, _EVEN)


def class_pair(prototypes: Prototypes, shot: int) -> Tensor:
    """Background and foreground of one shot, (B, 2, C)."""
    assert prototypes.background is not None
    return torch.stack([prototypes.background[:, shot], prototypes.foreground[:, shot]], dim=1)


def normal_tensors(prototypes: tuple[Prototypes, ...]) -> tuple[Prototypes, ...]:
    """Copies of prototypes of inference mode that gradients may pass."""
    return tuple(
        replace(p, foreground=p.foreground.clone(), background=None if p.background is None else p.background.clone())
        for p in prototypes
    )


def share_on(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Masks (B, K, *S) interpolated to another grid, (B, K, *size)."""
    return resize(mask.flatten(0, 1)[:, None].float(), size)[:, 0].unflatten(0, mask.shape[:2])


def mean_under(features: Tensor, share: Tensor) -> Tensor:
    """Means (B, K, C) of features (B, K, C, *S) with weights (B, K, *S); 0 where these are."""
    features, share = features.flatten(3).float(), share.flatten(2)
    return torch.einsum("bkcn,bkn->bkc", features, share) / (share.sum(dim=2)[..., None] + _SMALLEST)


def averaged(logits: Tensor, counts: Tensor) -> Tensor:
    """Logits (B, K, 2, *S) averaged over the shots that count (B, K)."""
    weight = counts.to(logits.dtype)
    return torch.einsum("bk...,bk->b...", logits, weight / weight.sum(dim=1, keepdim=True))


def voted(logits: Tensor, counts: Tensor) -> Tensor:
    """Logits (B, 2, *S) of the vote of the shots that count; of a single one its own.

    Args:
        logits: (B, K, 2, *S).
        counts: (B, K), bool.
    """
    axes = [1] * (logits.ndim - 3)
    votes = (logits.argmax(dim=2) * counts.view(*counts.shape, *axes)).sum(dim=1)
    most = votes.flatten(1).amax(dim=1).clamp(min=1).view(-1, *axes)
    by_vote = Prediction.of_foreground((votes + _TIE) / most).logits
    alone = (counts.sum(dim=1) == 1).view(-1, 1, *axes)
    return torch.where(alone, averaged(logits, counts), by_vote)
