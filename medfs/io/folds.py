"""Folds of the few-shot papers: who is tested together, and who shows the others what to look for."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medfs.errors import UsageError

Support = int | Literal["last", "all", "drawn"]


@dataclass(frozen=True)
class PublishedFolds:
    """Published folds of a dataset.

    Attributes:
        cases: all cases in the order that the folds count them by.
        members: for each fold the places of its cases; the last one is the support.
    """

    cases: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]

    @classmethod
    def consecutive(cls, cases: tuple[str, ...], length: int) -> "PublishedFolds":
        """The folds of the few-shot papers: ``length`` queries and the next case as support, the first after the last.

        >>> PublishedFolds.consecutive(("a", "b", "c", "d"), 2).named()
        [['a', 'b', 'c'], ['c', 'd', 'a']]
        """
        count = len(cases)
        blocks = [range(start, min(start + length, count)) for start in range(0, count, length)]
        return cls(cases, tuple((*block, block.stop % count) for block in blocks))

    @classmethod
    def of_names(cls, names: Iterable[str], length: int) -> "PublishedFolds":
        """The same for the cases of a folder, ordered by the numbers in their names.

        Raises:
            UsageError: there are too few cases for a fold of ``length`` queries and a support.

        >>> PublishedFolds.of_names(["image_10", "image_9", "image_1"], 2).named()
        [['image_1', 'image_9', 'image_10'], ['image_10', 'image_1']]
        """
        cases = tuple(sorted(names, key=_by_number))
        if not 1 <= length < len(cases):
            raise UsageError(f"folds of {length} queries among {len(cases)} cases; expected at least one case more")
        return cls.consecutive(cases, length)

    def named(self) -> list[list[str]]:
        """The case names of each fold."""
        return [[self.cases[place] for place in fold] for fold in self.members]

    def fold(self, number: int) -> tuple[int, ...]:
        """Places of the cases of one fold, the support last.

        Raises:
            UsageError: there is no such fold.
        """
        if not 0 <= number < len(self.members):
            raise UsageError(f"fold {number}; expected 0 to {len(self.members) - 1}")
        return self.members[number]

    def pairs(self, number: int, support: Support = "last", seed: int = 0) -> list[tuple[str, str]]:
        """Support and query of every test of a fold.

        Three conventions are published, and their tables cannot be compared:

        - ``"last"`` (SSL-ALPNet, ADNet): the case after the block supports it, so every case is a query once;
        - a number (DMAP, HCPMNet: 2): the case of that rank in the fold, in the order of the dataset, supports all the
          others. The case that two folds share is a query twice, the supports never are;
        - ``"all"`` (Q-Net): each case in turn.

        ``"drawn"`` is a case that the seed and the fold decide, for those who vary the support over seeds.

        Raises:
            UsageError: no such fold, or no such support in it.

        >>> folds = PublishedFolds.consecutive(tuple("abcd"), 2)
        >>> folds.pairs(1), folds.pairs(1, 1)
        ([('a', 'c'), ('a', 'd')], [('c', 'a'), ('c', 'd')])
        """
        members = self.fold(number)
        if support == "last":
            supports = members[-1:]
        elif support == "all":
            supports = tuple(sorted(members))
        elif support == "drawn":
            supports = (sorted(members)[int(np.random.default_rng((seed, number)).integers(len(members)))],)
        elif isinstance(support, int) and 0 <= support < len(members):
            supports = tuple(sorted(members))[support : support + 1]
        else:
            ranks = f"0 to {len(members) - 1}"
            raise UsageError(f"fold {number}: support {support!r}; expected last, all, drawn, or {ranks}")
        order = members if support == "last" else sorted(members)
        return [(self.cases[s], self.cases[q]) for s in supports for q in order if q != s]


def _by_number(name: str) -> list[tuple[int, str]]:
    """Digits count by their value."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]
