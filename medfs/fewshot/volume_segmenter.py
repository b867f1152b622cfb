"""Whole volumes under a protocol: masks of a query from one support, decided at a level."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfs.errors import UsageError
from medfs.fewshot.batches import shrink_images, shrink_masks
from medfs.fewshot.rules import NOT_SOUGHT, Guide
from medfs.fewshot.segmenters import ScanSegmenter
from medfs.fewshot.segmentor import FewShotSegmentor
from medfs.fewshot.volume_windows import surroundings
from medfs.fewshot.volumes import SupportedOrgan, VolumeMatcher
from medfs.networks.functional import resize
from medfs.types import Features


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
        self,
        query: _PreparedVolume,
        image: NDArray[np.float32],
        mask: NDArray[np.bool_],
        guide: Guide,
        organ: str = "",
    ) -> NDArray[np.bool_]:
        """As :meth:`ScanSegmenter.segment`; foreground where its probability is above the level.

        Raises:
            UsageError: the guide is of a rule that annotates single slices.
        """
        if not guide.whole:
            raise UsageError("a network for volumes sees the whole support; expected a rule that annotates all of it")
        last = self._found  # all rules that are asked for one organ share what was found
        if last is None or not (last[0] is query and last[1] is image and last[2] is mask):
            last = self._found = (query, image, mask, self._segmented(query, image, mask, organ))
        return last[3] & (guide.twin != NOT_SOUGHT)[:, None, None]

    def _segmented(
        self, query: _PreparedVolume, image: NDArray[np.float32], mask: NDArray[np.bool_], name: str
    ) -> NDArray[np.bool_]:
        shape = torch.from_numpy(np.ascontiguousarray(mask))
        shape = shape if self.size is None else shrink_masks(shape, self.size)
        (crop,) = surroundings([shape.numpy()], self.matcher.most_voxels)
        last = self._support
        if last is None or last[0] is not image or last[1] != crop:
            stages = self.matcher.encode([self.matcher.placed(self._volume(image))[(slice(None), *crop)]])
            last = self._support = (image, crop, stages)
            self._levels = {}
        cut = shape[crop]
        organ = self.matcher.organ(last[2], cut[None], name or None)
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
