"""Supports come from other patients than the query."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
class AcrossPatients(EpisodeMode):
    """An organ in one patient, shown in ``shots`` others.

    A support is taken where the organ's windows are as far along as the query's are, from the first to the last: the
    lowest slice of a liver is shown a low slice of another liver.

    Args:
        shots: supports, each of a patient of its own.
        depth: slices of every image; None for single slices without an axis of slices.
        min_pixels: pixels of the organ in a slice of every image.
    """

    shots: int = 1
    depth: int | None = None
    min_pixels: int = 200
    needs_organs = True
    wanted = "an organ with enough pixels in a slice, in more patients than there are shots"

    def __post_init__(self) -> None:
        require_positive(self)

    @property
    def flat(self) -> bool:
        """As :attr:`EpisodeMode.flat`."""
        return self.depth is None

    def eligible(
        self, areas: NDArray[np.int64], allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """As :meth:`EpisodeMode.eligible`; a window is an image."""
        stops = full_windows(allowed, self.depth or 1)
        starts = np.flatnonzero(stops)
        eligible = np.zeros(areas.shape, bool)
        eligible[:, starts] = largest_areas(areas, starts, stops[starts]) >= self.min_pixels
        return eligible, stops

    def usable(self, tables: Sequence[CaseTable]) -> list[CaseTable]:
        """As :meth:`EpisodeMode.usable`: organs of too few patients are left out."""
        patients: dict[int, set[str]] = {}
        for table in tables:
            for organ in table.ids:
                patients.setdefault(int(organ), set()).add(table.patient)
        enough = [organ for organ, found in patients.items() if len(found) > self.shots]
        return super().usable([_restricted(table, np.isin(table.ids, enough)) for table in tables])

    def draw(self, tables: Sequence[CaseTable], random: np.random.Generator) -> Draw:
        """As :meth:`EpisodeMode.draw`."""
        table, place = draw_window(tables, random)
        organ, start = int(table.ids[place]), table.draw_start(place, random)
        starts = table.starts(place)
        along = np.searchsorted(starts, start) / max(len(starts) - 1, 1) if len(starts) > 1 else 0.5
        others: dict[str, list[CaseTable]] = {}
        for other in tables:
            if other.patient != table.patient and other.place_of(organ) is not None:
                others.setdefault(other.patient, []).append(other)
        chosen = random.choice(len(others), self.shots, replace=False)
        patients = list(others.values())
        supports = [
            _matched(scans[random.integers(len(scans))], organ, along) for scans in (patients[i] for i in chosen)
        ]
        return Draw(organ, tuple(supports), table.view(start))


def _matched(table: CaseTable, organ: int, along: float) -> View:
    """The window of an organ at a place from 0, its first, to 1, its last."""
    place = table.place_of(organ)
    assert place is not None
    starts = table.starts(place)
    return table.view(int(starts[round(along * (len(starts) - 1))]))


def _restricted(table: CaseTable, kept: NDArray[np.bool_]) -> CaseTable:
    counts = np.diff(table.offsets)
    offsets = np.concatenate([[0], np.cumsum(counts[kept])])
    return replace(table, ids=table.ids[kept], offsets=offsets, runs=table.runs[np.repeat(kept, counts)])
