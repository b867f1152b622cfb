"""Leave-one-out scores are computed once for the same parameters."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from medfs.inference.expected import LEAVE_ONE_OUT, expected_scores
from medfs.metrics import score_case


@pytest.fixture
def scores():
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    return score_case(np.roll(labels, 1, 0), labels, (1.0, 1.0, 2.0), {1: "liver", 2: "spleen"}, case="a")


def test_scores_are_kept_for_the_same_parameters_alone(scores, tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return scores

    results = [expected_scores(tmp_path / "out", {"size": size}, compute) for size in (64, 64, 32, 32)]
    assert len(calls) == 2
    written = {json.dumps([asdict(row) for row in result]) for result in results}
    assert len(written) == 1


@pytest.mark.parametrize("content", ["", "[1]", '{"parameters": {}, "scores": [{"case": 1}]}', '{"scores": []}'])
def test_a_file_that_cannot_be_used_is_replaced(scores, tmp_path, content):
    (tmp_path / LEAVE_ONE_OUT).write_text(content)
    assert expected_scores(tmp_path, {}, lambda: scores) == scores
    again = expected_scores(tmp_path, {}, list)
    assert again[0].dice == scores[0].dice
