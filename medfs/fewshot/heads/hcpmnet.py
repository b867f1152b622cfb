"""HCPMNet: prior masks by angle and magnitude, regions mined under them, expanded prototypes that are matched."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.fewshot.heads.base import Bound, EpisodeHead
from medfs.fewshot.heads.class_banks import banks_of, prototypes_of, shots_that_count
from medfs.losses import IGNORED, Matches
from medfs.networks.functional import Pool, cosine_map, mask_on_grid, resize
from medfs.networks.match_decoder import MatchDecoder
from medfs.networks.prototype_bank import PrototypeBank, angle_and_magnitude, prototype_bank
from medfs.networks.reductions import PointwiseConv
from medfs.networks.region_mining import MaskedAttention
from medfs.types import Features, Prediction, Prototypes

Prior = Literal["hard", "soft"]
_PRIOR_SCALE = 10.0
_FOREGROUND_RATE = 0.95


class HCPMHead(EpisodeHead):
    """A bank of prototypes for each class; the query is compared with them twice, before and after mining its regions.

    The bank of a class holds its mean and its means in windows. Similarity is a cosine plus a weighted closeness. The
    similarity of the query to each bank, above a threshold that the support gives, is a prior mask. Under it,
    attention gathers what belongs to the class in the query itself and in the support. The mean of that expands the
    bank, features and bank are matched, and a decoder for each class gives its logit. Loss: weighted likelihood plus
    alignment, which keeps the scalars of the first direction.

    An empty support mask gives a foreground bank of one zero prototype. Shots without the class do not count, unless
    none has it. The side outputs are ``scalars`` (B, 4): prior threshold of background and of foreground, temperature
    and expansion before their logistic functions; and ``prior`` (B, 2, *s), both masks on the grid of the features.

    Args:
        in_channels: of the encoder's stages; the first is matched, the last gives the scalars.
        channels: after the reduction and in the decoders.
        window: of the local prototypes, in voxels of the image, one number or one for each axis.
        stride: from window to window, likewise.
        max_prototypes: local prototypes of a class; of more, evenly spaced ones are taken.
        prior: ``"hard"`` masks have no gradient to their thresholds; ``"soft"`` ones are logistic functions.
        scaled_attention: divide the scores of attention by the root of the channels.
        max_keys: places that attention looks at, those of the mask first; 8192 are all of a slice of 360 x 360.
        pool: ``"image"`` averages features interpolated to the resolution of the mask, ``"feature"`` brings masks and
            windows to the grid of the features, which volumes need.
        mean_similarity: give the decoders the mean of the similarities to all local prototypes, not the sum.
        spatial_dims: 2 for decoder kernels of 3x3, which see the slices of a volume one by one; 3 for 3x3x3, for
            volumes alone.
        hidden: width of the layer before the scalars.
        initial_threshold: about what the scalars start from; None starts them as PyTorch does, near 0. What has passed
            a ReLU resembles every prototype, with similarities of 8 or so: above 0 everywhere, both prior masks
            exclude each other, and soft ones have next to no gradient there.
        alignment_weight: of the alignment loss.

    Raises:
        UsageError: an unknown prior or pool, another number of axes, or no stage; slices for kernels of volumes.

    **Differs from the paper**: the defaults compute what the release computes wherever that is determined. It draws up
    to 150 windows, and up to 100 voxels where no window counts, at random, in tests too; here they are evenly spaced
    along the raster, always the same. It knows one shot; here the windows of all shots form one bank, and means,
    thresholds and attention are averaged over the shots. The gradient of the distance at zero, infinite there, is 0.
    ``prior="soft"``, ``scaled_attention``, ``mean_similarity``, ``initial_threshold`` and ``pool="feature"`` are
    repairs of what the release does; ``max_keys`` and ``spatial_dims`` serve volumes. Decoders start with larger
    weights, see :class:`~medfs.networks.match_decoder.MatchDecoder`.

    References:
        Cheng et al., HCPMNet, few-shot medical image segmentation (2024).
    """

    alignment_class_weights = (0.1, 1.0)

    def __init__(
        self,
        in_channels: Sequence[int] = (1024, 2048),
        channels: int = 512,
        *,
        window: int | Sequence[int] = 16,
        stride: int | Sequence[int] = 8,
        max_prototypes: int = 150,
        prior: Prior = "hard",
        scaled_attention: bool = False,
        max_keys: int = 8192,
        pool: Pool = "image",
        mean_similarity: bool = False,
        spatial_dims: int = 2,
        hidden: int = 1000,
        initial_threshold: float | None = None,
        alignment_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if prior not in ("hard", "soft") or pool not in ("image", "feature"):
            raise UsageError(f"HCPMNet: prior {prior!r}, pool {pool!r}; expected hard or soft, image or feature")
        if spatial_dims not in (2, 3) or not in_channels:
            raise UsageError(f"HCPMNet: {spatial_dims} axes, stages {in_channels}; expected 2 or 3, at least one stage")
        self.in_channels, self.channels, self.hidden = tuple(in_channels), channels, hidden
        self.window = window if isinstance(window, int) else tuple(window)
        self.stride = stride if isinstance(stride, int) else tuple(stride)
        self.max_prototypes, self.max_keys, self.spatial_dims = max_prototypes, max_keys, spatial_dims
        self.prior, self.pool = prior, pool
        self.scaled_attention, self.mean_similarity = scaled_attention, mean_similarity
        self.alignment_weight, self.initial_threshold = alignment_weight, initial_threshold
        self.reduce = PointwiseConv(in_channels[0], channels)
        last = nn.Linear(hidden, 2)
        self.scalars = nn.Sequential(nn.Linear(in_channels[-1], hidden), last)
        if initial_threshold is not None:
            nn.init.constant_(last.bias, initial_threshold)
        self.closeness = nn.Parameter(torch.full((1,), 0.5))
        self.background_expansion = nn.Linear(1, 1)
        self.mine_query = MaskedAttention(channels, scaled=scaled_attention, max_keys=max_keys)
        self.mine_support = MaskedAttention(channels, scaled=scaled_attention, max_keys=max_keys)
        self.foreground = _ClassMatch(channels, spatial_dims)
        self.background = _ClassMatch(channels, spatial_dims)

    @property
    def prototype_channels(self) -> tuple[int, ...]:
        """Those after the reduction."""
        return (self.channels,)

    def prototype_features(self, support: Features) -> Features:
        """The reduced first stage."""
        return (self._reduced(support[0].flatten(0, 1)).unflatten(0, support[0].shape[:2]),)

    def extract(self, support: Features, mask: Tensor) -> tuple[Prototypes, ...]:
        """The banks of both classes (B, 1 + P, C), the mean first; ``side`` says which entries are valid.

        Args:
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
        """
        features, counts = self._reduced(support[0].flatten(0, 1)), shots_that_count(mask)
        size = mask.shape[2:] if self.pool == "image" else features.shape[2:]
        on_grid = mask.flatten(0, 1) if self.pool == "image" else mask_on_grid(mask.flatten(0, 1), size)
        features, on_grid = (item.unflatten(0, mask.shape[:2]) for item in (resize(features, size), on_grid))
        window, stride = (self._on_grid(wanted, mask.shape[2:], size) for wanted in (self.window, self.stride))
        banks = [
            prototype_bank(
                features, of_class, counts, window=window, stride=stride, rate=rate, most=self.max_prototypes
            )
            for of_class, rate in ((~on_grid, 1.0), (on_grid, _FOREGROUND_RATE))
        ]
        return (prototypes_of(*banks),)

    def match(self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]) -> Prediction:
        """The query through prior masks, mining, expanded prototypes and both decoders.

        Args:
            query: (B, C, *S) at each level.
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
            prototypes: as extracted.
        """
        of_shots = self._scalars(support[-1].flatten(0, 1)).unflatten(0, mask.shape[:2])
        thresholds = _mean_of_counting(of_shots, mask)
        scalars = torch.cat([thresholds, self._scalars(query[-1])], dim=1)
        return self.match_with(scalars, query, support, mask, prototypes)

    def match_with(
        self, scalars: Tensor, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]
    ) -> Prediction:
        """As :meth:`match`, with given scalars (B, 4), in the order of the side output."""
        if mask.ndim - 2 < self.spatial_dims:
            raise UsageError("HCPMNet: decoder kernels of 3 axes for slices; expected spatial_dims=2, or volumes")
        features, shots = self._reduced(query[0]), self._reduced(support[0].flatten(0, 1))
        shots = shots.unflatten(0, mask.shape[:2])
        temperature = 1 + 10 * scalars[:, 2].sigmoid()
        banks = banks_of(prototypes[0])
        priors = self._priors(features, banks, scalars, temperature)
        share = self._share(mask, shots.shape[3:])
        expansions = self.background_expansion(scalars[:, 3:]).sigmoid(), scalars[:, 3:].sigmoid()
        logits = []
        for place, part in enumerate((self.background, self.foreground)):
            of_class = share if place else 1 - share
            own = self.mine_query(features, features, priors[place])
            pairs = zip(shots.unbind(1), of_class.unbind(1), strict=True)
            crossed = torch.stack([self.mine_support(features, shot, share_of) for shot, share_of in pairs], dim=1)
            weight = part.support_weight
            mined = (0.5 * own + weight * _mean_of_counting(crossed, mask)) / (0.5 + weight)
            bank = banks[place].expanded(mined, priors[place], expansions[place])
            logits.append(part.decoder(self._matched(mined, bank, temperature)))
        side = {"scalars": scalars, "prior": torch.cat(priors, dim=1).detach()}
        return Prediction(resize(torch.cat(logits, dim=1).float(), mask.shape[2:]), side)

    def loss(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The likelihood, taken of the logits, so that what is surely wrong has a gradient, too.

        Args:
            prediction: of the query.
            target: (B, *S), integers; ``medfs.losses.IGNORED`` voxels do not count.
        """
        weights = prediction.logits.new_tensor(self.alignment_class_weights)
        counted = (target != IGNORED).any()
        loss = F.cross_entropy(prediction.logits, target, weights, ignore_index=IGNORED)
        return loss if counted else prediction.logits.sum() * 0

    def swapped(self, prediction: Prediction) -> Matches:
        """This head bound to the scalars of the first direction, as published."""
        return Bound(self, prediction.side["scalars"])

    def _reduced(self, features: Tensor) -> Tensor:
        return self.reduce(features).float()

    def _scalars(self, features: Tensor) -> Tensor:
        return self.scalars(features.flatten(2).mean(dim=2)).float()

    def _on_grid(self, wanted: int | tuple[int, ...], image: Sequence[int], size: Sequence[int]) -> list[int]:
        """Voxels of the image along each axis as places of another grid, at least one."""
        each = (wanted,) * len(image) if isinstance(wanted, int) else wanted
        return [max(1, round(n * to / of)) for n, to, of in zip(each, size, image, strict=True)]

    def _share(self, mask: Tensor, size: Sequence[int]) -> Tensor:
        """How much of each place of the support's features is foreground, (B, K, 1, *s)."""
        flat = mask.flatten(0, 1)
        share = (
            resize(flat[:, None].float(), size) if self.pool == "image" else mask_on_grid(flat, size)[:, None].float()
        )
        return share.unflatten(0, mask.shape[:2])

    def _priors(
        self, features: Tensor, banks: Sequence[PrototypeBank], scalars: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where the query resembles background and foreground alone, each (B, 1, *s)."""
        masks = []
        for place, bank in enumerate(banks):
            similarity = angle_and_magnitude(features, bank.values, self.closeness)
            weight = bank.weights(similarity, temperature)
            threshold = scalars[:, place].view(-1, 1, *[1] * (features.ndim - 2))
            above = _PRIOR_SCALE * (weight * similarity).sum(dim=1, keepdim=True) - threshold
            masks.append(above.sigmoid() if self.prior == "soft" else (above > 0).to(features.dtype))
        background, foreground = masks
        return background * (1 - foreground), foreground * (1 - background)

    def _matched(self, mined: Tensor, bank: PrototypeBank, temperature: Tensor) -> Tensor:
        """What a decoder reads, (B, 2 C + 3, *s): mined features, matched prototypes and three similarities."""
        local, axes = bank.local(), [1] * (mined.ndim - 2)
        similarity = angle_and_magnitude(mined, local.values, self.closeness)
        weight = local.weights(similarity, temperature)
        found = torch.einsum("bpc,bp...->bc...", local.values, weight)
        total = (similarity * local.valid.view(*local.valid.shape, *axes)).sum(dim=1, keepdim=True)
        if self.mean_similarity:
            total = total / local.valid.sum(dim=1).clamp(min=1).view(-1, 1, *axes)
        best = (weight * similarity).sum(dim=1, keepdim=True)
        return torch.cat([mined, found, best, total, cosine_map(mined, bank.values[:, :1])], dim=1)


class _ClassMatch(nn.Module):
    """What each class has of its own: the weight of what is found in the support, and a decoder."""

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__()
        self.support_weight = nn.Parameter(torch.full((1,), 0.5))
        self.decoder = MatchDecoder(2 * channels + 3, channels, spatial_dims=spatial_dims)


def _mean_of_counting(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, K, ...) over the shots that count by their masks (B, K, *S)."""
    counts = shots_that_count(mask).to(values.dtype)
    weight = counts / counts.sum(dim=1, keepdim=True)
    return torch.einsum("bk...,bk->b...", values, weight)
