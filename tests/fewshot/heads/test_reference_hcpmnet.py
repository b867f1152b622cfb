"""HCPMNet computes what the published network computes."""

from pathlib import Path

import pytest
import torch
from reference_vectors import ReferenceCase, assert_loss_matches, assert_matches, load_case

from medfs.fewshot import FewShotSegmentor
from medfs.fewshot.published import load_published, published_segmentor
from medfs.types import Episode


def _published(reference: Path) -> tuple[ReferenceCase, FewShotSegmentor, Episode]:
    case = load_case(reference, "hcpmnet")
    segmentor = published_segmentor("hcpmnet")
    load_published(segmentor, case.parameters, "hcpmnet")
    mask = case.tensor("mask").bool()
    episode = Episode(case.tensor("support")[:, None], mask[:, None], case.tensor("query"), torch.zeros_like(mask))
    return case, segmentor.eval(), episode


@pytest.mark.usefixtures("several_threads")
def test_reference_hcpmnet(reference: Path) -> None:
    case, segmentor, episode = _published(reference)
    with torch.no_grad():
        prediction = segmentor(episode)
    assert_matches(prediction.probability, case.arrays["probability"], elsewhere=3e-2)


@pytest.mark.usefixtures("several_threads")
def test_reference_hcpmnet_align(reference: Path) -> None:
    _, segmentor, episode = _published(reference)
    assert segmentor.head.alignment_weight == 1
    assert tuple(segmentor.head.alignment_class_weights) == (0.1, 1.0)
    with torch.no_grad():
        loss = segmentor.losses(episode)["alignment"]
    assert_loss_matches(loss, load_case(reference, "hcpmnet_align").arrays["align_loss"])
