"""Scans segmented from one labelled scan, or a few, without an oracle."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from medfs.anatomy import LabelSet
from medfs.body_mask import body_mask
from medfs.errors import UsageError
from medfs.fewshot import FewShotSegmentor, head_classes
from medfs.inference.agreement import agreement_percent
from medfs.inference.calibration import best_offset
from medfs.inference.ladder import Ladder
from medfs.inference.native_grid import labels_of_blocks
from medfs.inference.slice_odds import OrganOdds, SliceOdds, WorkingScan
from medfs.inference.volume_odds import VolumeOdds
from medfs.inference.working_grid import LabelledScan, WorkingGrid
from medfs.io import Volume
from medfs.io.names import shown
from medfs.metrics import OrganScore, score_case
from medfs.networks import ResNetEncoder

_UNTRAINED_DEPTH = 18
_LABELLED_INSIDE = 0.999  # share of labelled voxels; a few on the skin do not count

UNTRAINED = (
    "no --checkpoint: the network is untrained. Its random features follow edges and brightness, not anatomy; "
    "from one CHAOS MR scan to 19 others the mean Dice was 0.27; copying the mask by position gave 0.32. "
    "Use the result to try the command, not as a segmentation."
)
"""What a user without a checkpoint has to know."""


class FewShotSegmenter:
    """Labels of scans from K labelled ones: from volume to labels on its own grid.

    The supports give the odds of each organ on the working grid (:class:`~medfs.inference.slice_odds.SliceOdds` or
    :class:`~medfs.inference.volume_odds.VolumeOdds`); the most probable organ wins a voxel. Scores exist for a block of
    slices at a time, for networks of volumes for all slices.

    Args:
        segmentor: a network for slices or for volumes.
        supports: labelled scans; an organ may be missing in some.
        label_set: the meaning of their label values.
        organs: names to look for; None for all that a support shows.
        size: pixels, see :class:`medfs.inference.working_grid.WorkingGrid`. None takes 256 for a network of slices; one
            of volumes then gets the spacing of its encoder, or the voxels of the first support if that says nothing.
        modality: see :class:`WorkingGrid`.
        device: where to compute.
        calibrate: set the decision of each organ on the supports themselves, see :mod:`medfs.inference.calibration`.
        alone: ask each support alone as well, for :meth:`with_agreement`; matters with two supports or more.
        body: look for organs within :func:`medfs.body_mask.body_mask` alone, not in air. None does so if the masks of
            the supports hold all that is labelled there, which they do not where scans are cropped inside the body.

    Raises:
        UsageError: a label has no meaning, or a wanted organ is shown by no support or too small for the grid.
    """

    def __init__(
        self,
        segmentor: FewShotSegmentor,
        supports: Sequence[LabelledScan],
        label_set: LabelSet,
        *,
        organs: Sequence[str] | None = None,
        size: int | None = None,
        modality: str = "mr",
        device: torch.device | str = "cpu",
        calibrate: bool = False,
        alone: bool = False,
        body: bool | None = None,
    ) -> None:
        self.label_set = label_set
        self.grid = WorkingGrid.of_network(segmentor.encoder, supports[0].image, size, modality)
        self.values = _wanted(supports, label_set, organs)
        images = [self.grid.image(scan.image) for scan in supports]
        labels = [self.grid.labels(scan.labels).numpy()[:, 0] for scan in supports]
        self.shows = {value: [bool((label == value).any()) for label in labels] for value in self.values}
        self.body = _holds(images, labels) if body is None else body
        self._require_visible()
        working = [
            WorkingScan(image.as_subclass(Tensor), each, shown(scan.image.path))
            for scan, image, each in zip(supports, images, labels, strict=True)
        ]
        self.groups = [range(len(supports))]
        if alone and len(supports) > 1:
            self.groups += [range(index, index + 1) for index in range(len(supports))]
        odds = VolumeOdds if segmentor.encoder.spatial_dims == 3 else SliceOdds
        names = [label_set.names[value] for value in self.values]
        self.odds: OrganOdds = odds(segmentor.to(device).eval(), working, self.values, self.groups, device, names)
        self.ladder = Ladder(self._rungs())
        self.offsets = torch.zeros(len(self.groups), len(self.values))
        if calibrate:
            self.offsets = self._calibrated(images, labels)

    def __call__(self, volume: Volume) -> np.ndarray:
        """Labels (X, Y, Z) of a scan on its own grid."""
        return self.ladder(volume, 1)[0]

    def with_agreement(self, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
        """Labels (X, Y, Z) of a scan, and how far the supports agree, see :mod:`medfs.inference.agreement`.

        Raises:
            UsageError: the supports are not asked alone, or there is one only.
        """
        if len(self.groups) == 1:
            raise UsageError("no support was asked alone; expected two or more, and alone=True")
        labels, *each = self.ladder(volume, len(self.groups))
        return labels, agreement_percent(labels, each, self.shows)

    def _rungs(self) -> list[tuple[str, Callable[..., list[np.ndarray]]]]:
        """The usual way, and with fewer slices at once."""
        most = self.odds.slices_at_once
        rungs: list[tuple[str, Callable[..., list[np.ndarray]]]] = [("", partial(self._labels, slices_at_once=most))]
        if most > 1:
            rungs.append(("two slices at a time", partial(self._labels, slices_at_once=2)))
            rungs.append(("one slice at a time", partial(self._labels, slices_at_once=1)))
        return rungs

    def _labels(self, volume: Volume, groups: int, *, slices_at_once: int) -> list[np.ndarray]:
        """Labels by the first groups of supports."""
        self.odds.slices_at_once = slices_at_once
        image = self.grid.image(volume)
        affine = np.asarray(image.affine, np.float64)
        places = labels_of_blocks(self._scores(image, groups), len(image), affine, volume.array.shape, volume.affine)
        values = np.asarray([0, *self.values], np.uint8)
        return [values[place] for place in places]

    def _scores(self, image: MetaTensor, groups: int) -> Iterator[tuple[range, Tensor]]:
        """Blocks of slices with probabilities (G, 1 + N, n, Y, X), background first."""
        for block, odds in self._odds(image, range(groups)):
            foreground = (odds - self.offsets[:groups, :, None, None, None]).sigmoid()
            yield block, torch.cat([1 - foreground.amax(dim=1, keepdim=True), foreground], dim=1)

    def _odds(self, image: MetaTensor, groups: Sequence[int]) -> Iterator[tuple[range, Tensor]]:
        """Blocks of slices with log odds (G, N, n, Y, X), minus infinity where no organ is looked for."""
        body = torch.from_numpy(_body(image)) if self.body else None
        for block, odds in self.odds.blocks(image.as_subclass(Tensor), groups):
            yield block, odds if body is None else odds.masked_fill(~body[block.start : block.stop], -torch.inf)

    def _require_visible(self) -> None:
        """Return if every organ has a voxel in some support on the working grid."""
        if lost := [self.label_set.names[value] for value, showing in self.shows.items() if not any(showing)]:
            voxels = " x ".join(f"{mm:.3g}" for mm in self.grid.spacing_mm)
            raise UsageError(
                f"{', '.join(lost)}: too small in the supports for the network's voxels of {voxels} mm; expected other "
                "organs, or a larger size"
            )

    def _calibrated(self, images: Sequence[MetaTensor], labels: Sequence[np.ndarray]) -> Tensor:
        """The offset (G, N) of each organ by each group: that with the highest Dice on the group's own supports."""
        offsets = torch.zeros(len(self.groups), len(self.values))
        kept: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            asked = [number for number, group in enumerate(self.groups) if index in group]
            for block, odds in self._odds(image, asked):
                for (place, number), (organ, value) in product(enumerate(asked), enumerate(self.values)):
                    scores, truth = odds[place, organ].numpy(), label[block.start : block.stop] == value
                    counts = np.isfinite(scores) | truth  # what is neither sought nor missed changes no Dice
                    kept[number, organ].append((scores[counts], truth[counts]))
            for number, organ in [place for place in kept if self.groups[place[0]][-1] == index]:
                offsets[number, organ] = best_offset(*map(np.concatenate, zip(*kept.pop((number, organ)), strict=True)))
        return offsets


