"""PATNet computes what the published network computes."""

from pathlib import Path

import pytest
import torch
from reference_vectors import assert_matches, load_case

from medfs.fewshot.published import load_published, published_segmentor
from medfs.types import Episode


@pytest.mark.usefixtures("several_threads")
def test_reference_patnet_resnet50(reference: Path) -> None:
    case = load_case(reference, "patnet_resnet50")
    segmentor = published_segmentor("patnet")
    left_out = load_published(segmentor, case.parameters, "patnet")
    assert {name.split(".")[0] for name in left_out} <= {"backbone", *(f"reference_layer{n}" for n in (1, 2, 3))}
    mask = case.tensor("mask").bool()[:, None]
    with torch.no_grad():
        prediction = segmentor.eval()(Episode(case.tensor("support")[:, None], mask, case.tensor("query")))
    assert_matches(prediction.logits, case.arrays["logit"], elsewhere=1e-3)
