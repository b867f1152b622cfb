"""Where organs are in the slices of a scan, by the supports together and by each of them alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medfs.errors import UsageError
from medfs.fewshot import FewShotSegmentor, SupportedSegmentor
from medfs.fewshot.positions import PARTS, BodyRange, annotated_slices

SLICES_AT_ONCE = 8
SMALLEST_PROBABILITY = 1e-6
"""Below it, and as close to 1, probabilities have no log odds of their own."""


@dataclass(frozen=True, eq=False, slots=True)
class WorkingScan:
    """A support on the working grid.

    Attributes:
        image: (Z, 1, Y, X).
        labels: (Z, Y, X).
        name: for messages.
    """

    image: Tensor
    labels: NDArray[np.integer]
    name: str = "a support"


class OrganOdds(Protocol):
    """A way from a scan on the working grid to the odds of its organs; it holds the supports.

    Attributes:
        slices_at_once: how many slices of a scan are looked at together, where that is free to choose.
    """

    slices_at_once: int

    def blocks(self, image: Tensor, groups: Sequence[int]) -> Iterator[tuple[range, Tensor]]:
        """The log odds of a scan in blocks of slices: ascending, every slice once.

        Args:
            image: (Z, 1, Y, X).
            groups: numbers of the G groups of supports to ask.

        Yields:
            The slices of a block, and log odds (G, N, n, Y, X) of N organs in its n slices by the groups; minus
            infinity where an organ is not looked for.
        """


class SliceOdds:
    """A network for slices: each slice of the query is shown the support slice that stands for its part of the organ.

    The part is chosen by the place along the slices (:mod:`medfs.fewshot.positions`); beyond the supports' range and
    a margin an organ is not looked for. Every organ is one binary episode; all organs and groups share the features of
    the query, of which ``slices_at_once`` slices are in memory at a time. The features of three slices for each organ
    and support stay there, about 25 MB each for a ResNet-101 at 256 pixels.

    Args:
        segmentor: a network for slices, in evaluation mode.
        supports: on the working grid.
        values: label values of the organs; each is shown by a support.
        groups: indices of supports that are asked together. Where a group does not show an organ, it is not looked for.
        device: where to compute.
        names: of the organs, for networks that read texts.

    Raises:
        UsageError: the network is one for volumes, or its texts lack a name.
    """

    def __init__(
        self,
        segmentor: FewShotSegmentor,
        supports: Sequence[WorkingScan],
        values: Sequence[int],
        groups: Sequence[Sequence[int]],
        device: torch.device | str = "cpu",
        names: Sequence[str] = (),
    ) -> None:
        if segmentor.encoder.spatial_dims != 2:
            raise UsageError("the network takes volumes; expected one for slices")
        self.segmentor, self.device, self.organs = segmentor, device, len(values)
        self.slices_at_once = SLICES_AT_ONCE
        self.ranges: dict[tuple[int, int], BodyRange] = {}
        self.supported: dict[tuple[int, int, int], SupportedSegmentor] = {}
        for organ, value in enumerate(values):
            masks = [support.labels == value for support in supports]
            showing = [index for index, mask in enumerate(masks) if mask.any()]
            name = names[organ : organ + 1]
            together = [self._supported(supports, masks, showing, part, name) for part in range(PARTS)]
            for number, group in enumerate(groups):
                if shots := [place for place, index in enumerate(showing) if index in group]:
                    self.ranges[number, organ] = BodyRange.of_masks([masks[showing[shot]] for shot in shots])
                    for part, network in enumerate(together):
                        self.supported[number, organ, part] = _of_shots(network, shots)

    def blocks(self, image: Tensor, groups: Sequence[int]) -> Iterator[tuple[range, Tensor]]:
        """As :meth:`OrganOdds.blocks`."""
        for start in range(0, len(image), self.slices_at_once):
            block = range(start, min(start + self.slices_at_once, len(image)))
            yield block, self._odds(image, block, groups)

    @torch.no_grad()  # not inference mode: heads that adapt to an episode need gradients of these features
    def _odds(self, image: Tensor, block: range, groups: Sequence[int]) -> Tensor:
        size = image.shape[2:]
        odds = torch.full((len(groups), self.organs, len(block), *size), -torch.inf)
        stages = None
        for (group, organ, part), supported in self.supported.items():
            found = [self.ranges[group, organ].part(z, len(image)) == part for z in block] if group in groups else []
            if any(found):
                stages = stages or self.segmentor.encoder(image[block.start : block.stop].to(self.device))
                chosen = np.flatnonzero(found).tolist()
                query = tuple(stage[chosen] for stage in stages)
                probability = supported.foreground(query, size)[:, 0]
                odds[groups.index(group), organ, chosen] = probability.logit(SMALLEST_PROBABILITY).cpu()
        return odds

    @torch.no_grad()
    def _supported(
        self,
        supports: Sequence[WorkingScan],
        masks: Sequence[NDArray[np.bool_]],
        showing: Sequence[int],
        part: int,
        name: Sequence[str],
    ) -> SupportedSegmentor:
        """The network with the slices of one part of an organ inside, one for each support that shows it."""
        shots = []
        for index in showing:
            chosen = annotated_slices(masks[index])[part]
            shots.append((supports[index].image[chosen], torch.from_numpy(masks[index][chosen])))
        size = [max(mask.shape[axis] for _, mask in shots) for axis in (0, 1)]
        pictures = torch.stack([_grown(picture, size, float(picture.min())) for picture, _ in shots])
        shapes = torch.stack([_grown(mask, size, 0) for _, mask in shots])
        return self.segmentor.for_supports(pictures[None].to(self.device), shapes[None].to(self.device), name)


def _of_shots(network: SupportedSegmentor, shots: Sequence[int]) -> SupportedSegmentor:
    """The same network with some of its supports only; one alone shares its memory."""
    kept = slice(shots[0], shots[0] + 1) if len(shots) == 1 else list(shots)
    if shots == list(range(network.masks.shape[1])):
        return network
    support = tuple(network.get_buffer(f"support_{level}")[:, kept] for level in range(network.levels))
    return SupportedSegmentor(network.segmentor, support, network.masks[:, kept], network.text)


def _grown(picture: Tensor, size: Sequence[int], value: float) -> Tensor:
    """Rows and columns added at the end."""
    rows, columns = (wanted - n for wanted, n in zip(size, picture.shape[-2:], strict=True))
    return F.pad(picture, (0, columns, 0, rows), value=value) if rows or columns else picture
