"""SSL-ALPNet's adaptive local prototypes score what the published module scores."""

from pathlib import Path

import pytest
import torch
from reference_vectors import assert_matches, load_case

from medfs.fewshot.heads import ALPHead


@pytest.mark.parametrize(("mode", "published"), [("mask", "mask"), ("grid", "gridconv"), ("grid+", "gridconv+")])
@pytest.mark.parametrize(("training", "prefix"), [(True, "score_"), (False, "score_val_")])
def test_reference_alp_module(reference: Path, mode, published, training, prefix) -> None:
    case = load_case(reference, "alp_module")
    channels = case.arrays["query_feature"].shape[2]
    head = ALPHead((channels,), channels, foreground=mode).train(training)
    with torch.no_grad():
        head.reduce.weight.copy_(torch.eye(channels)[..., None])
        query, support = (case.tensor("query_feature")[0],), (case.tensor("support_feature")[0],)
        mask = case.tensor("support_mask")[0].bool()
        prediction = head.match(query, support, mask, head.extract(support, mask))
    assert_matches(prediction.logits[:, 1:], case.arrays[prefix + published])
