"""Where organs are in a whole volume, by the supports together and by each of them alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from medfs.fewshot import FewShotSegmentor, VolumeMatcher
from medfs.fewshot.volumes import MOST_VOXELS, SupportedOrgan
from medfs.inference.slice_odds import SMALLEST_PROBABILITY, WorkingScan


class VolumeOdds:
    """A network for volumes: the query is shown the whole supports, and searched everywhere.

    Supports are encoded once, a query once for all organs and groups; see :class:`~medfs.fewshot.VolumeMatcher` for
    scans that do not fit at once. Supports that show none of the organs are not looked at.

    Args:
        segmentor: a network for volumes.
        supports: on the working grid.
        values: label values of the organs; each is shown by a support.
        groups: indices of supports that are asked together. Where a group does not show an organ, it is not looked for.
        device: where to compute.
        names: of the organs, for networks that read texts.
        most_voxels: that the network sees at once.

    Raises:
        UsageError: the network is one for slices, its texts lack a name, or the labels of a support reach over more
            voxels than fit at once.
    """

    def __init__(
        self,
        segmentor: FewShotSegmentor,
        supports: Sequence[WorkingScan],
        values: Sequence[int],
        groups: Sequence[Sequence[int]],
        device: torch.device | str = "cpu",
        names: Sequence[str] = (),
        *,
        most_voxels: int = MOST_VOXELS,
    ) -> None:
        self.matcher = VolumeMatcher(segmentor, most_voxels=most_voxels, device=device)
        self.organs = len(values)
        masks = {value: [torch.from_numpy(support.labels == value) for support in supports] for value in values}
        showing = [index for index in range(len(supports)) if any(masks[value][index].any() for value in values)]
        together = self.matcher.supports(
            [_volume(supports[index].image) for index in showing],
            {value: [masks[value][index] for index in showing] for value in values},
            names=[supports[index].name for index in showing],
            organ_names=dict(zip(values, names, strict=False)),
        )
        self.supported: dict[tuple[int, int], SupportedOrgan] = {}
        for number, group in enumerate(groups):
            for organ, value in enumerate(values):
                shots = [p for p, index in enumerate(showing) if index in group and masks[value][index].any()]
                if shots:
                    self.supported[number, organ] = self._of_shots(together[value], shots)

    slices_at_once = 0  # a volume is looked at as a whole, or in the windows of its matcher

    def blocks(self, image: Tensor, groups: Sequence[int]) -> Iterator[tuple[range, Tensor]]:
        """As :meth:`medfs.inference.slice_odds.OrganOdds.blocks`; all slices are one block."""
        asked = {place: supported for place, supported in self.supported.items() if place[0] in groups}
        volume = _volume(image)
        odds = torch.full((len(groups), self.organs, *volume.shape[1:]), -torch.inf)
        probabilities = self.matcher.foreground(volume, list(asked.values()))
        for (group, organ), found in zip(asked, probabilities, strict=True):
            odds[groups.index(group), organ] = found.logit(SMALLEST_PROBABILITY)
        yield range(len(image)), odds

    def _of_shots(self, organ: SupportedOrgan, shots: Sequence[int]) -> SupportedOrgan:
        """The same organ by some of its supports only; one alone shares its memory."""
        if len(shots) == organ.mask.shape[1]:
            return organ
        kept = slice(shots[0], shots[0] + 1) if len(shots) == 1 else list(shots)
        fewer = self.matcher.organ(tuple(stage[:, kept] for stage in organ.stages), organ.mask[0, kept])
        return replace(fewer, text=organ.text)


def _volume(image: Tensor) -> Tensor:
    """Slices (Z, 1, Y, X) as a volume (1, Z, Y, X)."""
    return image.transpose(0, 1)
