"""Is one method better than another on the same cases?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy.stats import wilcoxon

from medfs.errors import UsageError


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Two methods on the same cases.

    Attributes:
        mean: of first minus second.
        better: cases in which the first is larger.
        worse: cases in which it is smaller.
        n: cases with a value of both.
        p: two-sided Wilcoxon signed-rank test; 1 where no case differs.
    """

    mean: float
    better: int
    worse: int
    n: int
    p: float


def paired_difference(first: Mapping[str, float], second: Mapping[str, float]) -> PairedDifference:
    """Compare values by case; a case whose value of one side is no finite number is left out.

    The test speaks of the cases, not of other trainings: average over seeds before it, or it counts each case twice.

    Args:
        first: value by case.
        second: value by case, of the same cases.

    Raises:
        UsageError: the cases differ, or none has both values.

    >>> paired_difference({"a": 0.5, "b": 0.75}, {"a": 0.25, "b": 0.5}).mean
    0.25
    """
    if set(first) != set(second):
        odd = sorted(set(first) ^ set(second))
        raise UsageError(f"{odd[0]}: scored for one of two methods only; expected the same cases for both")
    differences = [first[case] - second[case] for case in sorted(first)]
    used = [difference for difference in differences if math.isfinite(difference)]
    if not used:
        raise UsageError("no case has a value of both methods; expected at least one")
    p = float(wilcoxon(used).pvalue) if any(used) else 1.0
    return PairedDifference(fmean(used), sum(d > 0 for d in used), sum(d < 0 for d in used), len(used), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of several tests, so that the chance of any false finding stays below the level.

    References:
        Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
