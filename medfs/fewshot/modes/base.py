"""What a mode decides, and the table of one case that it draws from."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medfs.errors import UsageError


@dataclass(frozen=True, slots=True)
class View:
    """Adjacent slices of one case: its place in the list of cases, the first slice and one past the last."""

    case: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Draw:
    """What an episode shows: an object, K views of it as supports, and one as query."""

    object_id: int
    supports: tuple[View, ...]
    query: View


@dataclass(frozen=True, eq=False, slots=True)
class CaseTable:
    """All windows of one case from which episodes can be drawn, object by object.

    Attributes:
        case: place in the list of cases.
        patient: whom it shows.
        ids: (N,) objects with at least one window.
        offsets: (N + 1,) object ``i`` has the rows ``offsets[i]:offsets[i + 1]`` of ``runs``.
        runs: (R, 2) first of some consecutive slices at which a window can start, and their number.
        stops: (slices,) one past the last slice of the window that starts here; 0 where none does.
    """

    case: int
    patient: str
    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    runs: NDArray[np.int64]
    stops: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Windows of all objects together."""
        return int(self.runs[:, 1].sum())

    def draw_start(self, place: int, random: np.random.Generator) -> int:
        """A run of the object at ``place``, then a start in it."""
        first, count = self.runs[random.integers(self.offsets[place], self.offsets[place + 1])]
        return int(first + random.integers(count))

    def starts(self, place: int) -> NDArray[np.int64]:
        """Starts of all windows of the object at ``place``, ascending."""
        runs = self.runs[self.offsets[place] : self.offsets[place + 1]]
        return np.concatenate([np.arange(first, first + count) for first, count in runs])

    def place_of(self, object_id: int) -> int | None:
        """Where an object is in ``ids``; None if it has no window."""
        place = int(np.searchsorted(self.ids, object_id))
        return place if place < len(self.ids) and self.ids[place] == object_id else None

    def view(self, start: int) -> View:
        """The window that starts here."""
        return View(self.case, start, int(self.stops[start]))


class EpisodeMode(ABC):
    """How support and query are paired.

    Attributes:
        augments_all: whether every image is augmented, instead of one side of the pair.
        needs_organs: whether objects must mean the same in all cases, as organs do and supervoxels do not.
        in_plane: rows and columns to which views are cropped around the object; None for whole slices.
        wanted: what an episode needs, in words for an error message.
    """

    augments_all: ClassVar[bool] = False
    needs_organs: ClassVar[bool] = False
    in_plane: tuple[int, int] | None = None
    wanted: ClassVar[str]

    @property
    def flat(self) -> bool:
        """Whether episodes are slices (rows, columns) rather than volumes (slices, rows, columns)."""
        return True

    @abstractmethod
    def eligible(
        self, areas: NDArray[np.int64], allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Where windows can start.

        Args:
            areas: (N, slices) pixels of every object.
            allowed: (slices,) false where no image may be taken from.

        Returns:
            (N, slices), true where a window of the object can start; and (slices,) where it stops, 0 for none. No
            window holds a slice that is not allowed.
        """

    @abstractmethod
    def draw(self, tables: Sequence[CaseTable], random: np.random.Generator) -> Draw:
        """One episode from tables that :meth:`usable` returned."""

    def usable(self, tables: Sequence[CaseTable]) -> list[CaseTable]:
        """The tables without objects that cannot be paired, and without cases that have no others."""
        return [table for table in tables if len(table.ids)]


def full_windows(allowed: NDArray[np.bool_], depth: int) -> NDArray[np.int64]:
    """Where the window of ``depth`` slices that starts at each slice stops; 0 where one of them is not allowed.

    >>> full_windows(np.array([True, True, False, True]), 2).tolist()
    [2, 0, 0, 0]
    """
    total = np.concatenate([[0], np.cumsum(allowed)])
    starts = np.arange(len(allowed))
    stops = starts + depth
    inside = stops <= len(allowed)
    full = inside & (total[np.where(inside, stops, 0)] - total[starts] == depth)
    return np.where(full, stops, 0)


def largest_areas(areas: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N, W) pixels of every object in that slice of each window that shows most of it.

    >>> largest_areas(np.array([[1, 5, 2]]), np.array([0, 2]), np.array([2, 3])).tolist()
    [[5, 2]]
    """
    if not len(starts):
        return np.zeros((len(areas), 0), np.int64)
    padded = np.pad(areas, ((0, 0), (0, 1)))  # reduceat takes no end beyond the last entry
    return np.maximum.reduceat(padded, np.stack([starts, stops], axis=1).ravel(), axis=1)[:, ::2]


def draw_window(tables: Sequence[CaseTable], random: np.random.Generator) -> tuple[CaseTable, int]:
    """A case, then an object of it, each with equal chances; the place of the object in the table."""
    table = tables[int(random.integers(len(tables)))]
    return table, int(random.integers(len(table.ids)))


def require_positive(mode: Any) -> None:
    """Return if every number of a mode is a whole one above 0; None stands for no limit.

    Raises:
        UsageError: one is not.
    """
    for field in fields(mode):
        value = getattr(mode, field.name)
        for number in value if isinstance(value, tuple | list) else (value,):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise UsageError(f"{type(mode).__name__}: {field.name} {value}; expected whole numbers above 0")
