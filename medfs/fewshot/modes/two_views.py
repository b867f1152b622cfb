"""Support and query are the same slice, augmented twice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfs.fewshot.modes.base import CaseTable, Draw, EpisodeMode, draw_window, full_windows, require_positive


@dataclass(frozen=True)
class TwoViews(EpisodeMode):
    """One slice with at least ``min_pixels`` of the object; both views of it are augmented, each in its own way.

    **Differs from the paper**: the published code takes any superpixel, however small, except the one with the highest
    number; its superpixels of a slice have at least 400 pixels.

    References:
        Ouyang et al., Self-supervised learning for few-shot medical image segmentation, IEEE TMI 41 (2022).
    """

    min_pixels: int = 200
    augments_all = True
    wanted = "a slice with enough pixels of an object"

    def __post_init__(self) -> None:
        require_positive(self)

    def eligible(
        self, areas: NDArray[np.int64], allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """As :meth:`EpisodeMode.eligible`; a window is the slice."""
        return (areas >= self.min_pixels) & allowed, full_windows(allowed, 1)

    def draw(self, tables: Sequence[CaseTable], random: np.random.Generator) -> Draw:
        """As :meth:`EpisodeMode.draw`."""
        table, place = draw_window(tables, random)
        view = table.view(table.draw_start(place, random))
        return Draw(int(table.ids[place]), (view,), view)
