"""Whole volumes: supports encoded once with all their labels, the query by sliding window, memory bounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor

from medfs.errors import UsageError
from medfs.fewshot.batches import shrink_images, shrink_masks
from medfs.fewshot.heads import EpisodeHead
from medfs.fewshot.rules import NOT_SOUGHT, Guide
from medfs.fewshot.segmenters import ScanSegmenter
from medfs.fewshot.segmentor import FewShotSegmentor
from medfs.networks.encoders import relative_positions
from medfs.networks.functional import resize
from medfs.types import Features, Prediction, Prototypes

MOST_VOXELS = 2**22
"""A volume of 64 x 256 x 256; see the table of memory in docs/results/volumes_few_shot.md."""


@dataclass(frozen=True, eq=False, slots=True)
class SupportedOrgan:
    """What queries need of the supports of one organ.

    Attributes:
        stages: (1, K, C, *S) at each level.
        mask: (1, K, *S), bool.
        prototypes: as the head extracts them; None where they depend on the query.
    """

    stages: Features
    mask: Tensor
    prototypes: tuple[Prototypes, ...] | None


class VolumeMatcher:
    """Finds organs in whole volumes: prototypes once from the whole supports, the query at once or by sliding window.

    A volume of up to ``most_voxels`` goes through the network in one piece. A larger query is cut into overlapping
    windows of at most as many, whose probabilities are blended with Gaussian weights; heads whose threshold comes from
    the query then take it from each window. A larger support is cut to what surrounds its labels. So the memory of the
    network depends on ``most_voxels`` alone, whatever the size of the scan.

    Args:
        segmentor: a network for volumes; moved to the device, in evaluation mode from here on.
        most_voxels: that the network sees at once.
        overlap: share of a window that the next one covers again.
        device: where to compute.

    Raises:
        UsageError: the network is one for slices, or a number cannot be used.
    """

    def __init__(
        self,
        segmentor: FewShotSegmentor,
        *,
        most_voxels: int = MOST_VOXELS,
        overlap: float = 0.5,
        device: torch.device | str = "cpu",
    ) -> None:
        if segmentor.encoder.spatial_dims != 3:
            raise UsageError("the encoder takes slices; expected one for volumes, with spatial_dims 3")
        if most_voxels < 1 or not 0 <= overlap < 1:
            raise UsageError(f"{most_voxels} voxels at once, overlap {overlap}; expected at least 1, and 0 to below 1")
        self.segmentor, self.device = segmentor.to(device).eval(), device
        self.most_voxels, self.overlap = most_voxels, overlap

    def supports(
        self, images: Sequence[Tensor], masks: Mapping[int, Sequence[Tensor]], *, names: Sequence[str] = ()
    ) -> dict[int, SupportedOrgan]:
        """Encode K supports, each once for all organs.

        Supports that are too large are cut to what surrounds all their labels; smaller ones are padded at the end to
        the largest, with their lowest intensity.

        Args:
            images: (C, *S) of each support; S may differ.
            masks: (*S), bool, of each support, by organ; empty where a support lacks the organ.
            names: of the supports, for messages.

        Returns:
            One entry for each organ, in the order of ``masks``.

        Raises:
            UsageError: nothing is labelled, or the labels of a support reach over more voxels than fit at once.
        """
        crops = []
        for place in range(len(images)):
            labelled = torch.stack([torch.as_tensor(of_organ[place]) for of_organ in masks.values()]).any(dim=0)
            name = names[place] if names else f"support {place + 1}"
            crops.append(surroundings(labelled.cpu().numpy(), self.most_voxels, name))
        cut = [self.placed(image)[(slice(None), *crop)] for image, crop in zip(images, crops, strict=True)]
        size = [max(lengths) for lengths in zip(*(image.shape[1:] for image in cut), strict=True)]
        stages = self.encode([_grown(image, size, float(image[0].min())) for image in cut])
        organs = {}
        for value, of_organ in masks.items():
            shapes = [_grown(mask[crop], size, 0) for mask, crop in zip(of_organ, crops, strict=True)]
            organs[value] = self.organ(stages, torch.stack(shapes))
        return organs

    @torch.no_grad()
    def encode(self, images: Sequence[Tensor]) -> Features:
        """Features (1, K, C, *S) of K volumes (C, *S) of one size, each whole and by itself."""
        each = [self.segmentor.encoder(image[None].to(self.device)) for image in images]
        return tuple(torch.stack(level, dim=1) for level in zip(*each, strict=True))

    @torch.no_grad()
    def organ(self, stages: Features, mask: Tensor) -> SupportedOrgan:
        """One organ of encoded supports.

        Args:
            stages: of :meth:`encode`.
            mask: (K, *S), bool.
        """
        head, masks = self.segmentor.head, mask[None].to(self.device)
        depends = len(self.segmentor.plugins) or type(head).adapt is not EpisodeHead.adapt
        return SupportedOrgan(stages, masks, None if depends else head.extract(stages, masks))

    @torch.no_grad()  # not inference mode: heads that adapt to an episode need gradients of these features
    def foreground(self, image: Tensor, organs: Sequence[SupportedOrgan], encoded: Features | None = None) -> Tensor:
        """Probability of each organ (N, *S) in a volume, each by itself; on the device of the volume.

        The truth of the query is not among the arguments: nothing can leak.

        Args:
            image: (C, *S).
            organs: of :meth:`supports`.
            encoded: of :meth:`encode`, where the volume fits at once and was encoded before.
        """
        size = tuple(image.shape[1:])
        window = self.window(size)
        if window == size:
            stages = self.encode([self.placed(image)]) if encoded is None else encoded
            return self._probabilities(tuple(stage[:, 0] for stage in stages), size, organs)[0].to(image.device)
        found = sliding_window_inference(
            self.placed(image)[None],
            window,
            1,
            lambda part: self._probabilities(self.segmentor.encoder(part), part.shape[2:], organs),
            overlap=self.overlap,
            mode="gaussian",
            sw_device=self.device,
            device=image.device,
        )
        return cast(Tensor, found)[0]

    def window(self, size: Sequence[int]) -> tuple[int, ...]:
        """What of a volume of this size is seen at once, see :func:`window_size`."""
        return window_size(size, self.most_voxels)

    def placed(self, image: Tensor) -> Tensor:
        """A volume with the positions that its crops and windows will need, if the encoder wants any."""
        if not getattr(self.segmentor.encoder, "positions", False):
            return image
        return torch.cat([image, relative_positions(image.shape[1:]).to(image)])

    def _probabilities(self, query: Features, size: Sequence[int], organs: Sequence[SupportedOrgan]) -> Tensor:
        """(1, N, *size) of one window."""
        found = [resize(self._matched(query, organ).probability[:, 1:], size) for organ in organs]
        return torch.cat(found, dim=1)

    def _matched(self, query: Features, organ: SupportedOrgan) -> Prediction:
        if organ.prototypes is not None:
            return self.segmentor.head.match(query, organ.stages, organ.mask, organ.prototypes)
        with self.segmentor.head.adapt(query, organ.stages, organ.mask):
            return self.segmentor.match(query, organ.stages, organ.mask)


@dataclass(frozen=True, eq=False, slots=True)
class _PreparedVolume:
    """A query (1, *S) as the network sees it, its size in the file, and its features if it fits at once."""

    image: Tensor
    size: tuple[int, ...]
    stages: Features | None


class VolumeSegmenter(ScanSegmenter):
    """A few-shot network on whole volumes, in evaluation mode; 1-shot, the support annotated throughout.

    Under a rule that knows the query's slices it decides as without, and what it finds elsewhere is dropped.

    Args:
        segmentor: a network for volumes; moved to the device.
        size: slices are shrunk as in training, see :class:`~medfs.fewshot.EpisodeBatches`; results are not.
        level: probability above which a voxel is foreground, published one half; None sets it on the support, where it
            gives the highest Dice. The losses of the heads count the background a tenth, so that one half finds too
            much.
        options: of :class:`VolumeMatcher`.

    Raises:
        UsageError: the network is one for slices, or the level is no probability between 0 and 1.
    """

    def __init__(
        self, segmentor: FewShotSegmentor, *, size: int | None = None, level: float | None = 0.5, **options: Any
    ) -> None:
        if level is not None and not 0 < level < 1:
            raise UsageError(f"level {level}; expected a probability between 0 and 1")
        self.matcher, self.size, self.level = VolumeMatcher(segmentor, **options), size, level
        self._support: tuple[Any, tuple[slice, ...], Features] | None = None
        self._found: tuple[Any, Any, Any, NDArray[np.bool_]] | None = None
        self._levels: dict[bytes, float] = {}

    def prepare(self, image: NDArray[np.float32]) -> _PreparedVolume:
        """As :meth:`ScanSegmenter.prepare`."""
        volume = self._volume(image)
        whole = self.matcher.window(volume.shape[1:]) == tuple(volume.shape[1:])
        return _PreparedVolume(volume, image.shape, self.matcher.encode([volume]) if whole else None)

    def segment(
        self, query: _PreparedVolume, image: NDArray[np.float32], mask: NDArray[np.bool_], guide: Guide
    ) -> NDArray[np.bool_]:
        """As :meth:`ScanSegmenter.segment`; foreground where its probability is above the level.

        Raises:
            UsageError: the guide is of a rule that annotates single slices.
        """
        if not guide.whole:
            raise UsageError("a network for volumes sees the whole support; expected a rule that annotates all of it")
        last = self._found  # all rules that are asked for one organ share what was found
        if last is None or not (last[0] is query and last[1] is image and last[2] is mask):
            last = self._found = (query, image, mask, self._segmented(query, image, mask))
        return last[3] & (guide.twin != NOT_SOUGHT)[:, None, None]

    def _segmented(
        self, query: _PreparedVolume, image: NDArray[np.float32], mask: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        shape = torch.from_numpy(np.ascontiguousarray(mask))
        shape = shape if self.size is None else shrink_masks(shape, self.size)
        crop = surroundings(shape.numpy(), self.matcher.most_voxels)
        last = self._support
        if last is None or last[0] is not image or last[1] != crop:
            stages = self.matcher.encode([self.matcher.placed(self._volume(image))[(slice(None), *crop)]])
            last = self._support = (image, crop, stages)
            self._levels = {}
        cut = shape[crop]
        organ = self.matcher.organ(last[2], cut[None])
        found = self.matcher.foreground(query.image, [organ], query.stages)
        level = self._level_on_support(organ, last[2], cut) if self.level is None else self.level
        return (resize(found[None], query.size)[0, 0] > level).numpy()

    def _level_on_support(self, organ: SupportedOrgan, stages: Features, mask: Tensor) -> float:
        key = np.packbits(mask.numpy()).tobytes()
        if key not in self._levels:
            own = self.matcher.foreground(torch.empty(1, *mask.shape), [organ], stages)
            self._levels[key] = best_level(own[0].numpy(), mask.numpy())
        return self._levels[key]

    def _volume(self, image: NDArray[np.float32]) -> Tensor:
        """(1, slices, rows, columns) as the network sees it."""
        volume = torch.from_numpy(np.array(image, np.float32))[None]
        return volume if self.size is None else shrink_images(volume, self.size)


def best_level(probability: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """The level of a probability above which lies what has the highest Dice with a mask, which is not empty.

    Tried are the probabilities below which 0 to 90 % of the foreground lie.

    >>> best_level(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, False, True, True])) < 0.3
    True
    """
    inside, every = np.sort(probability[mask]), np.sort(probability, axis=None)
    levels = np.nextafter(np.quantile(inside, np.linspace(0, 0.9, 91), method="lower"), -np.inf)
    right, found = (len(values) - np.searchsorted(values, levels, "right") for values in (inside, every))
    return float(levels[np.argmax(2 * right / (found + len(inside)))])


def window_size(size: Sequence[int], most_voxels: int) -> tuple[int, ...]:
    """The largest window of at most so many voxels: the longest axis is halved until it fits.

    >>> window_size((36, 256, 256), 2**22), window_size((36, 256, 256), 2**20)
    ((36, 256, 256), (36, 128, 128))
    """
    window = list(size)
    while prod(window) > most_voxels:
        longest = window.index(max(window))
        window[longest] = -(-window[longest] // 2)
    return tuple(window)


def surroundings(mask: NDArray[np.bool_], most_voxels: int, name: str = "support") -> tuple[slice, ...]:
    """The part of a volume of at most so many voxels that lies around what is labelled; all of it, if it fits.

    Args:
        mask: (*S).
        most_voxels: in the part.
        name: of the volume, for messages.

    Raises:
        UsageError: nothing is labelled, or the labels alone reach over more voxels.
    """
    places = np.argwhere(mask)
    if not len(places):
        raise UsageError(f"{name}: nothing is labelled; expected a support that shows an organ to look for")
    if mask.size <= most_voxels:
        return tuple(slice(0, length) for length in mask.shape)
    first, last = places.min(axis=0), places.max(axis=0) + 1
    if prod(int(n) for n in last - first) > most_voxels:
        raise UsageError(
            f"{name}: its labels reach over {' x '.join(map(str, last - first))} voxels, but {most_voxels} fit at "
            "once; expected fewer: take a coarser grid or allow more"
        )
    low, high = 0, max(mask.shape)
    while low < high:  # the widest margin that fits
        margin = (low + high + 1) // 2
        extent = np.minimum(last + margin, mask.shape) - np.maximum(first - margin, 0)
        low, high = (margin, high) if prod(int(n) for n in extent) <= most_voxels else (low, margin - 1)
    starts, stops = np.maximum(first - low, 0), np.minimum(last + low, mask.shape)
    return tuple(slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True))


def _grown(volume: Tensor, size: Sequence[int], value: float) -> Tensor:
    """The last three axes grown to a size at their ends."""
    missing = [wanted - length for wanted, length in zip(size, volume.shape[-3:], strict=True)]
    if not any(missing):
        return volume
    return F.pad(volume, [n for after in reversed(missing) for n in (0, after)], value=value)
