"""DMTNet computes what the published network computes."""

from pathlib import Path

import pytest
import torch
from reference_vectors import assert_matches, load_case

from medfs.fewshot.published import load_published, published_segmentor
from medfs.networks.functional import resize
from medfs.types import Episode

_MAPS = 13


@pytest.mark.usefixtures("several_threads")
def test_reference_dmtnet_resnet50(reference: Path) -> None:
    case = load_case(reference, "dmtnet_resnet50")
    segmentor = published_segmentor("dmtnet")
    load_published(segmentor, case.parameters, "dmtnet")
    mask = case.tensor("mask").bool()[:, None]
    with torch.no_grad():
        prediction = segmentor.eval()(Episode(case.tensor("support")[:, None], mask, case.tensor("query")))
    for level in range(_MAPS):
        assert_matches(prediction.side[f"score_{level}"][:, 0], case.arrays[f"layer_score_{level}"], elsewhere=1e-3)
    assert_matches(prediction.logits, case.arrays["logit"], elsewhere=1e-3)
    background = resize(prediction.side["background_logits"][:, 0], mask.shape[2:])
    assert_matches(background, case.arrays["background_logit"], elsewhere=1e-3)
