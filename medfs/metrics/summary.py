"""Means over cases and organs that always say how many cases stand behind them."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

from medfs.errors import UsageError
from medfs.metrics.conventions import ConventionName, Status, find_convention
from medfs.metrics.score import OrganScore


@dataclass(frozen=True, slots=True)
class Statistic:
    """A mean and what it is a mean of.

    Attributes:
        mean: Arithmetic mean; not a number if nothing was used.
        sd: Sample standard deviation; not a number below two values or beside an infinite one.
        n_used: Values in the mean.
        n_total: Values there could have been.
        n_missed: Cases among the total in which the organ was missed.
    """

    mean: float
    sd: float
    n_used: int
    n_total: int
    n_missed: int


@dataclass(frozen=True, slots=True)
class OrganSummary:
    """One organ over all cases.

    Attributes:
        organ: Name of the organ.
        n_total: Cases scored.
        n_both_empty: Cases without the organ in either mask.
        n_missed: Cases with the organ in the reference and not in the prediction.
        n_false_positive: Cases with the organ in the prediction and not in the reference.
        nsd_tolerance_mm: Tolerance of the normalised surface Dice.
        metrics: Statistic of each metric that the convention defines.
    """

    organ: str
    n_total: int
    n_both_empty: int
    n_missed: int
    n_false_positive: int
    nsd_tolerance_mm: float
    metrics: Mapping[str, Statistic]

    @property
    def false_positive_rate(self) -> float:
        """Share of the cases without the organ in which it was predicted; not a number if there are none."""
        n_absent = self.n_both_empty + self.n_false_positive
        return self.n_false_positive / n_absent if n_absent else nan


@dataclass(frozen=True, slots=True)
class Summary:
    """All organs over all cases.

    Attributes:
        convention: Name of the convention of the rows.
        organs: One summary per organ, in the order of the rows.
        overall: Mean of the organs' means for each metric; its counts are of organs, ``n_missed`` of cases.
    """

    convention: ConventionName
    organs: tuple[OrganSummary, ...]
    overall: Mapping[str, Statistic]


def summarise(scores: Sequence[OrganScore]) -> Summary:
    """Average rows over cases for each organ, then over organs.

    Values that are not a number are left out of a mean and show in its counts. Under ``medfs`` an infinite distance
    enters as the diagonal of that case's image, so that a missed organ is never better than a bad one; under other
    conventions it stays infinite. An organ without any value is left out of the overall mean.

    Args:
        scores: Rows of one convention from :func:`medfs.metrics.score_case`, of any number of cases.

    Raises:
        UsageError: No rows, rows of different conventions or NSD tolerances of one organ, or the same organ of the
            same named case twice.
    """
    if not scores:
        raise UsageError("no scores to summarise; expected at least one row")
    conventions = sorted({score.convention for score in scores})
    if len(conventions) > 1:
        raise UsageError(f"scores follow different conventions ({', '.join(conventions)}); expected one")
    by_organ: dict[str, list[OrganScore]] = {}
    seen: set[tuple[str, str]] = set()
    for score in scores:
        if score.case and (score.case, score.organ) in seen:
            raise UsageError(f"{score.case}: {score.organ} is scored twice; expected one row per case and organ")
        seen.add((score.case, score.organ))
        by_organ.setdefault(score.organ, []).append(score)
    organs = tuple(_summarise_organ(organ, rows) for organ, rows in by_organ.items())
    n_missed = sum(organ.n_missed for organ in organs)
    overall = {
        metric: _statistic([organ.metrics[metric].mean for organ in organs], n_missed) for metric in organs[0].metrics
    }
    return Summary(scores[0].convention, organs, overall)


def _summarise_organ(organ: str, rows: Sequence[OrganScore]) -> OrganSummary:
    tolerances = {row.nsd_tolerance_mm for row in rows}
    if len(tolerances) > 1:
        raise UsageError(f"{organ} is scored with NSD tolerances {sorted(tolerances)} mm; expected one")
    rule = find_convention(rows[0].convention)
    count = {status: sum(row.status is status for row in rows) for status in Status}
    n_missed = count[Status.PRED_EMPTY]
    values = {metric: [_value(row, metric, rule.worst_is_diagonal) for row in rows] for metric in rule.metrics}
    return OrganSummary(
        organ=organ,
        n_total=len(rows),
        n_both_empty=count[Status.BOTH_EMPTY],
        n_missed=n_missed,
        n_false_positive=count[Status.REF_EMPTY],
        nsd_tolerance_mm=tolerances.pop(),
        metrics={metric: _statistic(values[metric], n_missed) for metric in rule.metrics},
    )


def _value(row: OrganScore, metric: str, worst_is_diagonal: bool) -> float:
    value: float = getattr(row, metric)
    return row.diagonal_mm if worst_is_diagonal and math.isinf(value) else value


def _statistic(values: Sequence[float], n_missed: int) -> Statistic:
    used = [value for value in values if not math.isnan(value)]
    mean = statistics.fmean(used) if used else nan
    sd = statistics.stdev(used) if len(used) > 1 and math.isfinite(mean) else nan
    return Statistic(mean, sd, len(used), len(values), n_missed)
