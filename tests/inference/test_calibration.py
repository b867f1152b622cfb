"""The decision of an organ set on labelled scans."""

import numpy as np
import pytest
import torch
from few_shot_boxes import LABELS, scan, segmentor
from hypothesis import given
from hypothesis import strategies as st

from medfs.inference.calibration import best_offset
from medfs.inference.fewshot import FewShotSegmenter

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


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_levels_are_those_of_all_scores_of_the_own_supports_and_no_others_are_computed(spatial_dims, monkeypatch):
    supports = [scan(), scan(shift_mm=8, organs=(1,)), scan(spacing_mm=(5.0, 5.0, 10.0), shift_mm=4)]
    options = {"size": 64, "alone": True, "body": True}
    segmenter = FewShotSegmenter(segmentor(spatial_dims), supports, LABELS, **options)
    images = [segmenter.grid.image(support.image) for support in supports]
    truths = [segmenter.grid.labels(support.labels).numpy()[:, 0] for support in supports]
    odds = [torch.cat([part for _, part in segmenter._odds(image, range(4))], dim=2).numpy() for image in images]
    expected = np.zeros((4, 2), np.float32)
    for group, members in enumerate([(0, 1, 2), (0,), (1,), (2,)]):
        for organ in (0, 1):
            scores = np.concatenate([odds[index][group, organ].ravel() for index in members])
            truth = np.concatenate([truths[index].ravel() == organ + 1 for index in members])
            expected[group, organ] = best_offset(scores, truth)
    asked, odds_of = [], FewShotSegmenter._odds

    def watched(self, image, groups):
        asked.append(list(groups))
        return odds_of(self, image, groups)

    monkeypatch.setattr(FewShotSegmenter, "_odds", watched)
    offsets = FewShotSegmenter(segmentor(spatial_dims), supports, LABELS, calibrate=True, **options).offsets
    np.testing.assert_array_equal(offsets.numpy(), expected)
    assert np.count_nonzero(expected) == 7  # the second support does not show the spleen
    assert asked == [[0, 1], [0, 2], [0, 3]]
