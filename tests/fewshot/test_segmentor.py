"""The few-shot network: plug-ins, losses, supports inside, files."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medfs.errors import InputError, UsageError
from medfs.fewshot import FewShotSegmentor, load_segmentor, save_segmentor
from medfs.fewshot.heads import DMAPHead, QNetHead
from medfs.fewshot.plugins import EpisodePlugin
from medfs.losses import FocalLoss, alignment_loss
from medfs.networks import ResNetEncoder
from medfs.types import Episode, Prototypes

SIZE = (40, 48)


class SmallEncoder(nn.Module):
    """Two stages at a quarter and an eighth, in a moment."""

    spatial_dims = 2
    out_channels = (6, 8)

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, 6, 5, 4, padding=2), nn.Conv2d(6, 8, 3, 2, padding=1)

    def forward(self, image):
        fine = self.fine(image)
        return fine, self.coarse(fine)


def network(head=None, **options):
    torch.manual_seed(0)
    return FewShotSegmentor(SmallEncoder(), head or DMAPHead((6, 8), channels=5), **options).eval()


def episode(batch=2, shots=1, **changes):
    random = torch.Generator().manual_seed(3)
    mask = torch.rand(batch, shots + 1, *SIZE, generator=random) > 0.7
    image = torch.randn(batch, shots + 1, 1, *SIZE, generator=random)
    parts = {"support_image": image[:, 1:], "support_mask": mask[:, 1:]}
    return Episode(**(parts | {"query_image": image[:, 0], "query_mask": mask[:, 0]} | changes))


class Swap(EpisodePlugin):
    """Features tenfold, prototypes of the opposite sign."""

    def on_features(self, query, support, mask, text):
        return tuple(10 * q for q in query), support

    def on_prototypes(self, prototypes, support, mask, text):
        return tuple(Prototypes(-p.foreground, side=p.side) for p in prototypes)


def test_the_plain_plug_in_changes_nothing():
    with torch.no_grad():
        plain, with_plugin = network()(episode()), network(plugins=[EpisodePlugin()])(episode())
    assert torch.equal(plain.logits, with_plugin.logits)


def test_plug_ins_reach_features_and_prototypes():
    head = DMAPHead((6, 8), channels=5)
    nn.init.zeros_(head.thresholds.scalars[0].weight)
    nn.init.zeros_(head.thresholds.scalars[0].bias)
    with torch.no_grad():
        plain, swapped = network(head)(episode()).probability, network(head, plugins=[Swap()])(episode()).probability
    # A cosine knows no length, and against the opposite prototype it is the opposite.
    torch.testing.assert_close(swapped, plain.flip(1), rtol=1e-4, atol=1e-5)


def test_the_loss_of_dmap_is_focal_alone():
    segmentor, given = network(), episode()
    terms = segmentor.losses(given)
    assert set(terms) == {"segmentation"}
    expected = FocalLoss(0.7, (0.1, 1.0))(segmentor(given).probability, given.query_mask.long())
    torch.testing.assert_close(terms["segmentation"], expected)


def test_a_head_with_alignment_gets_it_with_its_weight():
    segmentor, given = network(), episode(shots=2)
    segmentor.head.alignment_weight = 0.5
    query, support = segmentor.encode(given)
    plain = alignment_loss(segmentor.head, segmentor(given), query, support, given.support_mask)
    assert plain > 0
    torch.testing.assert_close(segmentor.losses(given)["alignment"], 0.5 * plain)


def test_padding_of_the_query_does_not_count():
    valid = torch.ones(2, *SIZE, dtype=torch.bool)
    valid[:, 30:] = False
    truth = episode().query_mask
    losses = [
        network().losses(episode(query_mask=mask, query_valid=valid))["segmentation"]
        for mask in (truth, truth ^ ~valid)
    ]
    assert torch.equal(*losses)


def test_training_needs_the_truth_of_the_query():
    with pytest.raises(UsageError, match="without query mask"):
        network().losses(episode(query_mask=None))


def test_the_most_probable_organ_wins_and_background_below_one_half():
    given, segmentor = episode(batch=3), network()
    supported = segmentor.for_supports(given.support_image, given.support_mask)
    with torch.no_grad():
        each = supported.foreground(segmentor.encoder(given.query_image), SIZE)
        labels = supported(given.query_image).argmax(dim=1)
    best, organ = each.max(dim=1)
    assert torch.equal(labels, torch.where(best > 0.5, organ + 1, 0))
    assert each.shape == (3, 3, *SIZE)
    assert len(labels.unique()) > 1


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_head_is_tuned_to_each_query_and_organ_apart(mode):
    given = episode(batch=3)
    torch.manual_seed(0)
    tuned = FewShotSegmentor(SmallEncoder(), QNetHead((6, 8), channels=5, learning_rate=1.0)).eval()
    plain = FewShotSegmentor(tuned.encoder, QNetHead((6, 8), channels=5, refinement_steps=0)).eval()
    plain.head.load_state_dict(tuned.head.state_dict())
    with mode():
        found, unrefined = (
            each.for_supports(given.support_image, given.support_mask)(given.query_image) for each in (tuned, plain)
        )
        apart = [
            tuned.for_supports(given.support_image[[organ]], given.support_mask[[organ]]).foreground(
                tuned.encoder(given.query_image[[query]]), SIZE
            )
            for query in range(3)
            for organ in range(3)
        ]
    torch.testing.assert_close(found[:, 1:].exp(), torch.cat(apart).view(3, 3, *SIZE), rtol=1e-4, atol=1e-5)
    assert (found - unrefined).abs().max() > 1e-3


def test_plug_ins_reach_supports_inside():
    given = episode(batch=1)
    segmentor = network(plugins=[Swap()])
    with torch.no_grad():
        found = segmentor.for_supports(given.support_image, given.support_mask)(given.query_image).softmax(1)
        torch.testing.assert_close(found, segmentor(given).probability, rtol=1e-4, atol=1e-5)


def test_supports_are_part_of_the_state():
    given, segmentor = episode(), network()
    first = segmentor.for_supports(given.support_image, given.support_mask)
    other = segmentor.for_supports(given.query_image[:, None], ~given.support_mask)
    with torch.no_grad():
        before = other(given.query_image)
        other.load_state_dict(first.state_dict())
        assert torch.equal(other(given.query_image), first(given.query_image))
        assert not torch.equal(before, first(given.query_image))


def test_putting_supports_in_leaves_a_network_in_training_as_it_was():
    encoder = ResNetEncoder(18)
    segmentor = FewShotSegmentor(encoder, DMAPHead(encoder.out_channels)).train()
    before = {name: value.clone() for name, value in segmentor.state_dict().items()}
    segmentor.for_supports(episode().support_image, episode().support_mask)
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in segmentor.state_dict().items())


def test_without_supports_a_built_in_one_serves_any_image():
    with torch.no_grad():
        assert network().for_supports()(torch.zeros(2, 1, 32, 80)).shape == (2, 2, 32, 80)


def test_supports_that_do_not_fit_are_refused():
    given = episode()
    for images, masks in ((given.support_image, None), (given.support_image, given.support_mask[..., 1:])):
        with pytest.raises(UsageError, match="expected images"):
            network().for_supports(images, masks)


def test_a_file_of_something_else_is_one_line(tmp_path):
    path = tmp_path / "file.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="does not say which network"):
        load_segmentor(path)
    parts = {"encoder": {"name": "ResNetEncoder", "arguments": {"depth": 18}}, "head": {"name": "os", "arguments": {}}}
    save_file({"a": torch.zeros(1)}, path, metadata={"medfs_fewshot": json.dumps(parts)})
    with pytest.raises(InputError, match="describes no network of this medfs"):
        load_segmentor(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as a few-shot network"):
        load_segmentor(path)


def test_arguments_of_the_head_are_in_the_file(tmp_path):
    path = tmp_path / "file.safetensors"
    encoder = ResNetEncoder(18, dilate=(False, True, True))
    head = DMAPHead(encoder.out_channels, channels=7, filter="learned", level_weights=(0.6, 0.4))
    save_segmentor(path, FewShotSegmentor(encoder, head))
    again = load_segmentor(path)
    assert (again.head.filter, again.head.channels, again.encoder.depth) == ("learned", 7, 18)
    assert again.head.levels == [0, 1]
    assert tuple(again.encoder.dilate) == (False, True, True)


def test_what_a_file_cannot_describe_is_not_written(tmp_path):
    for segmentor in (network(plugins=[EpisodePlugin()]), network()):
        with pytest.raises(UsageError, match=r"plug-ins|not a part of medfs"):
            save_segmentor(tmp_path / "file.safetensors", segmentor)
