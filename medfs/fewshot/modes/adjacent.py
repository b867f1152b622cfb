"""Support and query are neighbours in one volume."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfs.fewshot.modes.base import (
    CaseTable,
    Draw,
    EpisodeMode,
    View,
    draw_window,
    full_windows,
    largest_areas,
    require_positive,
)


@dataclass(frozen=True)
class AdjacentSlabs(EpisodeMode):
    """``depth`` adjacent slices as support and the next ``depth`` as query, or the other way round.

    Both slabs show the object, and one of them has a slice with at least ``min_pixels`` of it.
    """

    depth: int = 3
    min_pixels: int = 200
    wanted = "an object in two adjacent slabs, with enough pixels in a slice of one of them"

    def __post_init__(self) -> None:
        require_positive(self)

    @property
    def flat(self) -> bool:
        """As :attr:`EpisodeMode.flat`."""
        return False

    def eligible(
        self, areas: NDArray[np.int64], allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """As :meth:`EpisodeMode.eligible`; a window is both slabs."""
        stops = full_windows(allowed, 2 * self.depth)
        starts = np.flatnonzero(stops)
        first = largest_areas(areas, starts, starts + self.depth)
        second = largest_areas(areas, starts + self.depth, stops[starts])
        eligible = np.zeros(areas.shape, bool)
        eligible[:, starts] = (np.minimum(first, second) > 0) & (np.maximum(first, second) >= self.min_pixels)
        return eligible, stops

    def draw(self, tables: Sequence[CaseTable], random: np.random.Generator) -> Draw:
        """As :meth:`EpisodeMode.draw`."""
        table, place = draw_window(tables, random)
        whole = table.view(table.draw_start(place, random))
        middle = whole.start + self.depth
        views = [View(table.case, whole.start, middle), View(table.case, middle, whole.stop)]
        support, query = views if random.random() < 0.5 else reversed(views)
        return Draw(int(table.ids[place]), (support,), query)


@dataclass(frozen=True)
class AdjacentSlices(EpisodeMode):
    """Slices z and z + 1 of one volume, either being the support.

    Both show the object, and one of them at least ``min_pixels`` of it.

    **Differs from the paper**: the published code draws an object, one of its runs and a start, and draws again until
    the pair has enough pixels, in a loop without end. Here objects, runs and starts are drawn from those that do, so
    that every such object has equal chances, also one with few such pairs. ADNet's code is not reproduced: it takes two
    slices that follow each other among those that show the object, with others between them perhaps, of which the
    first has enough pixels.

    References:
        Shen et al., Q-Net (2022); the same sampler is in DMAP and HCPMNet.
    """

    min_pixels: int = 200
    wanted = "an object in two adjacent slices, with enough pixels in one of them"

    def __post_init__(self) -> None:
        require_positive(self)

    def eligible(
        self, areas: NDArray[np.int64], allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """As :meth:`EpisodeMode.eligible`; a window is both slices."""
        return AdjacentSlabs(1, self.min_pixels).eligible(areas, allowed)

    def draw(self, tables: Sequence[CaseTable], random: np.random.Generator) -> Draw:
        """As :meth:`EpisodeMode.draw`."""
        return AdjacentSlabs(1, self.min_pixels).draw(tables, random)
