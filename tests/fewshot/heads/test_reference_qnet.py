"""Q-Net computes what the published network computes."""

from pathlib import Path

import pytest
import torch
from reference_vectors import assert_loss_matches, assert_matches, load_case

from medfs.fewshot.published import load_published, published_segmentor
from medfs.losses import alignment_loss
from medfs.types import Episode


@pytest.mark.usefixtures("several_threads")
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_reference_qnet(reference: Path, mode) -> None:
    case = load_case(reference, "qnet")
    segmentor = published_segmentor("qnet")
    load_published(segmentor, case.parameters, "qnet")
    segmentor.eval()
    mask = case.tensor("mask").bool()[:, None]
    with mode():
        query, support = segmentor.encode(Episode(case.tensor("support")[:, None], mask, case.tensor("query")))
        plain = segmentor.match(query, support, mask)
        with segmentor.head.adapt(query, support, mask):
            refined = segmentor.match(query, support, mask)
        again = segmentor.match(query, support, mask)
        align = alignment_loss(segmentor.head.swapped(plain), plain, query, support, mask)
    assert_matches(plain.probability, case.arrays["probability"], elsewhere=1e-3)
    assert_matches(refined.probability, case.arrays["probability_refined7"], elsewhere=1e-3)
    assert (refined.probability - plain.probability).abs().max() > 1e-3
    assert torch.equal(again.logits, plain.logits)
    assert_loss_matches(align, case.arrays["align_loss"])
