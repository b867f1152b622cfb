"""The decision of an organ set on labelled scans."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medfs.inference.calibration import best_offset

SCORES = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=12)


def dice(scores, truth, level):
    found = scores > level
    return 2 * (found & truth).sum() / max(1, found.sum() + truth.sum())


@given(SCORES)
def test_no_other_level_has_a_higher_dice(pairs):
    scores, truth = np.array([s for s, _ in pairs], float), np.array([t for _, t in pairs])
    level = best_offset(scores, truth)
    best = max(dice(scores, truth, each) for each in (*(np.unique(scores) - 0.5), 9.0))
    if truth.any():
        assert dice(scores, truth, level) >= best - 1e-12


def test_what_was_not_looked_at_does_not_count_but_misses_do():
    scores = np.array([-np.inf, 1.0, 2.0, 3.0])
    assert best_offset(scores, np.array([True, False, True, True])) == 1.5
    assert best_offset(np.full(3, -np.inf), np.ones(3, bool)) == 0
    assert best_offset(scores, np.zeros(4, bool)) == 0
