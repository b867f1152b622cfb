"""DMTNet: PATNet with a transformation that the query itself shapes, and a second correlation with the background."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfs.fewshot.heads.class_banks import shots_that_count
from medfs.fewshot.heads.correlated import CorrelatedHead, class_pair, mean_under, normal_tensors, share_on
from medfs.losses import IGNORED, logit_nll
from medfs.networks.anchor_space import anchor_coordinates, prototype_weights
from medfs.networks.cell_prototypes import cell_similarity
from medfs.networks.functional import resize
from medfs.networks.hypercorrelation import correlation
from medfs.types import Features, Prediction, Prototypes

_EVEN = (1.0, 1.0)
_SCALE = 10.0
_DROPOUT = 0.2


class DMTNetHead(CorrelatedHead):
    """Query and support each shape the transformation to the anchors; both foreground and background are correlated.

    The query is compared with the prototypes of 16 or 25 cells of the support. What this finds gives the query
    prototypes of its own, with anchors of their own; its transformation is the mean of the one from them and the one
    from the support, which alone transforms the support. One decoder reads the correlations with the support's
    foreground and those with its background. Within :meth:`adapt` two weights of the decoder are tuned so that the
    support finds itself. Loss: likelihood of both decisions and, with weight 0.5, of the comparison with the cells.

    Several shots vote. An empty support mask gives zero prototypes and correlations of 0. Shots without the class do
    not count, unless none has it. Side outputs, for each shot: ``background_logits`` (B, K, 2, *s), whose class 1 is
    the background, and ``score_0``, ``score_1``, ... (B, K, 2, *s), the comparison with the cells in each map.

    Args:
        in_channels: of the encoder's maps, e.g. of :class:`~medfs.networks.ResNetBlocksEncoder`.
        maps: how many maps lie on each grid, fine to coarse; None takes neighbours with equal channels for one grid.
        score_weight: of the comparison with the cells.
        tuning_steps: of :meth:`adapt`; 0 for none.
        learning_rate: of these steps, published 1e-6 for skin, 0.1 for lungs.
        spatial_dims: 2 for kernels that see the slices of a volume one by one, which serve slices, too; 3 for volumes.

    Raises:
        UsageError: groups that do not make up the maps, or more than three.

    **Differs from the paper**: tuning begins anew with each episode, and episodes of a batch are tuned by themselves;
    the release carries on what it tuned from batch to batch of the test. The query's anchors have the foreground first,
    as the release uses them. No map of C x C is made: four coordinates a place have the same lengths and angles.
    Logits of several shots, which the release does not have, are averaged in training.

    References:
        Chen et al., Cross-domain few-shot semantic segmentation via doubly matching transformation, IJCAI 2024.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (512,) * 4 + (1024,) * 6 + (2048,) * 3,
        *,
        maps: Sequence[int] | None = None,
        score_weight: float = 0.5,
        tuning_steps: int = 1,
        learning_rate: float = 1e-6,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__(in_channels, maps, spatial_dims)
        self.score_weight, self.tuning_steps, self.learning_rate = score_weight, tuning_steps, learning_rate
        self.query_anchors = nn.ParameterList(nn.init.kaiming_normal_(torch.empty_like(each)) for each in self.anchors)
        self._gains: list[Tensor] = []

    def match_shot(self, query: Features, support: Features, mask: Tensor, prototypes: Sequence[Tensor]) -> Prediction:
        """As :meth:`CorrelatedHead.match_shot`."""
        of_foreground: list[Tensor] = []
        of_background: list[Tensor] = []
        side: dict[str, Tensor] = {}
        for level, kinds in enumerate(prototypes):
            here, there = query[level], support[level]
            share = share_on(mask[:, None], there.shape[2:])
            score = _cell_scores(here, there, share[:, 0])
            side[f"score_{level}"] = score
            own = _own_prototypes(here, score)
            anchors = self._anchors(self.grids[level])
            halves = [prototype_weights(here, each) / 2 for each in (kinds, own)]
            of_query = anchor_coordinates(torch.cat(halves, dim=1), anchors)
            weights = prototype_weights(there, kinds)
            of_support = anchor_coordinates(torch.cat([weights, torch.zeros_like(weights)], dim=1), anchors)
            of_foreground.append(correlation(of_query, of_support * share))
            of_background.append(correlation(of_query, of_support * (1 - share)))
        side["background_logits"] = self.decode(of_background, self._gains)
        return Prediction(self.decode(of_foreground, self._gains), side)

    def auxiliary(
        self, prediction: Prediction, query: Features, support: Features, mask: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """The likelihood of the background decision, ``background``, and of the scores of all maps, ``scores``."""
        counts = shots_that_count(mask)
        inverse = torch.where(target == IGNORED, target, 1 - target)
        background = self._of_shots(prediction.side["background_logits"], inverse, counts)
        scores = [value for name, value in prediction.side.items() if name.startswith("score_")]
        mean = torch.stack([self._of_shots(each, target, counts) for each in scores]).mean()
        return {"background": background, "scores": self.score_weight * mean}

    @contextmanager
    def adapt(
        self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...] | None = None
    ) -> Iterator[None]:
        """Tune to the supports of one batch of episodes; on exit the decoder is as trained.

        Each support is predicted from itself, and Adam lowers the cross-entropy with its mask by the weights of the
        last normalisation of each mixing block.

        Args:
            query: not looked at.
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
            prototypes: what will be matched; None for what is extracted.
        """
        try:
            if self.tuning_steps and len(self.decoder.mix):
                self._tune(support, mask, prototypes)
            yield
        finally:
            self._gains = []

    def _anchors(self, grid: int) -> Tensor:
        """Those of the support, then those of the query, (4, C)."""
        return F.dropout(torch.cat([self.anchors[grid], self.query_anchors[grid]]), _DROPOUT, self.training)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _tune(self, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...] | None) -> None:
        support, mask = tuple(stage.clone() for stage in support), mask.clone()  # no tensors of inference mode
        prototypes = self.extract(support, mask) if prototypes is None else normal_tensors(prototypes)
        counts = shots_that_count(mask)
        size = (len(mask), self.decoder.mixed_channels)
        gains = [torch.zeros(size, device=mask.device, requires_grad=True) for _ in self.decoder.mix]
        self._gains = gains
        optimiser = torch.optim.Adam(gains, lr=self.learning_rate)
        for _ in range(self.tuning_steps):
            with torch.enable_grad():
                loss = self._loss_of_supports(support, mask, prototypes, counts)
                found = torch.autograd.grad(loss, gains)
            for gain, gradient in zip(gains, found, strict=True):
                gain.grad = gradient
            optimiser.step()

    def _loss_of_supports(
        self, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...], counts: Tensor
    ) -> Tensor:
        """Summed over the episodes, so that each has the gradient of its own."""
        weight = counts / counts.sum(dim=1, keepdim=True)
        total = weight.new_zeros(())
        for shot in range(mask.shape[1]):
            one = tuple(stage[:, shot] for stage in support)
            kinds = [class_pair(each, shot) for each in prototypes]
            logits = resize(self.match_shot(one, one, mask[:, shot], kinds).logits, mask.shape[2:])
            each = F.cross_entropy(logits, mask[:, shot].long(), reduction="none").flatten(1).mean(dim=1)
            total = total + (each * weight[:, shot]).sum()
        return total

    def _of_shots(self, logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
        """Likelihood of a target (B, *S) in the logits (B, K, 2, *s) of the shots that count."""
        size = logits.shape[3:]
        places = F.interpolate(target[:, None].float(), size).long() if size != target.shape[1:] else target[:, None]
        each = places.expand(-1, logits.shape[1], *size).masked_fill(
            ~counts.view(*counts.shape, *[1] * len(size)), IGNORED
        )
        return logit_nll(logits.flatten(0, 1), each.flatten(0, 1), _EVEN)


def _cell_scores(query: Tensor, support: Tensor, share: Tensor) -> Tensor:
    """Scaled similarity (B, 2, *Q) of a query with the cells of background and foreground (B, *S) of a support."""
    return _SCALE * torch.cat([cell_similarity(query, support, part) for part in (1 - share, share)], dim=1)


def _own_prototypes(query: Tensor, score: Tensor) -> Tensor:
    """The mean features (B, 2, C) of what scores higher as foreground, and of the rest."""
    found = (score[:, 1:] > score[:, :1]).float()
    return torch.stack([mean_under(query[:, None], part)[:, 0] for part in (found, 1 - found)], dim=1)
