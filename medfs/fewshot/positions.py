"""Which support slice shows a query slice what to look for: by place along the body axis, without any oracle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfs.errors import UsageError

PARTS = 3


@dataclass(frozen=True, slots=True)
class BodyRange:
    """Where an organ lies along the body axis, as shares of the field of view.

    Attributes:
        start: of its first slice, 0 at the first slice of the scan.
        stop: of the end of its last slice, at most 1.
        margin: how far beyond both ends it is still looked for, as a share of its own length. Between any two of the
            20 CHAOS scans, a quarter finds 96 % of the four organs' voxels, none 85 %.
    """

    start: float
    stop: float
    margin: float = 0.25

    @classmethod
    def of_masks(cls, masks: Sequence[NDArray[np.bool_]], margin: float = 0.25) -> "BodyRange":
        """Mean range over the supports that show the organ.

        Args:
            masks: one (slices, rows, columns) for each support.
            margin: see the class.

        Raises:
            UsageError: no support shows the organ.
        """
        shown = [(organ_slices(mask), len(mask)) for mask in masks]
        ends = [(found[0] / slices, (found[-1] + 1) / slices) for found, slices in shown if len(found)]
        if not ends:
            raise UsageError("no support shows the organ; expected it in at least one")
        start, stop = np.mean(ends, axis=0)
        return cls(float(start), float(stop), margin)

    def part(self, index: int, slices: int) -> int | None:
        """The part of the organ, 0 to 2, in which a slice of a scan lies; None where it is not looked for.

        The slice stands at ``(index + 0.5) / slices`` of the field of view. Within the margins the nearest part counts.

        >>> [BodyRange(0.2, 0.8, margin=0.2).part(index, slices=10) for index in range(10)]
        [None, 0, 0, 0, 1, 1, 2, 2, 2, None]
        """
        place = ((index + 0.5) / slices - self.start) / (self.stop - self.start)
        if not -self.margin <= place <= 1 + self.margin:
            return None
        return min(max(int(np.floor(PARTS * place)), 0), PARTS - 1)


def organ_slices(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Slices of a mask (slices, rows, columns) that show the organ, ascending."""
    return np.flatnonzero(mask.any(axis=(1, 2)))


def annotated_slices(mask: NDArray[np.bool_]) -> list[int]:
    """The slice that stands for each part of the organ: at 1/6, 3/6 and 5/6 of the slices that show it.

    These are the three annotated slices of the published evaluation. Empty if no slice shows the organ.

    >>> annotated_slices(np.ones((30, 1, 1), bool))
    [5, 15, 25]
    """
    shown = organ_slices(mask)
    return [int(shown[(2 * part + 1) * len(shown) // (2 * PARTS)]) for part in range(PARTS)] if len(shown) else []
