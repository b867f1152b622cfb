"""ADNet computes what the published network computes."""

from pathlib import Path

import pytest
import torch
from reference_vectors import assert_loss_matches, assert_matches, load_case

from medfs.errors import InputError
from medfs.fewshot.published import load_published, published_segmentor
from medfs.losses import alignment_loss
from medfs.types import Episode


@pytest.mark.usefixtures("several_threads")
def test_reference_adnet(reference: Path) -> None:
    case = load_case(reference, "adnet")
    segmentor = published_segmentor("adnet")
    load_published(segmentor, case.parameters, "adnet")
    segmentor.eval()
    mask = case.tensor("mask").bool()
    with torch.no_grad():
        query, support = segmentor.encode(Episode(case.tensor("support")[:, None], mask[:, None], case.tensor("query")))
        prediction = segmentor.match(query, support, mask[:, None])
        align = alignment_loss(segmentor.head, prediction, query, support, mask[:, None])
        terms = segmentor.head.auxiliary(prediction, query, support, mask[:, None], mask)
    assert_matches(prediction.probability, case.arrays["probability"], elsewhere=1e-3)
    assert_loss_matches(align, case.arrays["align_loss"])
    assert_loss_matches(terms["threshold"], case.arrays["threshold_loss"])


def test_what_the_method_never_uses_is_left_out_and_told(reference: Path) -> None:
    parameters = load_case(reference, "adnet").parameters
    left_out = load_published(published_segmentor("adnet"), parameters, "adnet")
    assert set(left_out) == {name for name in parameters if "aspp" in name}
    with pytest.raises(InputError, match=r"unexpected encoder\.decoder\.weight"):
        load_published(published_segmentor("adnet"), parameters | {"encoder.decoder.weight": torch.zeros(1)}, "adnet")