def leave_one_out(
    segmentor: FewShotSegmentor,
    scans: Mapping[str, LabelledScan],
    label_set: LabelSet,
    *,
    organs: Sequence[str] | None = None,
    size: int | None = None,
    modality: str = "mr",
    **options: object,
) -> list[OrganScore]:
    """Segment each labelled scan from the others and score it: what can be expected before anything is segmented.

    Organs that no other scan shows, or none on the working grid, are not looked for in a scan.

    Args:
        segmentor: the network.
        scans: at least two, by name.
        label_set: the meaning of their label values.
        organs: as of :class:`FewShotSegmenter`.
        size: likewise.
        modality: likewise.
        options: further ones of :class:`FewShotSegmenter`.

    Returns:
        A row for each organ of each scan that another one shows; empty if there is none.

    Raises:
        UsageError: a label has no meaning, or a wanted organ is shown by no scan.
    """
    rows = []
    wanted = _wanted(list(scans.values()), label_set, organs)
    for name, scan in scans.items():
        others = [other for other_name, other in scans.items() if other_name != name]
        grid = WorkingGrid.of_network(segmentor.encoder, others[0].image, size, modality)
        seen = {value for other in others for value in np.unique(grid.labels(other.labels).numpy()).tolist()}
        found = {value: label_set.names[value] for value in wanted if value in seen}
        scored = {value: organ for value, organ in found.items() if (scan.labels.array == value).any()}
        if scored:
            segmenter = FewShotSegmenter(
                segmentor,
                others,
                label_set,
                organs=list(found.values()),
                size=size,
                modality=modality,
                **options,  # type: ignore[arg-type]
            )
            rows += score_case(segmenter(scan.image), scan.labels.array, scan.image.spacing_mm, scored, case=name)
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


def _body(image: MetaTensor) -> np.ndarray:
    """The body (Z, Y, X) on slices (Z, 1, Y, X)."""
    spacing_mm = np.linalg.norm(np.asarray(image.affine)[:3, :3], axis=0)
    return body_mask(image.numpy()[:, 0].transpose(2, 1, 0), spacing_mm=list(spacing_mm)).transpose(2, 1, 0)


def _holds(images: Sequence[MetaTensor], labels: Sequence[np.ndarray]) -> bool:
    """Whether the body of each scan holds what is labelled there; a scan without labels says nothing."""
    labelled = [(image, label > 0) for image, label in zip(images, labels, strict=True) if label.any()]
    return all(_body(image)[mask].mean() > _LABELLED_INSIDE for image, mask in labelled)


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
