"""IFA computes what the published network computes, with and without refinement, in evaluation and in training."""

from pathlib import Path

import pytest
import torch
from reference_vectors import assert_matches, load_case

from medfs.fewshot.published import load_published, published_segmentor
from medfs.networks.functional import resize
from medfs.types import Episode

_OF_TRAINING = ("query", "support", "support_1", "round_2", "support_2", "round_3", "support_3")


@pytest.mark.usefixtures("several_threads")
@pytest.mark.parametrize(("refine", "name"), [(True, "refine"), (False, "plain")])
def test_reference_ifa_resnet50(reference: Path, refine, name) -> None:
    case = load_case(reference, f"ifa_resnet50_{name}")
    segmentor = published_segmentor("ifa")
    load_published(segmentor, case.parameters, "ifa")
    segmentor.eval().head.refine = refine
    mask, target = case.tensor("mask").bool()[:, None], case.tensor("query_mask").long()
    with torch.no_grad():
        query, support = segmentor.encode(Episode(case.tensor("support")[:, None], mask, case.tensor("query")))
        prediction = segmentor.match(query, support, mask)
        further = segmentor.head.outputs_of_training(prediction, query, support, mask, target)
    outputs = ([prediction.logits] if refine else []) + [resize(prediction.side["first"], mask.shape[2:])]
    for place, output in enumerate(outputs):
        assert_matches(output, case.arrays[f"eval_output_{place}"], elsewhere=1e-3)
    outputs += [resize(further[key], mask.shape[2:]) for key in _OF_TRAINING]
    for place, output in enumerate(outputs):
        assert_matches(output, case.arrays[f"train_output_{place}"], elsewhere=1e-3)
