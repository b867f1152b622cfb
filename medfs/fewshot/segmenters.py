"""What a protocol evaluates: a network, or the baseline that copies the mask of the support."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfs.errors import UsageError
from medfs.fewshot.batches import shrink_images, shrink_masks
from medfs.fewshot.rules import NOT_SOUGHT, Guide
from medfs.fewshot.segmentor import FewShotSegmentor
from medfs.metrics.conventions import resize_nearest
from medfs.networks.functional import resize
from medfs.types import Features

_SLICES_AT_ONCE = 8


class ScanSegmenter(ABC):
    """Segments one organ of a scan from another scan, slice by slice.

    The truth of the query is not among the arguments: nothing can leak.
    """

    @abstractmethod
    def prepare(self, image: NDArray[np.float32]) -> Any:
        """What is computed once of a query (slices, rows, columns), for all organs, supports and rules."""

    @abstractmethod
    def segment(
        self, query: Any, image: NDArray[np.float32], mask: NDArray[np.bool_], guide: Guide, organ: str = ""
    ) -> NDArray[np.bool_]:
        """The organ in a query, (slices, rows, columns).

        Args:
            query: what :meth:`prepare` gave.
            image: the support (slices, rows, columns).
            mask: of the organ there. Methods look at the annotated slices that the guide names, and no others.
            guide: which support slice stands for which slice of the query.
            organ: its name, for networks that read texts.
        """


@dataclass(frozen=True, eq=False, slots=True)
class _EncodedScan:
    """Features of the slices of a scan, (slices, C, *S) at each level, and its rows and columns."""

    stages: Features
    size: tuple[int, int]


class NetworkSegmenter(ScanSegmenter):
    """A few-shot network on slices, in evaluation mode; 1-shot, each slice by itself, as published.

    The features of one query stay in memory: about 24 MB a slice for a ResNet-101 at 256 pixels.

    Args:
        segmentor: a network for slices; moved to the device.
        size: slices are shrunk as in training, see :class:`~medfs.fewshot.EpisodeBatches`; results are not.
        device: where to compute.

    Raises:
        UsageError: the network is one for volumes.
    """

    def __init__(
        self, segmentor: FewShotSegmentor, *, size: int | None = None, device: torch.device | str = "cpu"
    ) -> None:
        if segmentor.encoder.spatial_dims != 2:
            raise UsageError("the protocols show slices, but the encoder takes volumes; expected spatial_dims 2")
        self.segmentor, self.size, self.device = segmentor.to(device).eval(), size, device

    @torch.no_grad()
    def prepare(self, image: NDArray[np.float32]) -> _EncodedScan:
        """As :meth:`ScanSegmenter.prepare`."""
        blocks = [
            self.segmentor.encoder(self._images(image[start : start + _SLICES_AT_ONCE]))
            for start in range(0, len(image), _SLICES_AT_ONCE)
        ]
        stages = tuple(torch.cat(level) for level in zip(*blocks, strict=True))
        return _EncodedScan(stages, (image.shape[1], image.shape[2]))

    @torch.no_grad()  # not inference mode: heads that adapt to an episode need gradients of these features
    def segment(
        self,
        query: _EncodedScan,
        image: NDArray[np.float32],
        mask: NDArray[np.bool_],
        guide: Guide,
        organ: str = "",
    ) -> NDArray[np.bool_]:
        """As :meth:`ScanSegmenter.segment`; foreground where it is the more probable class."""
        found = np.zeros((len(guide.shown), *query.size), bool)
        text = self.segmentor.texts((organ,) if organ else ())
        for shown in np.unique(guide.shown[guide.shown != NOT_SOUGHT]):
            stages = self.segmentor.encoder(self._images(image[shown : shown + 1]))
            shape = torch.from_numpy(np.ascontiguousarray(mask[shown : shown + 1]))[None].to(self.device)
            shape = shape if self.size is None else shrink_masks(shape, self.size)
            places = np.flatnonzero(guide.shown == shown)
            for start in range(0, len(places), _SLICES_AT_ONCE):
                chosen = places[start : start + _SLICES_AT_ONCE]
                found[chosen] = self._matched(query, chosen, stages, shape, text).cpu().numpy()
        return found

    def _matched(
        self, query: _EncodedScan, chosen: NDArray[np.intp], support: Features, mask: Tensor, text: Tensor | None
    ) -> Tensor:
        count = len(chosen)
        stages = tuple(stage[torch.from_numpy(chosen).to(stage.device)] for stage in query.stages)
        shared = tuple(stage[None].expand(count, *stage.shape) for stage in support)
        masks = mask.expand(count, *mask.shape[1:])
        told = None if text is None else text.expand(count, *text.shape[1:])
        prediction = self.segmentor.match_tuned(stages, shared, masks, told)
        return resize(prediction.probability[:, 1:], query.size)[:, 0] > 0.5

    def _images(self, image: NDArray[np.float32]) -> Tensor:
        """Slices (n, 1, rows, columns) as the network sees them."""
        slices = torch.from_numpy(np.array(image, np.float32))[:, None].to(self.device)
        return slices if self.size is None else shrink_images(slices, self.size)


class CopySegmenter(ScanSegmenter):
    """The baseline that looks at no image: the support's mask at the same place, stretched to the query's slices.

    It uses the annotation of the whole support scan, not of three slices.
    """

    def prepare(self, image: NDArray[np.float32]) -> tuple[int, ...]:
        """As :meth:`ScanSegmenter.prepare`."""
        return image.shape

    def segment(
        self,
        query: tuple[int, ...],
        image: NDArray[np.float32],
        mask: NDArray[np.bool_],
        guide: Guide,
        organ: str = "",
    ) -> NDArray[np.bool_]:
        """As :meth:`ScanSegmenter.segment`."""
        copied = np.zeros(query, bool)
        sought = guide.twin != NOT_SOUGHT
        twins = mask[guide.twin[sought]]
        copied[sought] = resize_nearest(twins, (len(twins), *query[1:]))
        return copied
