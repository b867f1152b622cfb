"""Published folds: which cases are tested together, and who supports whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfs.errors import UsageError
from medfs.io.folds import PublishedFolds


def folds(cases, length):
    return PublishedFolds.consecutive(tuple(map(str, range(cases))), length)


def members(published):
    return [list(map(int, fold)) for fold in published.named()]


def test_chaos_has_the_published_folds():
    expected = [[*range(first, first + 5)] for first in (0, 4, 8, 12)] + [[16, 17, 18, 19, 0]]
    assert members(folds(20, 4)) == expected


def test_sabs_and_cmr_have_the_published_folds():
    expected = [[*range(first, first + 7)] for first in (0, 6, 12, 18)] + [[*range(24, 30), 0]]
    assert members(folds(30, 6)) == expected
    expected = [[*range(first, first + 8)] for first in (0, 7, 14, 21)] + [[*range(28, 35), 0]]
    assert members(folds(35, 7)) == expected


@pytest.mark.parametrize(
    ("cases", "length", "supports"),
    [(20, 4, [2, 6, 10, 14, 17]), (30, 6, [2, 8, 14, 20, 25]), (35, 7, [2, 9, 16, 23, 29])],
    ids=["CHAOST2", "SABS", "CMR"],
)
def test_support_of_rank_2_is_the_published_one_and_queries_twice_are_the_shared_ones(cases, length, supports):
    published = folds(cases, length)
    pairs = [pair for fold in range(5) for pair in published.pairs(fold, 2)]
    assert sorted({int(support) for support, _ in pairs}) == supports
    queries = [int(query) for _, query in pairs]
    assert sorted(set(range(cases)) - set(queries)) == supports
    assert sorted(q for q in set(queries) if queries.count(q) == 2) == [length * fold for fold in range(5)]


@pytest.mark.parametrize(("cases", "length"), [(20, 4), (30, 6), (35, 7)])
def test_with_the_last_support_every_case_is_a_query_once(cases, length):
    published = folds(cases, length)
    pairs = [pair for fold in range(5) for pair in published.pairs(fold)]
    assert sorted(int(query) for _, query in pairs) == list(range(cases))
    assert [published.pairs(fold)[0][0] for fold in range(5)] == [str(length * n % cases) for n in range(1, 6)]


def test_all_supports_are_all_ordered_pairs_of_a_fold():
    pairs = folds(20, 4).pairs(1, "all")
    assert sorted(pairs) == sorted((str(s), str(q)) for s in range(4, 9) for q in range(4, 9) if s != q)


def test_a_drawn_support_depends_on_seed_and_fold_alone():
    published = folds(35, 7)
    drawn = [published.pairs(fold, "drawn", seed)[0][0] for seed in range(6) for fold in range(5)]
    assert drawn == [published.pairs(fold, "drawn", seed)[0][0] for seed in range(6) for fold in range(5)]
    assert len(set(drawn)) > 10
    assert all(int(s) in members(published)[place % 5] for place, s in enumerate(drawn))


@given(st.permutations([f"image_{n}" for n in (1, 2, 3, 5, 8, 10, 13, 15, 19, 20)]))
def test_cases_count_by_their_numbers_whatever_order_they_are_found_in(names):
    assert PublishedFolds.of_names(names, 4).named()[1][0] == "image_8"
    assert PublishedFolds.of_names(names, 4).named()[2] == ["image_19", "image_20", "image_1"]


@pytest.mark.parametrize("length", [0, 20, 21])
def test_a_fold_needs_queries_and_a_support(length):
    with pytest.raises(UsageError, match="expected at least one case more"):
        PublishedFolds.of_names([f"image_{n}" for n in range(20)], length)


@pytest.mark.parametrize(("fold", "support"), [(5, "last"), (-1, "last"), (0, 5), (0, "first"), (0, -1)])
def test_folds_and_supports_that_do_not_exist_are_refused(fold, support):
    with pytest.raises(UsageError, match="expected"):
        folds(20, 4).pairs(fold, support)
