"""SSL-ALPNet: prototypes of both classes, global and in windows; each place listens to those that it resembles."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medfs.errors import UsageError
from medfs.fewshot.heads.base import EpisodeHead
from medfs.fewshot.heads.class_banks import banks_of, prototypes_of, shots_that_count
from medfs.losses import IGNORED
from medfs.networks.functional import cosine_map, mask_on_grid, mean_of_shots, resize
from medfs.networks.prototype_bank import AVERAGE_POOL, PrototypeBank
from medfs.networks.reductions import PointwiseConv
from medfs.types import Features, Prediction, Prototypes

PrototypeMode = Literal["mask", "grid", "grid+"]
"""Prototypes of a class: its mean, its means in windows, or both."""

MaskReduction = Literal["linear", "area"]

_SCALE = 20.0
_CLASS_WEIGHTS = (0.05, 1.0)


class ALPHead(EpisodeHead):
    """Each class has prototypes; the score of a class is the mean of the scaled cosines, weighted by their softmax.

    Local prototypes are the mean features of windows, side by side, that belong to the class. The global one is the
    mean of the class. The foreground has local ones only where it fills a window of training; else, and where no window
    belongs to a class, the global one stands in. Of the encoder's stages the last alone is used. Loss: cross-entropy
    with weights 0.05 and 1, and alignment on the grid of the features.

    An empty support mask gives a zero prototype, with a score of 0. Shots without the class do not count, unless none
    has it.

    Args:
        in_channels: of the encoder's stages.
        channels: after the reduction of the last stage.
        foreground: prototypes of the foreground, ``"mask"``, ``"grid"`` or ``"grid+"``, which is both.
        background: of the background.
        window: of the local prototypes in training, in places of the features, one number or one for each axis;
            published is an eighth of the 32 x 32 places of a slice. A window larger than the grid is the grid.
        test_window: in evaluation, likewise.
        occupancy: share of a window that the class has to exceed.
        max_prototypes: local prototypes of a class; of more, evenly spaced ones are taken. A slice of 256 pixels has
            256 at most.
        mask_reduction: ``"linear"`` interpolates the mask at the places of the features, which may miss a small organ;
            ``"area"`` takes places that are at least half of the class, or the fullest ones.

    Raises:
        UsageError: an unknown mode or reduction; in use, windows for another number of axes.

    **Differs from the paper**: windows of several shots form one bank, and the global prototype is the mean of those of
    the shots. Where no window is background, which the release cannot treat, its mean stands in. Alignment
    interpolates probabilities, not scores. ``mask_reduction="area"`` and ``max_prototypes`` are arguments of ours. The
    release has an encoder with the dilation of DeepLabv3, ``ResNetEncoder(101, dilate=(False, True, True))``.

    References:
        Ouyang et al., Self-supervision with superpixels: training few-shot medical image segmentation without
        annotation, ECCV 2020; Self-supervised learning for few-shot medical image segmentation, IEEE TMI 41 (2022).
    """

    alignment_weight = 1.0

    def __init__(
        self,
        in_channels: Sequence[int] = (1024, 2048),
        channels: int = 256,
        *,
        foreground: PrototypeMode = "grid+",
        background: PrototypeMode = "grid",
        window: int | Sequence[int] = 4,
        test_window: int | Sequence[int] = 2,
        occupancy: float = 0.95,
        max_prototypes: int = 1024,
        mask_reduction: MaskReduction = "linear",
    ) -> None:
        super().__init__()
        if not {foreground, background} <= {"mask", "grid", "grid+"}:
            raise UsageError(f"ALPNet: prototypes {foreground!r} and {background!r}; expected mask, grid or grid+")
        if mask_reduction not in ("linear", "area"):
            raise UsageError(f"ALPNet: mask_reduction {mask_reduction!r}; expected linear or area")
        self.in_channels, self.channels = tuple(in_channels), channels
        self.foreground, self.background = foreground, background
        self.window = window if isinstance(window, int) else tuple(window)
        self.test_window = test_window if isinstance(test_window, int) else tuple(test_window)
        self.occupancy, self.max_prototypes, self.mask_reduction = occupancy, max_prototypes, mask_reduction
        self.reduce = PointwiseConv(in_channels[-1], channels)

    @property
    def prototype_channels(self) -> tuple[int, ...]:
        """Those after the reduction."""
        return (self.channels,)

    def prototype_features(self, support: Features) -> Features:
        """The reduced last stage."""
        return (self._reduced(support[-1].flatten(0, 1)).unflatten(0, support[-1].shape[:2]),)

    def extract(self, support: Features, mask: Tensor) -> tuple[Prototypes, ...]:
        """The prototypes of both classes (B, 1 + P, C), the global one first; ``side`` says which are valid.

        Args:
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
        """
        features = self._reduced(support[-1].flatten(0, 1))
        share, counts = self._share(mask.flatten(0, 1), features.shape[2:]), shots_that_count(mask)
        large_enough = self._windows(share, self.window).amax(dim=1, keepdim=True) >= self.occupancy
        background = self._bank(features, 1 - share, counts, self.background, torch.ones_like(large_enough))
        return (prototypes_of(background, self._bank(features, share, counts, self.foreground, large_enough)),)

    def match(self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]) -> Prediction:
        """The query's scores of both classes, which are the logits.

        Args:
            query: (B, C, *S) at each level.
            support: not looked at.
            mask: (B, K, *S), gives the size of the result.
            prototypes: as extracted.
        """
        features, scores = self._reduced(query[-1]), []
        with torch.autocast(features.device.type, enabled=False):  # half precision is too coarse for scores up to 20
            for bank in banks_of(prototypes[0]):
                cosine = cosine_map(features, bank.values)
                weight = bank.weights(cosine, cosine.new_full((1,), _SCALE))
                scores.append(_SCALE * (weight * cosine).sum(dim=1))
        return Prediction(resize(torch.stack(scores, dim=1), mask.shape[2:]), found=scores[1] > scores[0])

    def loss(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Cross-entropy, the sum over the voxels divided by that of their weights 0.05 and 1; 0 if none counts."""
        weights = prediction.logits.new_tensor(_CLASS_WEIGHTS)
        counted = target != IGNORED
        total = (weights[torch.where(counted, target, 0)] * counted).sum()
        entropy = F.cross_entropy(prediction.logits, target, weights, ignore_index=IGNORED, reduction="sum")
        return entropy / total.clamp(min=torch.finfo(total.dtype).tiny)

    def _reduced(self, features: Tensor) -> Tensor:
        return self.reduce(features).float()

    def _share(self, mask: Tensor, size: Sequence[int]) -> Tensor:
        """How much of each place of the features is foreground, (B K, 1, *s)."""
        if self.mask_reduction == "linear":
            return resize(mask[:, None].float(), size)
        return mask_on_grid(mask, size)[:, None].float()

    def _windows(self, values: Tensor, window: int | tuple[int, ...]) -> Tensor:
        """Means (B, n, C) of values (B, C, *s) in windows side by side; what is left over at the ends is left out."""
        size = values.shape[2:]
        each = (window,) * len(size) if isinstance(window, int) else window
        if len(each) != len(size) or min(each) < 1:
            raise UsageError(f"ALPNet: windows of {window} places for features of {len(size)} axes; expected one each")
        kernel = [min(wanted, length) for wanted, length in zip(each, size, strict=True)]
        return AVERAGE_POOL[len(size)](values, kernel, kernel).flatten(2).transpose(1, 2)

    def _bank(
        self, features: Tensor, share: Tensor, counts: Tensor, mode: PrototypeMode, large_enough: Tensor
    ) -> PrototypeBank:
        """Of one class, the global prototype first.

        Args:
            features: (B K, C, *s).
            share: (B K, 1, *s), of the class.
            counts: (B, K), shots that count.
            mode: which prototypes are wanted.
            large_enough: (B K, 1, 1), shots whose windows may be taken.
        """
        shots = counts.shape
        each = features.flatten(2).unflatten(0, shots), share.flatten(1).unflatten(0, shots)
        overall = mean_of_shots(each[0], each[1] * counts[..., None])[:, None]
        window = self.window if self.training else self.test_window
        kept = (self._windows(share, window) > self.occupancy) & large_enough & counts.view(-1, 1, 1)
        if mode == "mask":
            kept = torch.zeros_like(kept)
        windows = self._windows(features, window).unflatten(0, shots).flatten(1, 2)
        local = PrototypeBank(windows, kept.unflatten(0, shots).flatten(1)).thinned(self.max_prototypes)
        alone = ~local.valid.any(dim=1, keepdim=True)
        needed = alone if mode == "grid" else torch.ones_like(alone)
        return PrototypeBank(torch.cat([overall, local.values], dim=1), torch.cat([needed, local.valid], dim=1))
