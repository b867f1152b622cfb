"""CD-TG's prototypes by hand: masks, shots, batches, fusion, modes, what learns, and the change of style."""

import pytest
import torch
import torch.nn.functional as F

from medfs.errors import UsageError
from medfs.fewshot.plugins import CDTGPlugin
from medfs.fewshot.plugins.style_jitter import FeatureStyleJitter
from medfs.types import Prototypes

C, D = 8, 6


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plugin(mode="published", channels=(C,), seed=0, **options):
    torch.manual_seed(seed)
    return CDTGPlugin(channels, D, mode=mode, **{"text_weight": 1.0, "jitter": 0.0, **options})


def texts(batch=1, kinds=1, seed=5):
    return random(batch, 2, kinds, D, seed=seed)


def prototypes_of(built, features, mask, text, **options):
    zero = torch.zeros(len(mask), 1, features.shape[2])
    (found,) = built.on_prototypes((Prototypes(zero, zero, **options),), (features,), mask, text)
    return found.foreground[:, 0], found.background[:, 0]


@pytest.mark.parametrize("size", [(4, 5), (3, 4, 5)])
def test_the_prototype_of_one_place_is_that_place_after_attention_to_copies_of_the_text(size):
    built, features, text = plugin(), random(1, 1, C, *size), texts()
    mask = torch.zeros(1, 1, *size, dtype=torch.bool)
    mask[(0, 0, *[1] * len(size))] = True
    attention, layer = torch.nn.MultiheadAttention(C, 4, batch_first=True), built.attention[str(C)]
    with torch.no_grad():
        attention.in_proj_weight[2 * C :] = layer.value.weight
        attention.in_proj_bias[2 * C :] = layer.value.bias
        attention.out_proj.load_state_dict(layer.out.state_dict())
        places = features[0].flatten(2).transpose(1, 2)
        found = prototypes_of(built, features, mask, text)
        for kind, chosen in ((1, mask), (0, ~mask)):
            copies = layer.text(text[:, kind]).expand_as(places)
            heard = layer.norm(places + attention(places, copies, copies)[0])
            expected = heard[0, chosen.flatten()].mean(dim=0, keepdim=True)
            torch.testing.assert_close(found[1 - kind], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["published", "tokens", "reverse"])
def test_an_empty_mask_gives_zeros(mode):
    found = prototypes_of(plugin(mode), random(1, 1, C, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool), texts())
    assert torch.equal(found[0], torch.zeros(1, C))
    assert torch.isfinite(found[1]).all()


@pytest.mark.parametrize("mode", ["published", "tokens", "reverse"])
def test_prototypes_are_averaged_over_the_shots_and_never_over_the_batch(mode):
    built, features, text = plugin(mode), random(2, 3, C, 4, 4), texts(2, kinds=2)
    mask = random(2, 3, 4, 4, seed=1) > 0
    with torch.no_grad():
        both = torch.stack(prototypes_of(built, features, mask, text))
        for episode in range(2):
            alone = [
                torch.stack(prototypes_of(built, features[[episode]][:, [k]], mask[[episode]][:, [k]], text[[episode]]))
                for k in range(3)
            ]
            torch.testing.assert_close(both[:, episode], torch.stack(alone).mean(dim=0)[:, 0], rtol=1e-4, atol=1e-5)


def test_the_weight_is_the_share_of_the_text_and_every_prototype_of_a_class_gets_it():
    features, mask, text = random(1, 1, C, 4, 4), random(1, 1, 4, 4, seed=1) > 0, texts()
    given = Prototypes(random(1, 5, C, seed=2), None, {"kept": torch.ones(1)})
    with torch.no_grad():
        told, _ = prototypes_of(plugin(), features, mask, text)
        (found,) = plugin(text_weight=0.3).on_prototypes((given,), (features,), mask, text)
    torch.testing.assert_close(found.foreground, 0.7 * given.foreground + 0.3 * told[:, None])
    assert found.background is None
    assert found.side is given.side


@pytest.mark.parametrize("options", [({"fuse": "l2"}, {}), ({}, {"directions": True})])
def test_directions_are_blended_and_the_length_stays_that_of_the_head(options):
    features, mask, text = random(1, 1, C, 4, 4), random(1, 1, 4, 4, seed=1) > 0, texts()
    values = 9 * random(1, 3, C, seed=2)
    with torch.no_grad():
        told, _ = prototypes_of(plugin(), features, mask, text)
        given = Prototypes(values, **options[1])
        (found,) = plugin(text_weight=0.4, **options[0]).on_prototypes((given,), (features,), mask, text)
    expected = 0.6 * F.normalize(values, dim=2) + 0.4 * F.normalize(told, dim=1)[:, None]
    torch.testing.assert_close(F.cosine_similarity(found.foreground, expected, dim=2), torch.ones(1, 3))
    torch.testing.assert_close(found.foreground.norm(dim=2), values.norm(dim=2))


def test_all_parameters_learn():
    for mode in ("published", "tokens", "reverse"):
        built, mask = plugin(mode), random(1, 1, 4, 4, seed=1) > 0
        found = prototypes_of(built, random(1, 1, C, 4, 4), mask, texts(kinds=2))
        (found[0] * random(1, C, seed=3)).sum().backward()
        assert all(p.grad.abs().max() > 0 for name, p in built.named_parameters() if "norm.bias" not in name), mode


