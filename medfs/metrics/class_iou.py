"""IoU of binary episodes, class by class, as the benchmarks of cross-domain few-shot segmentation define it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from medfs.errors import UsageError
from medfs.metrics.summary import Statistic


@dataclass(slots=True)
class ClassIoU:
    """Pixels in intersection and union of background and foreground, over all episodes of each class.

    ``mean_iou`` is the mean over the classes of the IoU of their foreground. ``fb_iou`` is the mean of the IoU of
    foreground and of background, each over all classes together; it is higher, and numbers of one cannot be compared
    with the other's. A class without a pixel in the union has an IoU of 0.

    Attributes:
        counts: (2, 2) by class name: intersection and union, of background and foreground.

    **Differs from the paper** of IFA: its code gives every episode of a batch the class of the first one, so that with
    equal classes throughout what it prints as mean IoU is ``fb_iou``. Here each episode counts for its own class.

    References:
        Lei et al., Cross-domain few-shot semantic segmentation, ECCV 2022; Nie et al., Cross-domain few-shot
        segmentation via iterative support-query correspondence mining, CVPR 2024.

    >>> iou = ClassIoU()
    >>> iou.update("lung", np.array([True, True, False]), np.array([True, False, False]))
    >>> iou.mean_iou, iou.fb_iou
    (0.5, 0.5)
    """

    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def update(
        self,
        class_name: str,
        found: NDArray[np.bool_],
        truth: NDArray[np.bool_],
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count one episode.

        Args:
            class_name: its class.
            found: the prediction, any shape.
            truth: of that shape.
            valid: of that shape, false where pixels do not count; None counts all.

        Raises:
            UsageError: the shapes differ.
        """
        masks = [np.asarray(mask, bool) for mask in (found, truth, *([] if valid is None else [valid]))]
        if len({mask.shape for mask in masks}) > 1:
            raise UsageError(f"{class_name}: masks of shapes {[mask.shape for mask in masks]}; expected equal ones")
        given, true = (mask if valid is None else mask[masks[2]] for mask in masks[:2])
        both, either, total = int((given & true).sum()), int((given | true).sum()), given.size
        counted = np.array([[total - either, total - both], [both, either]], np.int64)
        self.counts[class_name] = self.counts.get(class_name, np.zeros((2, 2), np.int64)) + counted

    @property
    def per_class(self) -> dict[str, float]:
        """IoU of the foreground of each class."""
        return {name: _ratio(counts[1]) for name, counts in self.counts.items()}

    @property
    def mean_iou(self) -> float:
        """Mean of the classes' IoU; not a number before the first episode."""
        return fmean(self.per_class.values()) if self.counts else float("nan")

    @property
    def fb_iou(self) -> float:
        """Mean of the IoU of background and foreground; not a number before the first episode."""
        return fmean(map(_ratio, sum(self.counts.values(), np.zeros((2, 2))))) if self.counts else float("nan")

    def row(self) -> dict[str, float]:
        """``mean_iou``, ``fb_iou`` and the IoU of each class as ``iou_<name>``."""
        each = {f"iou_{name}": value for name, value in self.per_class.items()}
        return {"mean_iou": self.mean_iou, "fb_iou": self.fb_iou, **each}


def over_seeds(rows: Sequence[Mapping[str, float]]) -> dict[str, Statistic]:
    """Mean and standard deviation of each number over runs that differ in their episodes.

    Raises:
        UsageError: no row, or rows with different numbers.
    """
    if not rows or any(set(row) != set(rows[0]) for row in rows):
        raise UsageError("rows of seeds: none, or with different numbers; expected the same ones in each")
    return {
        name: Statistic(
            fmean(row[name] for row in rows),
            stdev(row[name] for row in rows) if len(rows) > 1 else float("nan"),
            len(rows),
            len(rows),
            0,
        )
        for name in rows[0]
    }


def _ratio(counts: NDArray[np.number]) -> float:
    return float(counts[0] / max(counts[1], 1))
