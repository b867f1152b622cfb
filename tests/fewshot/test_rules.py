"""EP1, EP2 and the rule without oracle: which support slice stands for which query slice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfs.errors import UsageError
from medfs.fewshot.rules import EP1, EP2, NOT_SOUGHT, EP1ByExtent, EvaluationRule, WithoutOracle, chunk_edges

RULES = [EP1(), EP1ByExtent(), EP2(), WithoutOracle()]


def mask(slices, first, stop):
    """An organ of one pixel from slice ``first`` to ``stop``."""
    result = np.zeros((slices, 2, 2), bool)
    result[first:stop, 1, 1] = True
    return result


def sought(slices, first, stop):
    return mask(slices, first, stop).any(axis=(1, 2))


def test_ep1_shows_three_slices_of_a_support_of_30():
    guide = EP1().guide(mask(40, 6, 36), 34, sought(34, 2, 32))
    assert np.unique(guide.shown[2:32]).tolist() == [6 + 5, 6 + 15, 6 + 25]
    assert [np.flatnonzero(guide.shown == s).tolist() for s in (11, 21, 31)] == [
        [*range(2, 12)],
        [*range(12, 22)],
        [*range(22, 32)],
    ]
    assert (guide.shown[[0, 1, 32, 33]] == NOT_SOUGHT).all()


def test_ep1_shows_slices_1_3_and_5_of_a_support_of_6():
    guide = EP1().guide(mask(6, 0, 6), 3, sought(3, 0, 3))
    assert guide.shown.tolist() == [1, 3, 5]


@given(st.integers(1, 199), st.integers(1, 199))
def test_ep1_chunks_and_positions_are_the_published_ones(of_query, of_support):
    guide = EP1().guide(mask(of_support, 0, of_support), of_query, sought(of_query, 0, of_query))
    edges = np.linspace(0, of_query, 4).astype(int)
    expected = np.repeat([(2 * i + 1) * of_support // 6 for i in range(3)], np.diff(edges))
    assert guide.shown.tolist() == expected.tolist()
    assert chunk_edges(of_query) == edges.tolist()


def test_ep1_counts_slices_that_show_the_organ_not_gaps_between_them():
    shown = np.array([True, False, True, False, True])
    guide = EP1().guide(mask(6, 0, 6), 5, shown)
    assert guide.shown.tolist() == [1, NOT_SOUGHT, 3, NOT_SOUGHT, 5]


@given(st.lists(st.integers(0, 60), min_size=2, unique=True), st.integers(1, 99))
def test_ep1_by_extent_has_the_published_chunks_and_positions(shown, of_support):
    sought = np.isin(np.arange(61), shown)
    guide = EP1ByExtent().guide(mask(of_support, 0, of_support), 61, sought)
    first, last = min(shown), max(shown)
    for z in shown:
        part = min(int((z - first) // ((last - first) / 3)), 2)
        assert guide.shown[z] == (2 * part + 1) * of_support // 6
    assert (guide.shown[~sought] == NOT_SOUGHT).all()


def test_ep1_by_extent_shows_a_single_slice_the_first_part():
    assert EP1ByExtent().guide(mask(6, 0, 6), 3, sought(3, 1, 2)).shown.tolist() == [NOT_SOUGHT, 1, NOT_SOUGHT]


def test_ep2_shows_every_slice_the_middle_of_the_organ():
    guide = EP2().guide(mask(20, 4, 13), 7, None)
    assert guide.shown.tolist() == [4 + 9 // 2] * 7


def test_without_oracle_a_scan_is_shown_the_parts_where_the_support_has_them():
    guide = WithoutOracle().guide(mask(30, 9, 21), 30, None)
    annotated = [9 + 2, 9 + 6, 9 + 10]
    assert guide.shown[[10, 15, 19]].tolist() == annotated
    assert (guide.shown[[0, 29]] == NOT_SOUGHT).all()
    assert guide.twin.tolist() == [*range(30)]


def test_copies_come_from_the_same_place_of_scan_or_organ():
    support = mask(40, 10, 30)
    assert EP2().guide(support, 20, None).twin.tolist() == [2 * z + 1 for z in range(20)]
    twin = EP1().guide(support, 20, sought(20, 5, 15)).twin
    assert twin[5:15].tolist() == [10 + 2 * z + 1 for z in range(10)]
    assert (np.delete(twin, range(5, 15)) == NOT_SOUGHT).all()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_slices_that_are_shown_show_the_organ_and_are_as_few_as_the_rule_says(rule: EvaluationRule, n, slices, data):
    first = data.draw(st.integers(0, n - 1))
    support = mask(n, first, data.draw(st.integers(first + 1, n)))
    guide = rule.guide(support, slices, sought(slices, 0, slices) if rule.oracle else None)
    shown = np.unique(guide.shown[guide.shown != NOT_SOUGHT])
    assert len(guide.shown) == len(guide.twin) == slices
    assert support[shown].any(axis=(1, 2)).all()
    assert len(shown) <= rule.annotated
    assert (guide.twin < n).all()


def test_ep1_needs_the_truth_of_the_query():
    with pytest.raises(UsageError, match="only a scan with its truth"):
        EP1().guide(mask(5, 1, 3), 5, None)


def test_only_ep1_has_an_oracle():
    assert [rule.oracle for rule in RULES] == [True, True, False, False]
    assert [rule.convention for rule in RULES] == ["few_shot", "few_shot", "medfs", "medfs"]
