"""What CD-TG promises on every head that medfs.fewshot.heads exports, on slices and on volumes."""

import inspect
from functools import partial

import pytest
import torch
from torch import nn

from medfs.errors import UsageError
from medfs.fewshot import FewShotSegmentor, head_classes, load_segmentor, save_segmentor
from medfs.fewshot.plugins import CDTGPlugin
from medfs.networks import ResNetEncoder
from medfs.text import TextPrior
from medfs.types import Episode

HEADS = pytest.mark.parametrize("head_class", head_classes().values(), ids=list(head_classes()))
GRIDS = pytest.mark.parametrize("spatial_dims", [2, 3])
SIZES = {2: (40, 48), 3: (16, 24, 24)}
NAMES = ("liver", "spleen")


class SmallEncoder(nn.Module):
    """Two stages at a quarter and an eighth, of slices or volumes, in a moment."""

    out_channels = (16, 24)

    def __init__(self, spatial_dims):
        super().__init__()
        self.spatial_dims, conv = spatial_dims, {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
        self.fine, self.coarse = conv(1, 16, 5, 4, padding=2), conv(16, 24, 3, 2, padding=1)

    def forward(self, image):
        fine = self.fine(image).relu()
        return fine, self.coarse(fine)


def network(head_class, spatial_dims=2, plugin=True, encoder=SmallEncoder, **options):
    """Equal options give equal weights, with the plug-in and without."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = encoder(spatial_dims=spatial_dims)
        small = {"channels": 16, "hidden": 8}.items()
        known = inspect.signature(head_class).parameters
        host = FewShotSegmentor(encoder, head_class(encoder.out_channels, **{k: v for k, v in small if k in known}))
        if not plugin:
            return host
        prior = TextPrior.random(("background", *NAMES), width=12)
        widths = host.head.prototype_channels
        if options.get("pass_text_features"):
            widths += tuple(encoder.out_channels)
        return FewShotSegmentor(encoder, host.head, [CDTGPlugin(widths, 12, **options)], prior)


def episode(spatial_dims=2, shots=1, names=NAMES):
    size, random = SIZES[spatial_dims], torch.Generator().manual_seed(7)
    mask = torch.zeros(2, shots, *size, dtype=torch.bool)
    mask[(..., *[slice(2, length - 8) for length in size])] = True
    return Episode(
        torch.randn(2, shots, 1, *size, generator=random) + 2 * mask[:, :, None],
        mask,
        torch.randn(2, 1, *size, generator=random) + 2 * mask[:, :1],
        mask[:, 0],
        names,
    )


def first(given):
    parts = (given.support_image, given.support_mask, given.query_image, given.query_mask)
    return Episode(*(part[:1] for part in parts), given.class_name[:1])


@HEADS
@GRIDS
@pytest.mark.parametrize("mode", ["published", "tokens", "reverse"])
def test_the_text_reaches_the_logits_of_every_head(head_class, spatial_dims, mode):
    segmentor, plain = (
        network(head_class, spatial_dims, mode=mode).eval(),
        network(head_class, spatial_dims, False).eval(),
    )
    given = episode(spatial_dims)
    with torch.no_grad():
        logits, host = segmentor(given).logits, plain(given).logits
        other = segmentor(episode(spatial_dims, names=("spleen", "spleen"))).logits
    assert torch.isfinite(logits).all()
    assert not torch.equal(logits, host)
    assert not torch.equal(logits[0], other[0])
    assert torch.equal(logits[1], other[1])


@HEADS
@GRIDS
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_without_weight_and_jitter_the_host_is_bit_identical_with_its_losses_and_random_numbers(
    head_class, spatial_dims, training
):
    found = []
    for plugin in (True, False):
        segmentor = network(head_class, spatial_dims, plugin, **({"text_weight": 0, "jitter": 0} if plugin else {}))
        segmentor.train(training)
        torch.manual_seed(1)
        losses = segmentor.losses(episode(spatial_dims, 2))
        sum(losses.values()).backward()
        gradients = [p.grad for p in (*segmentor.encoder.parameters(), *segmentor.head.parameters())]
        found.append([*losses.values(), *gradients, segmentor(episode(spatial_dims)).logits, torch.get_rng_state()])
    for ours, plain in zip(*found, strict=True):
        assert (ours is None and plain is None) or torch.equal(ours, plain)


@HEADS
def test_jitter_changes_nothing_in_evaluation_and_no_random_numbers_of_the_host_in_training(head_class):
    for training in (False, True):
        rngs, losses = [], []
        for jitter in (0.0, 0.5):
            segmentor = network(head_class, text_weight=0, jitter=jitter).train(training)
            torch.manual_seed(1)
            losses.append(sum(segmentor.losses(episode()).values()))
            rngs.append(torch.get_rng_state())
        assert torch.equal(*rngs)
        assert torch.equal(*losses) is not training


@HEADS
@GRIDS
def test_two_classes_in_a_batch_are_two_episodes(head_class, spatial_dims):
    segmentor, given = network(head_class, spatial_dims).eval(), episode(spatial_dims, 2)
    with torch.no_grad():
        torch.testing.assert_close(segmentor(given).logits[:1], segmentor(first(given)).logits, rtol=1e-3, atol=1e-4)


@HEADS
@GRIDS
def test_an_empty_support_mask_gives_finite_logits_and_gradients(head_class, spatial_dims):
    given = episode(spatial_dims)
    empty = Episode(
        given.support_image, torch.zeros_like(given.support_mask), given.query_image, given.query_mask, NAMES
    )
    for mode in ("published", "reverse"):
        segmentor = network(head_class, spatial_dims, mode=mode, fuse="l2").train()
        losses = segmentor.losses(empty)
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert all(torch.isfinite(p.grad).all() for p in segmentor.parameters() if p.grad is not None)


@HEADS
def test_one_empty_shot_among_others_changes_nothing(head_class):
    given = episode(shots=2)
    mask = given.support_mask.clone()
    mask[:, 1] = False
    segmentor = network(head_class).eval()
    with torch.no_grad():
        both = segmentor(Episode(given.support_image, mask, given.query_image, class_name=NAMES)).logits
        single = Episode(given.support_image[:, :1], mask[:, :1], given.query_image, class_name=NAMES)
        torch.testing.assert_close(both, segmentor(single).logits, rtol=1e-3, atol=1e-4)


@HEADS
@pytest.mark.parametrize("options", [{}, {"mode": "tokens", "pass_text_features": True, "fuse": "l2"}])
def test_a_written_network_has_plug_in_and_texts(head_class, options, tmp_path):
    segmentor = network(head_class, encoder=partial(ResNetEncoder, 18), **options).eval()
    save_segmentor(tmp_path / "network.safetensors", segmentor)
    again = load_segmentor(tmp_path / "network.safetensors")
    assert again.text_prior.provenance == segmentor.text_prior.provenance
    assert not any(name.startswith("text_prior") for name, _ in again.named_parameters())  # frozen
    with torch.no_grad():
        assert torch.equal(again(episode()).logits, segmentor(episode()).logits)


@HEADS
def test_supports_inside_carry_the_text_of_each_organ(head_class):
    segmentor, given = network(head_class).eval(), episode()
    supported = segmentor.for_supports(given.support_image, given.support_mask, NAMES)
    with torch.no_grad():
        query, support = segmentor.encode(given)
        shared = tuple(stage[:1].expand_as(stage) for stage in query)
        expected = segmentor.match_tuned(shared, support, given.support_mask, segmentor.texts(NAMES)).probability
        found = supported.foreground(segmentor.encoder(given.query_image[:1]), SIZES[2])
    torch.testing.assert_close(found[0], expected[:, 1], rtol=1e-4, atol=1e-4)


@HEADS
def test_an_episode_without_names_is_refused_in_one_line(head_class):
    with pytest.raises(UsageError, match="without text"):
        network(head_class)(episode(names=()))
