"""IFA beyond the contract: its terms, and shots that do not count."""

import torch

from medfs.fewshot import load_segmentor, save_segmentor
from medfs.fewshot.heads import IFAHead
from medfs.fewshot.segmentor import FewShotSegmentor
from medfs.losses import IGNORED
from medfs.networks import DeepStemEncoder
from medfs.types import Episode


def given(shots=2):
    random = torch.Generator().manual_seed(0)
    mask = torch.zeros(2, shots, 32, 32, dtype=torch.bool)
    mask[..., 8:24, 4:20] = True
    query, support = torch.randn(2, 6, 8, 8, generator=random), torch.randn(2, shots, 6, 8, 8, generator=random)
    return (query,), (support,), mask, mask[:, 0].long()


def terms(head, query, support, mask, target):
    prediction = head.match(query, support, mask, head.extract(support, mask))
    return head.auxiliary(prediction, query, support, mask, target)


def test_source_training_has_four_terms_besides_the_segmentation():
    assert set(terms(IFAHead((6,)), *given())) == {"first", "query", "support", "support_1"}
    assert set(terms(IFAHead((6,), refine=False), *given())) == {"query", "support", "support_1"}


def test_rounds_are_learnt_from_with_their_weight():
    found = [terms(IFAHead((6,), round_weight=weight), *given()) for weight in (0.1, 0.2)]
    rounds = {"round_2", "support_2", "round_3", "support_3"}
    assert rounds < set(found[0])
    for name in rounds:
        torch.testing.assert_close(2 * found[0][name], found[1][name])


def test_an_empty_shot_has_no_part_in_any_term():
    query, support, mask, target = given(shots=2)
    mask[:, 1] = False
    alone = (support[0][:, :1],), mask[:, :1]
    both = terms(IFAHead((6,), round_weight=0.1), query, support, mask, target)
    torch.testing.assert_close(both, terms(IFAHead((6,), round_weight=0.1), query, *alone, target))


def test_padding_counts_in_no_term_of_the_query():
    query, support, mask, target = given()
    found = terms(IFAHead((6,)), query, support, mask, torch.full_like(target, IGNORED))
    assert found["first"] == found["query"] == 0


def test_a_network_with_a_deep_stem_can_be_written(tmp_path):
    torch.manual_seed(0)
    encoder = DeepStemEncoder(50, width=8)
    segmentor = FewShotSegmentor(encoder, IFAHead(encoder.out_channels)).eval()
    save_segmentor(tmp_path / "ifa.safetensors", segmentor)
    mask = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    mask[..., 8:24, 8:24] = True
    episode = Episode(torch.randn(1, 1, 1, 32, 32), mask, torch.randn(1, 1, 32, 32))
    with torch.no_grad():
        assert torch.equal(load_segmentor(tmp_path / "ifa.safetensors")(episode).logits, segmentor(episode).logits)
