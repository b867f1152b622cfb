"""What the next episode shows, drawn from tables without rejection, from nothing but seed, epoch and index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medfs.errors import UsageError
from medfs.fewshot.cases import EpisodeCase
from medfs.fewshot.modes import CaseTable, Draw, EpisodeMode


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Organs that training must not see (Setting 2); none by default (Setting 1).

    Args:
        organs: label values.
        policy: ``any`` drops a slice that shows one of the organs. ``all`` drops it only when it shows every one of
            them, as the published code of Q-Net, DMAP and HCPMNet does: with liver and spleen excluded, a slice with
            liver alone stays.

    Raises:
        UsageError: for another policy, or when the background is excluded.

    **Differs from the paper**: ``any`` is what the papers describe.
    """

    organs: tuple[int, ...] = ()
    policy: Literal["any", "all"] = "any"

    def __post_init__(self) -> None:
        if self.policy not in ("any", "all"):
            raise UsageError(f"exclusion policy {self.policy!r}; expected any or all")
        if any(organ < 1 for organ in self.organs):
            raise UsageError(f"excluded label values {self.organs}; expected organs, which are above 0")

    def allowed(self, case: EpisodeCase) -> NDArray[np.bool_]:
        """(slices,) which slices of a case may be seen.

        Raises:
            UsageError: organs are excluded and the case has no label map.
        """
        if not self.organs:
            return np.ones(case.index.length, bool)
        if case.organs is None:
            raise UsageError(f"{case.name}: has no label map; without one no slice can be excluded: leave out the case")
        shown = np.stack([case.organs.areas_of(organ) > 0 for organ in self.organs])
        excluded = shown.any(axis=0) if self.policy == "any" else shown.all(axis=0)
        return np.logical_not(excluded)


class EpisodeSampler:
    """Draws episodes: a case, an object in it, one of its runs of windows, and a window, each with equal chances.

    Only what can be an episode is in the tables, so every draw succeeds at once.

    Args:
        cases: prepared cases.
        mode: how support and query are paired.
        exclusion: organs whose slices are not seen.
        seed: not negative; another seed, other episodes.

    Raises:
        UsageError: no episode is possible; the message says how far the cases go. Or the mode needs organs and the
            cases have supervoxels.
    """

    def __init__(
        self, cases: Sequence[EpisodeCase], mode: EpisodeMode, *, exclusion: Exclusion = Exclusion(), seed: int = 0
    ) -> None:
        if seed < 0:
            raise UsageError(f"seed {seed}; expected a number >= 0")
        unlabelled = next((case.name for case in cases if not case.of_organs), None)
        if mode.needs_organs and unlabelled is not None:
            raise UsageError(f"{unlabelled}: {type(mode).__name__} draws organs; expected objects from the label maps")
        self.cases, self.mode, self.exclusion, self.seed = tuple(cases), mode, exclusion, seed
        allowed = [exclusion.allowed(case) for case in cases]
        tables = [_table(number, case, mode, exclusion, allowed[number]) for number, case in enumerate(cases)]
        self.tables = mode.usable(tables)
        if not self.tables:
            slices, left = sum(len(a) for a in allowed), sum(int(a.sum()) for a in allowed)
            raise UsageError(
                f"no episode possible: {len(cases)} cases with {sum(len(case.index.ids) for case in cases)} objects, "
                f"{left} of {slices} slices may be seen; {mode.wanted} is needed and none has it"
            )

    def draw(self, epoch: int, index: int) -> Draw:
        """The episode with this number, the same whatever was drawn before."""
        return self.mode.draw(self.tables, counted_random(self.seed, 0, epoch, index))


def counted_random(*counters: int) -> np.random.Generator:
    """A generator that depends on these numbers alone, none of them negative."""
    return np.random.default_rng(counters)


def _table(
    number: int, case: EpisodeCase, mode: EpisodeMode, exclusion: Exclusion, allowed: NDArray[np.bool_]
) -> CaseTable:
    ids, areas = case.index.ids, case.index.area_table()
    if case.of_organs:  # under the policy "all" an excluded organ is seen, but never asked for
        kept = ~np.isin(ids, exclusion.organs)
        ids, areas = ids[kept], areas[kept]
    eligible, stops = mode.eligible(areas, allowed)
    some = eligible.any(axis=1)
    edges = np.diff(eligible[some].astype(np.int8), axis=1, prepend=0, append=0)
    rows, firsts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    offsets = np.searchsorted(rows, np.arange(int(some.sum()) + 1)).astype(np.int64)
    return CaseTable(number, case.patient, ids[some], offsets, np.stack([firsts, ends - firsts], axis=1), stops)
