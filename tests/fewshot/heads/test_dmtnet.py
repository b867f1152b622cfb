"""DMTNet beyond the contract: the matrices of its transformation, its losses and its tuning."""

import pytest
import torch

from medfs.fewshot import FewShotSegmentor
from medfs.fewshot.heads import DMTNetHead
from medfs.losses import IGNORED
from medfs.networks import ResNetBlocksEncoder
from medfs.networks.anchor_space import anchor_coordinates, prototype_weights, unit_anchors
from medfs.types import Episode


def network(**options):
    torch.manual_seed(0)
    encoder = ResNetBlocksEncoder(18)
    return FewShotSegmentor(encoder, DMTNetHead(encoder.out_channels, **options)).eval()


def episode(batch=2, shots=1):
    random = torch.Generator().manual_seed(7)
    mask = torch.zeros(batch, shots, 64, 48, dtype=torch.bool)
    mask[..., 10:40, 8:30] = True
    support = torch.randn(batch, shots, 1, 64, 48, generator=random) + 2 * mask[:, :, None]
    return Episode(support, mask, torch.randn(batch, 1, 64, 48, generator=random) + 2 * mask[:, :1], mask[:, 0])


def found(segmentor, given, steps=1):
    segmentor.head.tuning_steps = steps
    with torch.no_grad():
        query, support = segmentor.encode(given)
    with segmentor.head.adapt(query, support, given.support_mask), torch.no_grad():
        return segmentor.match(query, support, given.support_mask).logits


def test_the_mean_of_two_transformations_is_that_of_their_matrices():
    random = torch.Generator().manual_seed(0)
    features, pairs, anchors = (torch.randn(*size, generator=random) for size in ((1, 24, 30), (2, 2, 24), (4, 24)))
    units = torch.nn.functional.normalize(pairs.double(), dim=2)
    rows = unit_anchors(anchors).double().unflatten(0, (2, 2))
    matrix = sum(torch.linalg.pinv(unit) @ row for unit, row in zip(units, rows, strict=True)) / 2
    wanted = matrix.T @ features[0].double()
    halves = torch.cat([prototype_weights(features, pair[None]) / 2 for pair in pairs], dim=1)
    coordinates = anchor_coordinates(halves, anchors)[0].double()
    torch.testing.assert_close(coordinates.T @ coordinates, wanted.T @ wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shots", [1, 2])
def test_three_terms_are_learnt_from_and_reach_all_anchors(shots):
    segmentor, given = network().train(), episode(shots=shots)
    terms = segmentor.losses(given)
    assert set(terms) == {"segmentation", "background", "scores"}
    sum(terms.values()).backward()
    head = segmentor.head
    assert all(each.grad.abs().max() > 0 for each in (head.anchors[0], head.query_anchors[0]))


def test_padding_counts_in_no_term():
    segmentor, given = network(), episode(shots=2)
    with torch.no_grad():
        query, support = segmentor.encode(given)
        prediction = segmentor.match(query, support, given.support_mask)
        nowhere = torch.full_like(given.query_mask, IGNORED, dtype=torch.long)
        terms = segmentor.head.auxiliary(prediction, query, support, given.support_mask, nowhere)
    assert [float(value) for value in terms.values()] == [0, 0]


def test_tuning_lowers_the_loss_of_the_supports_and_leaves_nothing_behind():
    segmentor, given = network(learning_rate=0.01), episode()
    head = segmentor.head
    with torch.no_grad():
        query, support = segmentor.encode(given)
        arguments = (support, given.support_mask, head.extract(support, given.support_mask), torch.ones(2, 1).bool())
        before = head._loss_of_supports(*arguments)
        with head.adapt(query, support, given.support_mask):
            tuned = head._loss_of_supports(*arguments)
        after = head._loss_of_supports(*arguments)
    assert tuned < before
    assert after == before


def test_episodes_of_a_batch_are_tuned_by_themselves():
    segmentor, given = network(learning_rate=0.1), episode(shots=2)
    single = Episode(given.support_image[1:], given.support_mask[1:], given.query_image[1:])
    torch.testing.assert_close(found(segmentor, given)[1:], found(segmentor, single), rtol=1e-3, atol=1e-4)


def test_tuning_works_in_inference_mode():
    segmentor, given = network(learning_rate=0.1), episode()
    with torch.inference_mode():
        query, support = segmentor.encode(given)
        plain = segmentor.match(query, support, given.support_mask).logits
        with segmentor.head.adapt(query, support, given.support_mask):
            tuned = segmentor.match(query, support, given.support_mask).logits
    assert (tuned - plain).abs().max() > 1e-6
