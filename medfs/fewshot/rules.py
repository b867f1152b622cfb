"""Which slice of the support shows each slice of the query what to look for: EP1, EP2, without an oracle, volumes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medfs.errors import UsageError
from medfs.fewshot.positions import PARTS, BodyRange, annotated_slices, organ_slices
from medfs.metrics import ConventionName

NOT_SOUGHT = -1


@dataclass(frozen=True, eq=False, slots=True)
class Guide:
    """What each slice of a query is shown, as places in the support scan; ``NOT_SOUGHT`` where nothing is looked for.

    Attributes:
        shown: (slices,) the annotated support slice that a method sees.
        twin: (slices,) the support slice at the same place, which copying the support's mask goes by; this one needs
            an annotation of the whole scan.
        whole: whether a method may look at the whole annotation, as those for volumes do.
    """

    shown: NDArray[np.int64]
    twin: NDArray[np.int64]
    whole: bool = False


class EvaluationRule(ABC):
    """How the slices of a query are paired with annotated slices of the support, and how the result is scored.

    Attributes:
        name: in tables.
        oracle: whether the rule is told which slices of the query show the organ.
        convention: of `medfs.metrics`.
        annotated: slices of the support that are annotated; None for all that show the organ.
    """

    name: ClassVar[str]
    oracle: ClassVar[bool] = False
    convention: ClassVar[ConventionName] = "medfs"
    annotated: ClassVar[int | None] = PARTS

    @abstractmethod
    def guide(self, mask: NDArray[np.bool_], slices: int, sought: NDArray[np.bool_] | None) -> Guide:
        """Pair every slice of a query with the support.

        Args:
            mask: (slices, rows, columns) of the organ in the support; it shows the organ.
            slices: of the query.
            sought: (slices,) which slices of the query show the organ; None unless the rule has an oracle.
        """


class EP1(EvaluationRule):
    """Three annotated slices and the true extent of the organ in the query: the protocol of most published tables.

    The slices that show the organ are cut into three chunks, at ``linspace(0, C, 4)`` cut off to integers; each chunk
    is shown the support slice at 1/6, 3/6 or 5/6 of the slices that show it there. Nothing is looked for elsewhere.

    **Differs from the paper** that introduced the protocol, SSL-ALPNet: its chunks are those of :class:`EP1ByExtent`.
    These are of the code of Q-Net, DMAP and HCPMNet.

    References:
        Shen et al., Q-Net (2022); the same evaluation is in DMAP and HCPMNet.
    """

    name = "EP1"
    oracle = True
    convention = "few_shot"

    def guide(self, mask: NDArray[np.bool_], slices: int, sought: NDArray[np.bool_] | None) -> Guide:
        """As :meth:`EvaluationRule.guide`."""
        if sought is None:
            raise UsageError("EP1: the query's slices are not known; only a scan with its truth can be evaluated so")
        guide, places, of_organ = _nothing(slices), np.flatnonzero(sought), organ_slices(mask)
        guide.shown[places] = np.asarray(annotated_slices(mask))[self.parts(places)]
        guide.twin[places] = of_organ[_same_places(len(places), len(of_organ))]
        return guide

    def parts(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """The chunk, 0 to 2, of each of the slices that show the organ; they ascend."""
        return np.repeat(np.arange(PARTS), np.diff(chunk_edges(len(places))))


class EP1ByExtent(EP1):
    """EP1 as SSL-ALPNet's code has it: chunks are thirds of the way from the first slice of the organ to the last one.

    Slices between them that do not show it count for that; for :class:`EP1` they do not.

    References:
        Ouyang et al., Self-supervised learning for few-shot medical image segmentation, IEEE TMI 41 (2022).
    """

    name = "EP1, by extent"

    def parts(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """As :meth:`EP1.parts`.

        >>> EP1ByExtent().parts(np.arange(5)), EP1().parts(np.arange(5))
        (array([0, 0, 1, 2, 2]), array([0, 1, 1, 2, 2]))
        """
        beyond_first = places - places[:1]
        return np.minimum(PARTS * beyond_first // np.maximum(beyond_first[-1:], 1), PARTS - 1)


class EP2(EvaluationRule):
    """One annotated slice, the middle one of the organ, for all slices of the query; no oracle.

    References:
        Hansen et al., Anomaly detection-inspired few-shot medical image segmentation, Medical Image Analysis 78 (2022).
    """

    name = "EP2"
    annotated = 1

    def guide(self, mask: NDArray[np.bool_], slices: int, sought: NDArray[np.bool_] | None) -> Guide:
        """As :meth:`EvaluationRule.guide`."""
        of_organ = organ_slices(mask)
        shown = np.full(slices, of_organ[len(of_organ) // 2], np.int64)
        return Guide(shown, _same_places(slices, len(mask)))


class WithoutOracle(EvaluationRule):
    """Three annotated slices, chosen by the place along the body axis; what a person with one labelled scan has.

    A query slice is shown the part of the organ that the support has at this place of its field of view. Beyond the
    support's extent and a margin nothing is looked for. The truth of the query is not used anywhere.
    """

    name = "no oracle"

    def guide(self, mask: NDArray[np.bool_], slices: int, sought: NDArray[np.bool_] | None) -> Guide:
        """As :meth:`EvaluationRule.guide`."""
        guide, extent, annotated = _nothing(slices), BodyRange.of_masks([mask]), annotated_slices(mask)
        for index in range(slices):
            part = extent.part(index, slices)
            guide.shown[index] = NOT_SOUGHT if part is None else annotated[part]
        guide.twin[:] = _same_places(slices, len(mask))
        return guide


class WholeSupport(EvaluationRule):
    """The whole support annotated, the whole query searched, no oracle: what true volumetric methods are tested by.

    Methods for slices can be tested by it, too: a slice of the query is shown the slice at the same place of the
    support's field of view, or the nearest that shows the organ.
    """

    name = "volume"
    annotated = None

    def guide(self, mask: NDArray[np.bool_], slices: int, sought: NDArray[np.bool_] | None) -> Guide:
        """As :meth:`EvaluationRule.guide`."""
        twin, of_organ = _same_places(slices, len(mask)), organ_slices(mask)
        nearest = np.abs(twin[:, None] - of_organ[None]).argmin(axis=1)
        return Guide(of_organ[nearest].astype(np.int64), twin, whole=True)


class WholeSupportInRange(WholeSupport):
    """As :class:`WholeSupport`, but told which slices of the query show the organ, and scored on those alone.

    Beside EP1 it says what the annotation of all slices adds to that of three; beside :class:`WholeSupport`, what the
    oracle is worth.
    """

    name = "volume, z-range known"
    oracle = True
    convention = "few_shot"

    def guide(self, mask: NDArray[np.bool_], slices: int, sought: NDArray[np.bool_] | None) -> Guide:
        """As :meth:`EvaluationRule.guide`."""
        ranged = EP1().guide(mask, slices, sought)
        outside = ranged.twin == NOT_SOUGHT
        return Guide(np.where(outside, NOT_SOUGHT, ranged.twin), ranged.twin, whole=True)


def chunk_edges(count: int) -> list[int]:
    """Where the three chunks of ``count`` slices begin, and the end.

    >>> chunk_edges(30), chunk_edges(5)
    ([0, 10, 20, 30], [0, 1, 3, 5])
    """
    return [count * part // PARTS for part in range(PARTS + 1)]


def _nothing(slices: int) -> Guide:
    return Guide(np.full(slices, NOT_SOUGHT, np.int64), np.full(slices, NOT_SOUGHT, np.int64))


def _same_places(count: int, among: int) -> NDArray[np.int64]:
    """For the middle of each of ``count`` equal parts, the one of ``among`` parts in which it lies."""
    return (2 * np.arange(count, dtype=np.int64) + 1) * among // (2 * max(count, 1))