def test_several_kinds_of_text_are_heard_as_their_mean_but_as_tokens_place_by_place():
    features, mask = random(1, 1, C, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool)
    pair = texts(kinds=2)
    mean = pair.mean(dim=2, keepdim=True)
    with torch.no_grad():
        torch.testing.assert_close(*(prototypes_of(plugin(), features, mask, t)[0] for t in (pair, mean)))
        gain, sides = [], [torch.zeros(1, 1, C, 2, 2), 5 * random(1, 1, C, 2, 2, seed=8)]
        for mode in ("published", "tokens"):
            layer = plugin(mode).attention[str(C)]
            layer.norm = torch.nn.Identity()
            text = pair[:, 1].mean(dim=1) if mode == "published" else 9 * pair[:, 1]
            heard = [layer(each[:, 0], text) - each[:, 0] for each in sides]
            gain.append(float((heard[0] - heard[1]).abs().max()))
    assert gain[0] < 1e-5  # the same everywhere
    assert gain[1] > 1e-3


def test_one_kind_of_text_as_tokens_is_what_is_published():
    published, tokens = plugin(), plugin("tokens")
    ours, theirs = tokens.attention[str(C)], published.attention[str(C)]
    with torch.no_grad():
        ours.text.load_state_dict(theirs.text.state_dict())
        ours.attention.in_proj_weight[2 * C :] = theirs.value.weight
        ours.attention.in_proj_bias[2 * C :] = theirs.value.bias
        ours.attention.out_proj.load_state_dict(theirs.out.state_dict())
        given = random(1, 2, C, 4, 4), random(1, 2, 4, 4, seed=1) > 0, texts()
        for a, b in zip(*(prototypes_of(built, *given) for built in (published, tokens)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_in_reverse_a_text_chooses_the_places_that_answer_it():
    built, features = plugin("reverse", channels=(2,)), torch.zeros(1, 1, 2, 1, 4)
    features[0, 0, 0, 0, :2], features[0, 0, 1, 0, 2:] = 3.0, 3.0  # two kinds of places
    layer, text = built.attention["2"], torch.zeros(1, 2, 1, D)
    with torch.no_grad():
        layer.text[2].weight.zero_()
        layer.key.weight.copy_(torch.eye(2))
        mask = torch.ones(1, 1, 1, 4, dtype=torch.bool)
        for wanted in (0, 1):
            layer.text[2].bias.copy_(20 * torch.eye(2)[wanted])
            torch.testing.assert_close(prototypes_of(built, features, mask, text)[0], 3 * torch.eye(2)[[wanted]])
        half = torch.tensor([[[[True, True, False, False]]]])  # it chooses within its class alone
        torch.testing.assert_close(prototypes_of(built, features, half, text)[0], torch.tensor([[3.0, 0.0]]))


def test_text_features_reach_query_and_supports():
    built, text = plugin(pass_text_features=True), texts(2)
    query, support = (random(2, C, 4, 4),), (random(2, 3, C, 4, 4, seed=1),)
    heard, shots = built.on_features(query, support, torch.ones(2, 3, 4, 4, dtype=torch.bool), text)
    layer = built.attention[str(C)]
    torch.testing.assert_close(heard[0], layer(query[0], text[:, 1, 0]))
    torch.testing.assert_close(shots[0][:, 2], layer(support[0][:, 2], text[:, 1, 0]))


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "released"},
        {"fuse": "sum"},
        {"text_weight": 1.5},
        {"jitter": -1.0},
        {"channels": ()},
        {"mode": "reverse", "pass_text_features": True},
    ],
)
def test_what_cannot_be_is_refused(options):
    with pytest.raises(UsageError, match=r"CD-TG.*expected"):
        plugin(**options)


def test_features_of_another_width_are_refused():
    with pytest.raises(UsageError, match="features of 4 channels; expected 8"):
        prototypes_of(plugin(), random(1, 1, 4, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool), texts())


@pytest.mark.parametrize("size", [(6, 7), (3, 6, 7)])
def test_style_is_a_gain_and_a_shift_of_each_channel(size):
    features, jitter = random(2, 4, *size).relu(), FeatureStyleJitter(0.3)
    gains = set()
    for _ in range(16):
        pairs = torch.stack([features.flatten(2), jitter(features).flatten(2)]).flatten(1, 2).double()
        assert all(torch.corrcoef(pairs[:, place])[0, 1] > 0.9999 for place in range(8))
        gain = pairs[1].std(dim=1) / pairs[0].std(dim=1)
        shift = pairs[1].mean(dim=1) - gain * pairs[0].mean(dim=1)
        gains.add((round(float(gain[0]), 4), bool(shift.abs().max() < 1e-4)))
    assert {(1.3, True), (0.3, False)} < gains  # amplified; less contrast around the mean
    assert len(gains) > 4  # noise and filters, each time others


def test_style_goes_on_where_a_state_left_it_and_rests_in_evaluation():
    features, first = random(1, 3, 5, 5), FeatureStyleJitter(0.3, seed=4)
    for _ in range(3):
        first(features)
    second = FeatureStyleJitter(0.3, seed=4)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(features), second(features))
    assert first.eval()(features) is features
    assert torch.equal(first.drawn, second.drawn)


def test_a_channel_without_contrast_has_finite_gradients():
    features = torch.zeros(1, 3, 5, 5, requires_grad=True)
    jitter = FeatureStyleJitter(0.3)
    sum(jitter(features).sum() for _ in range(12)).backward()
    assert torch.isfinite(features.grad).all()
