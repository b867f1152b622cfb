"""What a recipe states: where the raw cases are, what their labels mean, and which steps they go through."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medfs.errors import InputError
from medfs.io import Volume
from medfs.io.folds import PublishedFolds as PublishedFolds
from medfs.io.names import safe_name
from preprocessing.splits import PublishedSplits
from preprocessing.steps import Step


@dataclass(frozen=True, eq=False)
class Loaded:
    """A raw case in memory.

    Attributes:
        image: the scan, or the luminance of a colour picture.
        labels: ``(X, Y, Z)`` on the grid of the image, as stored; None for an unlabelled case.
        channels: further arrays on that grid by the name of the folder they are written to, e.g. the colours. Steps do
            not reach them, so only recipes without steps have any.
    """

    image: Volume
    labels: np.ndarray | None = None
    channels: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RawCase:
    """One case of a raw dataset, not read yet.

    Attributes:
        name: what its files are going to be called, made safe.
        patient: cases of one patient stay together in folds.
        sources: every file that it is made from.
        load: reads them; an :class:`~medfs.errors.InputError` fails this case alone.
        facts: what else it is made from, text by name: its part of a table or of an annotation file of all cases.
    """

    name: str
    patient: str
    sources: tuple[Path, ...]
    load: Callable[[], Loaded]
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", safe_name(self.name))


@dataclass(frozen=True, eq=False)
class RawDataset:
    """What a recipe found: the cases, and the class names by label id."""

    cases: Sequence[RawCase]
    classes: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class Recipe:
    """One dataset.

    Attributes:
        name: of the module.
        about: one sentence for ``--help``.
        find: lists the raw cases in a folder; raises :class:`~medfs.errors.InputError` where it is another tree.
        steps: the transforms, in order; none leaves voxels and grid as they are.
        codes: label id by stored value or by range of stored values; empty where the stored values are the ids.
            Other stored values, apart from 0, are an error: ids never depend on which organs a scan shows.
        ignored: a label id that means "not annotated", if there is one.
        folds: the published ones; None for folds by patient.
        splits: those of semi-supervised papers, for ``--split``; None where there are none.
        pictures: whether cases are pictures, volumes of one slice, from which no supervoxels are cut.
    """

    name: str
    about: str
    find: Callable[[Path], RawDataset]
    steps: tuple[Step, ...] = ()
    codes: Mapping[range, int] = field(default_factory=dict)
    ignored: int | None = None
    folds: PublishedFolds | None = None
    splits: PublishedSplits | None = None
    pictures: bool = False

    def has_published_sizes(self) -> bool:
        """Whether a step knows the sizes of the published files."""
        return any(step.resamples for step in self.steps)

    def with_published_sizes(self) -> "Recipe":
        """The recipe whose resampled volumes have the published sizes, one sample more where spacings fit exactly."""
        sized = {"output_size": "published"}
        steps = (replace(s, parameters={**s.parameters, **sized}) if s.resamples else s for s in self.steps)
        return replace(self, steps=tuple(steps))


def label_ids(stored: np.ndarray, codes: Mapping[range, int], allowed: Sequence[int], name: str) -> np.ndarray:
    """Label ids for stored values, by a fixed table.

    Args:
        stored: integers of any shape.
        codes: id by range of stored values; empty where the stored values are the ids.
        allowed: the ids there may be beside 0.
        name: what the case is called in messages.

    Returns:
        uint8 ids of the same shape, 0 where 0 was stored.

    Raises:
        InputError: a value that the table does not hold; the message gives it, and how many voxels have it.

    >>> label_ids(np.array([0, 189, 63]), {range(55, 71): 1, range(175, 201): 3}, [1, 3], "5").tolist()
    [0, 3, 1]
    """
    values = np.unique(stored)
    table = {int(value): _id(int(value), codes) for value in values}
    wrong = [value for value, label in table.items() if label != 0 and label not in allowed]
    if wrong:
        count = int(np.isin(stored, wrong).sum())
        expected = ", ".join(_shown(codes)) if codes else f"{', '.join(map(str, sorted(allowed)))} and 0"
        raise InputError(f"{name}: label value {wrong[0]} among {count} unknown voxels; expected {expected}")
    ids = np.array([table[int(value)] for value in values], np.uint8)
    return ids[np.searchsorted(values, stored)]


def _id(value: int, codes: Mapping[range, int]) -> int:
    if value == 0 or not codes:
        return value
    return next((label for stored, label in codes.items() if value in stored), -1)


def _shown(codes: Mapping[range, int]) -> list[str]:
    return ["0", *(str(r.start) if len(r) == 1 else f"{r.start} to {r.stop - 1}" for r in codes)]


def unique_cases(cases: Sequence[RawCase], source: Path) -> list[RawCase]:
    """The cases sorted by name, numbers by their value.

    Raises:
        InputError: there is none, or two have one name.
    """
    if not cases:
        raise InputError(f"{source}: no case found; see preprocessing/README.md for the tree that is expected")
    folded: dict[str, RawCase] = {}
    for case in cases:
        other = folded.setdefault(case.name.casefold(), case)
        if other is not case:
            raise InputError(f"{source}: two cases are called {case.name}; rename one")
    return sorted(
        cases, key=lambda case: (not case.name.isdecimal(), len(case.name) * case.name.isdecimal(), case.name)
    )


def label_names(label_set: str) -> dict[int, str]:
    """Class name by label id of a set of :mod:`medfs.anatomy`.

    >>> label_names("cmr")[3]
    'right_ventricle'
    """
    from medfs.anatomy import label_set as find

    return dict(enumerate(find(label_set).names[1:], start=1))
