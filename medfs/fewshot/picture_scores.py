"""How well a network finds the classes of a set of pictures: the benchmark of cross-domain few-shot segmentation."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medfs.errors import UsageError
from medfs.fewshot.picture_episodes import PictureDraw, PictureEpisodes
from medfs.fewshot.pictures import PictureItem
from medfs.fewshot.segmentor import FewShotSegmentor
from medfs.metrics import ClassIoU
from medfs.networks.functional import resize
from medfs.types import Features

_KEPT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class PictureScore:
    """One run of episodes.

    Attributes:
        shots: supports of each episode.
        seed: of the episodes.
        episodes: how many.
        iou: intersections and unions of each class.
    """

    shots: int
    seed: int
    episodes: int
    iou: ClassIoU

    def row(self) -> dict[str, float]:
        """For a table."""
        return {"shots": self.shots, "seed": self.seed, "episodes": self.episodes, **self.iou.row()}


class PictureSegmenter:
    """A few-shot network in evaluation mode that encodes each picture once, whichever episodes show it.

    Features stay in memory up to 1 GB.

    Args:
        segmentor: a network for slices; moved to the device.
        device: where to compute.

    Raises:
        UsageError: the network is one for volumes.
    """

    def __init__(self, segmentor: FewShotSegmentor, device: torch.device | str = "cpu") -> None:
        if segmentor.encoder.spatial_dims != 2:
            raise UsageError("pictures are flat, but the encoder takes volumes; expected spatial_dims 2")
        self.segmentor, self.device = segmentor.to(device).eval(), device
        self._kept: OrderedDict[PictureItem, Features] = OrderedDict()

    def score(self, episodes: PictureEpisodes) -> ClassIoU:
        """Segment the first epoch of some episodes, each with the head tuned to it (:meth:`EpisodeHead.adapt`).

        The dataset has to be the same at every call.
        """
        iou = ClassIoU()
        for place in range(len(episodes)):
            draw = episodes.draw(place)
            truth, valid = episodes.pictures.masks(draw.query, draw.class_name)
            iou.update(draw.class_name, self.segment(episodes, draw).numpy(), truth.numpy(), valid.numpy())
        return iou

    @torch.no_grad()  # not inference mode: heads that adapt to an episode need gradients of these features
    def segment(self, episodes: PictureEpisodes, draw: PictureDraw) -> Tensor:
        """The class in the query (rows, columns), bool; foreground where it is the more probable class."""
        query = self._features(episodes, draw.query)
        supports = [self._features(episodes, item) for item in draw.supports]
        stacked = tuple(torch.stack(level, dim=1) for level in zip(*supports, strict=True))
        masks = torch.stack([episodes.pictures.masks(item, draw.class_name)[0] for item in draw.supports])
        masks = masks[None].to(self.device)
        text = self.segmentor.texts([draw.class_name])
        prediction = self.segmentor.match_tuned(query, stacked, masks, text)
        return (resize(prediction.probability[:, 1:], masks.shape[2:])[0, 0] > 0.5).cpu()

    def _features(self, episodes: PictureEpisodes, item: PictureItem) -> Features:
        """Stages (1, C, *S) of a picture."""
        if item in self._kept:
            self._kept.move_to_end(item)
            return self._kept[item]
        stages = self.segmentor.encoder(episodes.pictures.image(item)[None].to(self.device))
        self._kept[item] = stages
        size = sum(stage.nbytes for stage in stages)
        while len(self._kept) > max(1, _KEPT_BYTES // size):
            self._kept.popitem(last=False)
        return self._kept[item]


def score_pictures(
    segmentor: FewShotSegmentor, runs: Sequence[PictureEpisodes], device: torch.device | str = "cpu"
) -> list[PictureScore]:
    """Score a network on runs of episodes of one dataset, which differ in shots or seed.

    Raises:
        UsageError: the network is one for volumes, the runs are not of one dataset, or the network reads texts and has
            none of a class.
    """
    if len({id(run.pictures) for run in runs}) > 1:
        raise UsageError("runs of different datasets; expected one")
    segmenter = PictureSegmenter(segmentor, device)
    return [PictureScore(run.shots, run.seed, len(run), segmenter.score(run)) for run in runs]
