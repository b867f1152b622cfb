"""The mixture of prototypes is what the published module computes."""

from pathlib import Path

import pytest
import torch
from reference_vectors import assert_matches, load_case

from medfs.fewshot.heads import PMMHead


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_reference_pmm_module(reference: Path, mode) -> None:
    case = load_case(reference, "pmm_module")
    _, channels, components = case.arrays["initial_mu"].shape
    head = PMMHead((channels,), channels, mixtures=(components,)).eval()
    head.initial_0.copy_(case.tensor("initial_mu")[0].T)
    head.reduce = torch.nn.Identity()  # the release keeps the mixture apart from the layers before it
    mask = case.tensor("support_mask").bool()
    support, query = (case.tensor("support_feature")[:, None],), (case.tensor("query_feature"),)
    with mode():
        found = head.extract(support, mask)
        prediction = head.match(query, support, mask, found)
    assert_matches(found[0].foreground, case.arrays["foreground_prototypes"])
    assert_matches(found[0].background, case.arrays["background_prototypes"])
    assert_matches(prediction.side["mixture_probability"], case.arrays["probability"])
