"""Support and query are two blocks of one volume."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfs.fewshot.index import runs
from medfs.fewshot.modes.base import (
    CaseTable,
    Draw,
    EpisodeMode,
    draw_window,
    full_windows,
    largest_areas,
    require_positive,
)


@dataclass(frozen=True)
class TwoCrops(EpisodeMode):
    """Two blocks of at most ``depth`` slices that both show the object, drawn on their own.

    Each has a slice with at least ``min_pixels`` of it before it is cropped in the plane, and a part of it afterwards.

    Args:
        depth: slices; None, and wherever fewer are allowed in a row, takes all of them.
        in_plane: rows and columns to crop around the object; None for whole slices.
        min_pixels: pixels of the object.

    References:
        The pairs of windows of one volume follow the 3D variant of Hansen et al., Medical Image Analysis 78 (2022).
    """

    depth: int | None = None
    in_plane: tuple[int, int] | None = None
    min_pixels: int = 200
    wanted = "a block with enough pixels of an object in a slice"

    def __post_init__(self) -> None:
        require_positive(self)

    @property
    def flat(self) -> bool:
        """As :attr:`EpisodeMode.flat`."""
        return False

    def eligible(
        self, areas: NDArray[np.int64], allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """As :meth:`EpisodeMode.eligible`; a window is a block."""
        depth = self.depth or len(allowed) + 1
        stops = full_windows(allowed, depth)
        for first, end in runs(allowed):
            if end - first < depth:
                stops[first] = end
        starts = np.flatnonzero(stops)
        eligible = np.zeros(areas.shape, bool)
        eligible[:, starts] = largest_areas(areas, starts, stops[starts]) >= self.min_pixels
        return eligible, stops

    def draw(self, tables: Sequence[CaseTable], random: np.random.Generator) -> Draw:
        """As :meth:`EpisodeMode.draw`."""
        table, place = draw_window(tables, random)
        support, query = (table.view(table.draw_start(place, random)) for _ in range(2))
        return Draw(int(table.ids[place]), (support,), query)
