"""PATNet: features of any domain are taken to learned anchors, then every place is correlated with every other."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from medfs.fewshot.heads.class_banks import shots_that_count
from medfs.fewshot.heads.correlated import CorrelatedHead, class_pair, mean_under, normal_tensors, share_on
from medfs.networks.anchor_space import anchor_coordinates, dual_directions, prototype_weights, unit_anchors
from medfs.networks.hypercorrelation import correlation
from medfs.types import Features, Prediction, Prototypes


class PATNetHead(CorrelatedHead):
    """A linear map takes both prototypes of the support to anchors that no domain owns; there, query meets support.

    Each map of the encoder has its prototypes, each grid its two anchors. All places of the query are correlated with
    all of the support's foreground, and a network of centre-pivot convolutions reads the correlations. Within
    :meth:`adapt` the anchors of the finest grid are tuned so that the query's foreground resembles the support's.
    Loss: likelihood.

    Several shots vote. An empty support mask gives a zero prototype and correlations of 0. Shots without the class do
    not count, unless none has it.

    Args:
        in_channels: of the encoder's maps, e.g. of :class:`~medfs.networks.ResNetBlocksEncoder`.
        maps: how many maps lie on each grid, fine to coarse; None takes neighbours with equal channels for one grid.
        tuning_steps: of :meth:`adapt`; the number that the paper took is not published, and its release takes none.
        learning_rate: of these steps, published 1e-3 for skin, 5e-5 for lungs.
        spatial_dims: 2 for kernels that see the slices of a volume one by one, which serve slices, too; 3 for volumes.

    Raises:
        UsageError: groups that do not make up the maps, or more than three.

    **Differs from the paper**: nothing in what is computed, but the map of C x C is never made: two coordinates a
    place have the same lengths and angles. Where the paper has the encoder without gradient, here freezing is a matter
    of training. Logits of several shots, which the release does not have, are averaged in training. Tuning steps are
    of each episode by itself.

    References:
        Lei et al., Cross-domain few-shot semantic segmentation, ECCV 2022.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (512,) * 4 + (1024,) * 6 + (2048,) * 3,
        *,
        maps: Sequence[int] | None = None,
        tuning_steps: int = 0,
        learning_rate: float = 1e-3,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__(in_channels, maps, spatial_dims)
        self.tuning_steps, self.learning_rate = tuning_steps, learning_rate
        self._shift: Tensor | None = None

    def match_shot(self, query: Features, support: Features, mask: Tensor, prototypes: Sequence[Tensor]) -> Prediction:
        """As :meth:`CorrelatedHead.match_shot`."""
        correlations = []
        for level, kinds in enumerate(prototypes):
            anchors = self._anchors(level)
            share = share_on(mask[:, None], support[level].shape[2:])
            of_query = anchor_coordinates(prototype_weights(query[level], kinds), anchors)
            of_support = anchor_coordinates(prototype_weights(support[level], kinds) * share, anchors)
            correlations.append(correlation(of_query, of_support))
        return Prediction(self.decode(correlations))

    @contextmanager
    def adapt(
        self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...] | None = None
    ) -> Iterator[None]:
        """Tune the anchors of the finest grid to one batch of episodes; on exit they are as trained.

        Each step predicts the query and lowers, by Adam, the divergence of the softmax of its transformed foreground
        prototype from that of the support, summed over the maps of the grid. Episodes where nothing was found or shown
        stay as they are.

        Args:
            query: (B, C, *S) at each level.
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
            prototypes: what will be matched; None for what is extracted.
        """
        try:
            if self.tuning_steps:
                self._tune(query, support, mask, prototypes)
            yield
        finally:
            self._shift = None

    def _anchors(self, level: int) -> Tensor:
        grid = self.grids[level]
        return self.anchors[grid] if grid or self._shift is None else self.anchors[grid] + self._shift

    @torch.inference_mode(False)
    @torch.no_grad()
    def _tune(
        self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...] | None
    ) -> None:
        query, support = (tuple(stage.clone() for stage in stages) for stages in (query, support))  # of inference mode
        mask = mask.clone()
        prototypes = self.extract(support, mask) if prototypes is None else normal_tensors(prototypes)
        shift = torch.zeros(len(mask), *self.anchors[0].shape, device=mask.device, requires_grad=True)
        self._shift = shift
        optimiser = torch.optim.Adam([shift], lr=self.learning_rate)
        for _ in range(self.tuning_steps):
            found = self.match(query, support, mask, prototypes).logits.argmax(dim=1) == 1
            with torch.enable_grad():
                loss = self._divergence(query, found, mask, prototypes)
                (shift.grad,) = torch.autograd.grad(loss, [shift])
            optimiser.step()

    def _divergence(self, query: Features, found: Tensor, mask: Tensor, prototypes: tuple[Prototypes, ...]) -> Tensor:
        """Summed over the episodes, so that each has the gradient of its own."""
        counts = (shots_that_count(mask) & mask.flatten(2).any(dim=2)).float() * found.flatten(1).any(dim=1)[:, None]
        weight = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
        total = weight.new_zeros(())
        for level in (place for place, grid in enumerate(self.grids) if grid == 0):
            share = share_on(found[:, None], query[level].shape[2:])
            of_query = mean_under(query[level][:, None], share)[:, 0]
            anchors = unit_anchors(self._anchors(level)).expand(len(mask), -1, -1)
            for shot in range(mask.shape[1]):
                kinds = class_pair(prototypes[level], shot)
                dual = dual_directions(kinds.float())
                mine, theirs = (
                    torch.einsum("bpd,bpc,bc->bd", anchors, dual, values).log_softmax(dim=1)
                    for values in (of_query, kinds[:, 1])
                )
                each = F.kl_div(mine, theirs, reduction="none", log_target=True).sum(dim=1)
                total = total + (each * weight[:, shot]).sum()
        return total
