"""Tables of a comparison in which not every seed of every arm gave a result."""

import math

import pytest

from medfs.inference.comparison_table import Result, comparison_table
from medfs.metrics import OrganScore, Status

CASES = {"a": 0.0, "b": 0.01, "c": 0.03}


def result(dice: float) -> Result:
    """One organ in three cases, one of them at the given Dice."""
    rows = (
        OrganScore(case, "liver", Status.BOTH, 9, 9, 1.0, 1.0, dice + more, 0.5, *[1.0] * 4, 0.5, 1.0, 10.0, "medfs")
        for case, more in CASES.items()
    )
    return Result(tuple(rows), math.nan)


def rows(table: str) -> dict[str, list[str]]:
    """Cells by the first one of each line."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    return {first: cells for first, *cells in lines}


def pairs(*found: tuple[str, str]):
    return lambda _done: found


def test_arms_are_paired_over_the_seeds_that_both_have():
    first = {0: result(0.1), 1: result(0.5), 2: result(0.7)}
    second = {1: result(0.4), 2: result(0.6)}  # seed 0 failed
    table = rows(comparison_table({(4, "A"): first, (4, "B"): second}, pairs(("A", "B"))))
    place = table["arm"].index("seeds")
    assert (table["A"][place], table["B"][place]) == ("3", "2")
    assert table["B"][0].startswith(f"{0.5 + sum(CASES.values()) / 3:.3f}")
    assert table["A against B"][:3] == ["2", "+0.1000", "3 / 0 of 3"]


@pytest.mark.parametrize("apart", [{0: 0.1}, {0: 0.1, 3: 0.2}])
def test_arms_without_a_common_seed_are_not_tested(apart):
    results = {
        (4, "A"): {seed: result(dice) for seed, dice in apart.items()},
        (4, "B"): {1: result(0.4)},
        (4, "C"): {0: result(0.3)},
    }
    table = rows(comparison_table(results, pairs(("A", "B"), ("C", "A"))))
    assert "A against B" not in table
    assert table["C against A"][:2] == ["1", "+0.2000"]
    assert "Dice, paired over cases" not in comparison_table(results, pairs(("A", "B")))
