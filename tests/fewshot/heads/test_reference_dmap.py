"""DMAP computes what the published network computes."""

from pathlib import Path

import pytest
import torch
from reference_vectors import assert_matches, load_case

from medfs.errors import InputError
from medfs.fewshot.published import load_published, published_segmentor
from medfs.types import Episode


@pytest.mark.usefixtures("several_threads")
def test_reference_dmap(reference: Path) -> None:
    case = load_case(reference, "dmap")
    segmentor = published_segmentor("dmap")
    load_published(segmentor, case.parameters, "dmap")
    segmentor.eval()
    support, query = case.tensor("support"), case.tensor("query")
    episode = Episode(support[:, None], case.tensor("mask").bool()[:, None], query)
    with torch.no_grad():
        prediction = segmentor(episode)
        stages = segmentor.encoder(torch.cat([support, query]))
        fine, thresholds = segmentor.head.reduce[0](stages[0]), segmentor.head.thresholds(stages[-1], 0)
    assert_matches(prediction.probability, case.arrays["probability"], elsewhere=1e-3)
    assert_matches(thresholds, case.arrays["threshold"], elsewhere=1e-3)
    assert_matches(prediction.side["threshold"], case.arrays["threshold"][1:], elsewhere=1e-3)
    assert_matches(fine, case.arrays["feature_stride4"], elsewhere=1e-3)


def test_a_missing_and_an_unknown_published_name_are_told(reference: Path) -> None:
    parameters = load_case(reference, "dmap").parameters
    del parameters["encoder.reduce1d.bias"]
    segmentor = published_segmentor("dmap")
    with pytest.raises(InputError, match=r"missing encoder\.reduce1d\.bias;"):
        load_published(segmentor, parameters, "dmap")
    with pytest.raises(InputError, match=r"unexpected decoder\.weight"):
        load_published(segmentor, {"decoder.weight": torch.zeros(1)}, "dmap")
