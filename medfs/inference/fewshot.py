"""A folder segmented from one labelled scan, or a few: slice by slice, without an oracle."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medfs.anatomy import LabelSet
from medfs.errors import UsageError
from medfs.fewshot import FewShotSegmentor, SupportedSegmentor, head_classes
from medfs.fewshot.positions import PARTS, BodyRange, annotated_slices
from medfs.inference.calibration import best_offset
from medfs.inference.working_grid import LabelledScan, WorkingGrid
from medfs.io import Volume
from medfs.metrics import OrganScore, score_case
from medfs.networks import ResNetEncoder
from medfs.transforms import argmax_on_grid

_SLICES_AT_ONCE = 8
_UNTRAINED_DEPTH = 18

UNTRAINED = (
    "no --checkpoint: the network is untrained. Its random features follow edges and brightness, not anatomy; "
    "from one CHAOS MR scan to 19 others the mean Dice was 0.27; copying the mask by position gave 0.32. "
    "Use the result to try the command, not as a segmentation."
)
"""What a user without a checkpoint has to know."""


class FewShotSegmenter:
    """Labels of scans from K labelled ones: from volume to labels on its own grid.

    A slice of the query is shown the support slice that stands for its part of the organ, chosen by the place along
    the body axis (:mod:`medfs.fewshot.positions`); beyond the supports' range and a margin an organ is not looked for.
    Every organ is one binary episode, all share the features of the query, and the most probable organ wins a voxel.

    The features of three slices for each organ and support stay in memory, about 25 MB each for a ResNet-101 at 256
    pixels; the query passes in blocks of slices.

    Args:
        segmentor: a network for slices, in evaluation mode.
        supports: labelled scans; an organ may be missing in some.
        label_set: the meaning of their label values.
        organs: names to look for; None for all that a support shows.
        size: see :class:`medfs.inference.working_grid.WorkingGrid`.
        modality: see :class:`WorkingGrid`.
        device: where to compute.
        calibrate: set the decision of each organ on the supports themselves, see :mod:`medfs.inference.calibration`.

    Raises:
        UsageError: a label has no meaning, or a wanted organ is shown by no support.
    """

    def __init__(
        self,
        segmentor: FewShotSegmentor,
        supports: Sequence[LabelledScan],
        label_set: LabelSet,
        *,
        organs: Sequence[str] | None = None,
        size: int = 256,
        modality: str = "mr",
        device: torch.device | str = "cpu",
        calibrate: bool = False,
    ) -> None:
        self.segmentor, self.label_set, self.device = segmentor.to(device).eval(), label_set, device
        self.grid = WorkingGrid(supports[0].image, size=size, modality=modality)
        self.values = _wanted(supports, label_set, organs)
        images = [self.grid.image(scan.image) for scan in supports]
        labels = [self.grid.labels(scan.labels).numpy()[:, 0] for scan in supports]
        self.ranges = {value: BodyRange.of_masks([each == value for each in labels]) for value in self.values}
        pairs = product(self.values, range(PARTS))
        self.supported = {pair: self._supported(images, labels, *pair) for pair in pairs}
        self.offsets = dict.fromkeys(self.values, 0.0)
        if calibrate:
            self.offsets = self._calibrated(images, labels)

    def __call__(self, volume: Volume) -> np.ndarray:
        """Labels (X, Y, Z) of a scan on its own grid."""
        image = self.grid.image(volume)
        odds = self._log_odds(image)
        foreground = torch.stack([(odds[value] - self.offsets[value]).sigmoid() for value in self.values])
        scores = torch.cat([1 - foreground.amax(dim=0, keepdim=True), foreground]).permute(0, 3, 2, 1)
        place = argmax_on_grid(scores, np.asarray(image.affine, np.float64), volume.array.shape, volume.affine)
        return np.asarray([0, *self.values], np.uint8)[place.numpy()]

    @torch.inference_mode()
    def _log_odds(self, image: Tensor) -> dict[int, Tensor]:
        """Log odds (Z, Y, X) of each organ; minus infinity where it is not looked for."""
        slices, size = image.as_subclass(Tensor), image.shape[2:]
        odds = {value: torch.full((len(slices), *size), -torch.inf) for value in self.values}
        parts = {value: [self.ranges[value].part(z, len(slices)) for z in range(len(slices))] for value in self.values}
        for start in range(0, len(slices), _SLICES_AT_ONCE):
            block = range(start, min(start + _SLICES_AT_ONCE, len(slices)))
            if not any(parts[value][z] is not None for value in self.values for z in block):
                continue
            stages = self.segmentor.encoder(slices[block.start : block.stop].to(self.device))
            for (value, part), supported in self.supported.items():
                if chosen := [z for z in block if parts[value][z] == part]:
                    query = tuple(stage[[z - start for z in chosen]] for stage in stages)
                    odds[value][chosen] = supported.foreground(query, size)[:, 0].logit().cpu()
        return odds

    @torch.inference_mode()
    def _supported(
        self, images: Sequence[Tensor], labels: Sequence[np.ndarray], value: int, part: int
    ) -> SupportedSegmentor:
        """The network with the slices of one part of an organ inside, one for each support that shows it."""
        shots = []
        for image, label in zip(images, labels, strict=True):
            if chosen := annotated_slices(label == value):
                index = chosen[part]
                shots.append((image[index].as_subclass(Tensor), torch.from_numpy(label[index] == value)))
        size = [max(mask.shape[axis] for _, mask in shots) for axis in (0, 1)]
        pictures = torch.stack([_grown(picture, size, float(picture.min())) for picture, _ in shots])
        masks = torch.stack([_grown(mask, size, 0) for _, mask in shots])
        return self.segmentor.for_supports(pictures[None].to(self.device), masks[None].to(self.device))

    def _calibrated(self, images: Sequence[Tensor], labels: Sequence[np.ndarray]) -> dict[int, float]:
        odds = [self._log_odds(image) for image in images]
        return {
            value: best_offset(
                np.concatenate([each[value].numpy().ravel() for each in odds]),
                np.concatenate([label.ravel() == value for label in labels]),
            )
            for value in self.values
        }


def leave_one_out(
    segmentor: FewShotSegmentor, scans: Mapping[str, LabelledScan], label_set: LabelSet, **options: object
) -> list[OrganScore]:
    """Segment each labelled scan from the others and score it: what can be expected before anything is segmented.

    Args:
        segmentor: the network.
        scans: at least two, by name.
        label_set: the meaning of their label values.
        options: of :class:`FewShotSegmenter`.
    """
    rows = []
    for name, scan in scans.items():
        others = [other for other_name, other in scans.items() if other_name != name]
        segmenter = FewShotSegmenter(segmentor, others, label_set, **options)  # type: ignore[arg-type]
        organs = {value: label_set.names[value] for value in segmenter.values if (scan.labels.array == value).any()}
        if organs:
            rows += score_case(segmenter(scan.image), scan.labels.array, scan.image.spacing_mm, organs, case=name)
    return rows


def untrained_segmentor(head: str = "dmap", seed: int = 0) -> FewShotSegmentor:
    """A small network with random weights, the same for one seed: what is left when there is no checkpoint.

    Args:
        head: name of the method, in any case, with or without ``Head``.
        seed: of the weights.

    Raises:
        UsageError: no such method.
    """
    known = {name.removesuffix("Head").lower(): each for name, each in head_classes().items()}
    if head.lower().removesuffix("head") not in known:
        raise UsageError(f"no head {head!r}; expected one of {', '.join(known)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = ResNetEncoder(_UNTRAINED_DEPTH)
        return FewShotSegmentor(encoder, known[head.lower().removesuffix("head")](encoder.out_channels)).eval()


def _wanted(supports: Sequence[LabelledScan], label_set: LabelSet, organs: Sequence[str] | None) -> list[int]:
    """Label values to look for."""
    present = sorted({int(value) for scan in supports for value in np.unique(scan.labels.array)} - {0})
    if present[-1] >= len(label_set):
        named = ", ".join(label_set.names[1:])
        raise UsageError(f"label value {present[-1]} has no name; the label set has 1 to {len(label_set) - 1}: {named}")
    if organs is None:
        return present
    shown_names = {label_set.names[value]: value for value in present}
    if missing := [name for name in organs if name not in shown_names]:
        raise UsageError(f"no support shows {', '.join(missing)}; they show {', '.join(shown_names)}")
    return [shown_names[name] for name in organs]


def _grown(picture: Tensor, size: Sequence[int], value: float) -> Tensor:
    """Rows and columns added at the end."""
    rows, columns = (wanted - n for wanted, n in zip(size, picture.shape[-2:], strict=True))
    return F.pad(picture, (0, columns, 0, rows), value=value) if rows or columns else picture
