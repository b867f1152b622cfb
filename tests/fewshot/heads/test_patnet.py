"""PATNet beyond the contract: its grids, its vote and its tuning."""

import pytest
import torch

from medfs.errors import UsageError
from medfs.fewshot import FewShotSegmentor, load_segmentor, save_segmentor
from medfs.fewshot.heads import PATNetHead
from medfs.fewshot.heads.correlated import voted
from medfs.networks import ResNetBlocksEncoder
from medfs.types import Episode


def network(**options):
    torch.manual_seed(0)
    encoder = ResNetBlocksEncoder(18)
    return FewShotSegmentor(encoder, PATNetHead(encoder.out_channels, **options)).eval()


def episode(batch=2, shots=1):
    random = torch.Generator().manual_seed(7)
    mask = torch.zeros(batch, shots, 64, 48, dtype=torch.bool)
    mask[..., 10:40, 8:30] = True
    support = torch.randn(batch, shots, 1, 64, 48, generator=random) + 2 * mask[:, :, None]
    return Episode(support, mask, torch.randn(batch, 1, 64, 48, generator=random) + 2 * mask[:, :1])


def found(segmentor, given, steps):
    segmentor.head.tuning_steps = steps
    with torch.no_grad():
        query, support = segmentor.encode(given)
    with segmentor.head.adapt(query, support, given.support_mask), torch.no_grad():
        return segmentor.match(query, support, given.support_mask).logits


def test_maps_of_equal_channels_share_a_grid_and_its_anchors():
    head = PATNetHead((4, 4, 8, 8, 8, 16))
    assert head.grids == [0, 0, 1, 1, 1, 2]
    assert [tuple(anchors.shape) for anchors in head.anchors] == [(2, 4), (2, 8), (2, 16)]


def test_groups_can_be_given_where_channels_do_not_tell():
    assert PATNetHead((8,) * 7, maps=(3, 3, 1)).grids == [0, 0, 0, 1, 1, 1, 2]
    with pytest.raises(UsageError, match="expected 7 in all"):
        PATNetHead((8,) * 7, maps=(3, 3))


@pytest.mark.parametrize(("votes", "foreground"), [((3, 0, 1, 2), (1, 0, 0, 1)), ((2, 1, 0, 0), (1, 1, 0, 0))])
def test_half_the_votes_of_the_place_with_most_are_foreground(votes, foreground):
    places = torch.tensor(votes)
    chosen = (torch.arange(4)[:, None] < places).float()  # (K, places)
    logits = torch.stack([1 - chosen, chosen], dim=1)[None]
    decision = voted(logits, torch.ones(1, 4, dtype=torch.bool)).argmax(dim=1)
    assert decision[0].tolist() == list(foreground)


def test_tuning_moves_the_logits_and_leaves_nothing_behind():
    segmentor, given = network(), episode()
    with torch.no_grad():
        segmentor.head.decoder.decide[-1].bias[1] += 0.1  # so that something is found
    before, tuned, after = (found(segmentor, given, steps) for steps in (0, 3, 0))
    assert (tuned - before).abs().max() > 1e-6
    assert torch.equal(before, after)


def test_tuning_brings_the_foregrounds_together():
    segmentor, given = network(learning_rate=0.01), episode()
    head = segmentor.head
    with torch.no_grad():
        head.decoder.decide[-1].bias[1] += 0.1
        query, support = segmentor.encode(given)
        prototypes = head.extract(support, given.support_mask)
    region = given.support_mask[:, 0]
    head.tuning_steps = 5
    with torch.no_grad():
        plain = head._divergence(query, region, given.support_mask, prototypes)
        with head.adapt(query, support, given.support_mask):
            tuned = head._divergence(query, region, given.support_mask, prototypes)
    assert tuned < plain


def test_episodes_of_a_batch_are_tuned_by_themselves():
    segmentor, given = network(), episode(shots=2)
    with torch.no_grad():
        segmentor.head.decoder.decide[-1].bias[1] += 0.1
    single = Episode(given.support_image[1:], given.support_mask[1:], given.query_image[1:])
    torch.testing.assert_close(found(segmentor, given, 2)[1:], found(segmentor, single, 2), rtol=1e-3, atol=1e-4)


def test_tuning_works_in_inference_mode_and_without_foreground():
    segmentor, given = network(tuning_steps=2), episode()
    empty = torch.zeros_like(given.support_mask)
    with torch.inference_mode():
        query, support = segmentor.encode(given)
        for mask in (given.support_mask, empty):
            with segmentor.head.adapt(query, support, mask):
                assert segmentor.match(query, support, mask).logits.isfinite().all()


def test_a_network_on_all_blocks_can_be_written(tmp_path):
    segmentor = network()
    save_segmentor(tmp_path / "patnet.safetensors", segmentor)
    with torch.no_grad():
        again = load_segmentor(tmp_path / "patnet.safetensors")(episode())
        assert torch.equal(again.logits, segmentor(episode()).logits)
