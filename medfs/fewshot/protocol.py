"""One object that says how a few-shot table was made: folds, settings, supports, rules, and who may see whom."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan, nan
from statistics import fmean
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medfs.errors import InputError, UsageError
from medfs.fewshot.cases import EpisodeCase
from medfs.fewshot.rules import EP1, EP2, EvaluationRule, WithoutOracle
from medfs.fewshot.sampling import Exclusion
from medfs.fewshot.segmenters import ScanSegmenter
from medfs.io import Case
from medfs.io.folds import PublishedFolds, Support
from medfs.metrics import OrganScore, Summary, score_case, score_rows, summarise

_C = TypeVar("_C", Case, EpisodeCase)


@dataclass(frozen=True, slots=True)
class FewShotScore:
    """One organ of one query, found from one support under one rule.

    Attributes:
        rule: its name.
        fold: number of the fold.
        seed: of the training.
        support: name of the support case.
        score: Dice, IoU and surface distances, under the convention of the rule.
    """

    rule: str
    fold: int
    seed: int
    support: str
    score: OrganScore


@dataclass(frozen=True)
class FewShotProtocol:
    """How a few-shot method is trained and tested on a dataset.

    No patient of a fold is seen in training, and no query is shown a support of its own patient.

    Attributes:
        folds: who is tested together.
        organs: names of the tested organs by label value.
        support: which cases of a fold support the others, see :meth:`~medfs.io.folds.PublishedFolds.pairs`.
        exclusion: organs that training must not see: none in Setting 1, the tested ones in Setting 2.
        rules: how slices are paired and scored, all from one training.
        seed: of the training, for the rows; it also draws the support where that is to be drawn.
        nsd_tolerance_mm: tolerance of the surface Dice.

    Raises:
        UsageError: no organ is tested, training excludes organs other than those tested, or a fold has no such support.
    """

    folds: PublishedFolds
    organs: Mapping[int, str]
    support: Support = "last"
    exclusion: Exclusion = field(default_factory=Exclusion)
    rules: Sequence[EvaluationRule] = field(default_factory=lambda: (EP1(), EP2(), WithoutOracle()))
    seed: int = 0
    nsd_tolerance_mm: float = 2.0

    def __post_init__(self) -> None:
        for fold in range(len(self.folds.members)):  # a support that a fold lacks is wrong before anything is trained
            self.folds.pairs(fold, self.support)
        if not self.organs:
            raise UsageError("protocol: no organ to test; expected at least one")
        if self.exclusion.organs and set(self.exclusion.organs) != set(self.organs):
            raise UsageError(
                f"protocol: training excludes the label values {sorted(self.exclusion.organs)}, but "
                f"{sorted(self.organs)} are tested; Setting 2 tests the organs that were excluded"
            )

    def training(self, cases: Sequence[_C], fold: int) -> list[_C]:
        """The cases that training may see: those of all patients who are not in the fold.

        Raises:
            UsageError: no such fold, a case of it is missing, or nobody is left.
        """
        names = self._names(cases, fold)
        held_out = {case.patient for case in cases if case.name in names}
        left = [case for case in cases if case.patient not in held_out]
        if not left:
            raise UsageError(f"fold {fold}: all {len(cases)} cases are of its patients; nobody is left for training")
        return left

    def tests(self, cases: Sequence[_C], fold: int) -> list[tuple[_C, _C]]:
        """Support and query of every test of a fold; a query is not tested with a support of its own patient.

        Raises:
            UsageError: no such fold or support, a case is missing, or no pair is left.
        """
        self._names(cases, fold)
        by_name = {case.name: case for case in cases}
        named = self.folds.pairs(fold, self.support, self.seed)
        pairs = [(by_name[support], by_name[query]) for support, query in named]
        apart = [(support, query) for support, query in pairs if support.patient != query.patient]
        if not apart:
            raise UsageError(f"fold {fold}: every query is of the patient of its support; make folds by patient")
        return apart

    def evaluate(
        self,
        segmenter: ScanSegmenter,
        cases: Sequence[EpisodeCase],
        fold: int,
        on_query: Callable[[str], None] = lambda name: None,
    ) -> list[FewShotScore]:
        """Segment and score every test of a fold, on the grid of the files.

        An organ that the support lacks cannot be asked for and has no row. Under a rule with an oracle, neither has one
        that the query lacks.

        Args:
            segmenter: the method.
            cases: prepared with their label maps as objects.
            fold: its number.
            on_query: called with the name of each query that is done.

        Raises:
            InputError: the axes of the scans point in different directions.
        """
        by_query: dict[str, list[EpisodeCase]] = defaultdict(list)
        tests = self.tests(cases, fold)
        _require_one_orientation([case for pair in tests for case in pair])
        for support, query in tests:
            by_query[query.name].append(support)
        queries = {query.name: query for _, query in tests}
        shown = {support.name: support.open() for support, _ in tests}  # the same arrays for every query
        rows: list[FewShotScore] = []
        for name, supports in by_query.items():
            prepared = segmenter.prepare(queries[name].open()[0])
            for support in supports:
                scores = self._scores(segmenter, prepared, queries[name], shown[support.name])
                rows += [FewShotScore(rule, fold, self.seed, support.name, score) for rule, score in scores]
            on_query(name)
        return rows

    def _scores(
        self,
        segmenter: ScanSegmenter,
        prepared: Any,
        query: EpisodeCase,
        support: tuple[NDArray[np.float32], NDArray[np.integer]],
    ) -> Iterable[tuple[str, OrganScore]]:
        (image, labels), truth = support, query.open()[1]
        spacing_mm = _spacing_mm(query)
        for value, organ in self.organs.items():
            mask, reference = labels == value, truth == value
            if not mask.any():
                continue
            sought = reference.any(axis=(1, 2))
            for rule in self.rules:
                if rule.oracle and not sought.any():
                    continue
                guide = rule.guide(mask, len(truth), sought if rule.oracle else None)
                found = segmenter.segment(prepared, image, mask, guide, organ)
                (score,) = score_case(
                    found.transpose(1, 2, 0),  # conventions take the last axis for the slices
                    reference.transpose(1, 2, 0),
                    spacing_mm,
                    {1: organ},
                    case=query.name,
                    nsd_tolerance_mm=self.nsd_tolerance_mm,
                    convention=rule.convention,
                )
                yield rule.name, score

    def _names(self, cases: Sequence[_C], fold: int) -> set[str]:
        names = {self.folds.cases[place] for place in self.folds.fold(fold)}
        if missing := sorted(names - {case.name for case in cases}):
            raise UsageError(f"fold {fold}: {', '.join(missing)} missing; expected all cases of the fold, with labels")
        return names


def summarise_rule(scores: Sequence[FewShotScore], rule: str) -> Summary:
    """Mean, deviation and count over all queries, supports, folds and seeds together.

    Raises:
        UsageError: there is no row of the rule.
    """
    chosen = [row for row in scores if row.rule == rule]
    return summarise([replace(row.score, case=f"{row.seed}/{row.fold}/{row.support}/{_case(row)}") for row in chosen])


def published_means(scores: Sequence[FewShotScore], rule: str, metric: str = "dice") -> dict[str, float]:
    """The mean of each organ as published tables have it: over the queries of a support, then over supports and folds.

    It differs from the plain mean where folds have different numbers of queries. Values that are not a number are left
    out; an organ without any other is one.
    """
    groups: dict[str, dict[tuple[int, int, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in scores:
        if row.rule == rule:
            groups[row.score.organ][row.seed, row.fold, row.support].append(getattr(row.score, metric))
    means = {organ: [_mean(values) for values in group.values()] for organ, group in groups.items()}
    return {organ: _mean(values) for organ, values in means.items()}


def protocol_rows(scores: Sequence[FewShotScore]) -> list[dict[str, Any]]:
    """Rows for CSV: rule, fold, seed and support before the columns of `medfs.metrics.score_rows`."""
    return [
        {"rule": row.rule, "fold": row.fold, "seed": row.seed, "support": row.support, **score_rows([row.score])[0]}
        for row in scores
    ]


def _case(row: FewShotScore) -> str:
    return row.score.case


def _mean(values: Iterable[float]) -> float:
    used = [value for value in values if not isnan(value)]
    return fmean(used) if used else nan


def _spacing_mm(case: EpisodeCase) -> tuple[float, float, float]:
    """Of the arrays of a case with the slices moved to the end."""
    spacing, axis = np.linalg.norm(case.affine[:3, :3], axis=0), case.index.axis
    rows, columns = sorted({0, 1, 2} - {axis}, reverse=True)
    return float(spacing[rows]), float(spacing[columns]), float(spacing[axis])


def _require_one_orientation(cases: Sequence[EpisodeCase]) -> None:
    codes = {case.name: "".join(nib.aff2axcodes(case.affine)) + str(case.index.axis) for case in cases}
    first, *others = codes
    odd = next((name for name in others if codes[name] != codes[first]), None)
    if odd is not None:
        raise InputError(
            f"{odd}: axes point to {codes[odd][:3]}, those of {first} to {codes[first][:3]}; "
            "expected one orientation, as the recipes of preprocessing write it"
        )
