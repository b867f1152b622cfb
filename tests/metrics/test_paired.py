"""Paired comparison of two methods, against SciPy and by hand."""

import math

import numpy as np
import pytest
from scipy.stats import wilcoxon

from medfs.errors import UsageError
from medfs.metrics import holm, paired_difference


def _by_case(values: np.ndarray) -> dict[str, float]:
    return {f"case_{place}": float(value) for place, value in enumerate(values)}


def test_the_p_value_is_that_of_scipy_on_the_paired_values():
    random = np.random.default_rng(0)
    first, second = random.random(20), random.random(20)
    found = paired_difference(_by_case(first), _by_case(second))
    assert found.p == pytest.approx(wilcoxon(first, second).pvalue)
    assert found.mean == pytest.approx((first - second).mean())
    assert (found.better, found.worse, found.n) == ((first > second).sum(), (first < second).sum(), 20)


def test_the_order_of_the_cases_does_not_matter():
    first, second = {"a": 0.5, "b": 0.9, "c": 0.1}, {"c": 0.3, "b": 0.1, "a": 0.2}
    assert paired_difference(first, second) == paired_difference(dict(sorted(first.items())), second)


def test_equal_methods_do_not_differ():
    found = paired_difference({"a": 0.5, "b": 0.9}, {"a": 0.5, "b": 0.9})
    assert (found.mean, found.better, found.worse, found.p) == (0.0, 0, 0, 1.0)


def test_a_case_without_a_value_on_one_side_does_not_count():
    found = paired_difference({"a": 0.5, "b": math.nan}, {"a": 0.25, "b": 0.9})
    assert (found.mean, found.n) == (0.25, 1)


@pytest.mark.parametrize(
    ("first", "second", "cause"),
    [({"a": 1.0}, {"b": 1.0}, "one of two methods"), ({"a": math.nan}, {"a": 1.0}, "no case")],
)
def test_what_cannot_be_compared_is_refused(first: dict[str, float], second: dict[str, float], cause: str):
    with pytest.raises(UsageError, match=cause):
        paired_difference(first, second)


def test_adjusted_p_values_never_fall_below_the_plain_ones_and_keep_their_order():
    plain = np.random.default_rng(1).random(12) ** 3
    adjusted = np.array(holm(list(plain)))
    assert (adjusted >= plain).all()
    assert adjusted.max() <= 1
    assert (np.diff(adjusted[np.argsort(plain)]) >= 0).all()
    assert adjusted.min() == pytest.approx(min(1.0, 12 * plain.min()))
