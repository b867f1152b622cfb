"""Attention from features to one text is a bias and a layer normalisation, as the published module computes it."""

from pathlib import Path

import pytest
import torch
from reference_vectors import assert_matches, load_case

from medfs.networks.text_attention import TextFeatureAttention


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_reference_cdtg_attention(reference: Path) -> None:
    case = load_case(reference, "cdtg_attention")
    channels = case.arrays["feature"].shape[1]
    layer, given = TextFeatureAttention(channels, channels), case.parameters
    layer.load_state_dict(
        {
            "value.weight": given["attn.in_proj_weight"][2 * channels :],
            "value.bias": given["attn.in_proj_bias"][2 * channels :],
            **{f"out.{part}": given[f"attn.out_proj.{part}"] for part in ("weight", "bias")},
            **{f"text.{n}.{part}": given[f"text_mlp.{n}.{part}"] for n in (0, 2) for part in ("weight", "bias")},
            **{f"norm.{part}": given[f"norm.{part}"] for part in ("weight", "bias")},
        }
    )
    with torch.no_grad():
        assert_matches(layer(case.tensor("feature"), case.tensor("text")), case.arrays["output"])


@pytest.mark.parametrize("size", [(3, 4), (2, 3, 4)])
def test_it_is_attention_to_as_many_copies_of_the_text_as_there_are_places(size):
    torch.manual_seed(0)
    layer, attention = TextFeatureAttention(16, 10), torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        attention.in_proj_weight[32:] = layer.value.weight
        attention.in_proj_bias[32:] = layer.value.bias
        attention.out_proj.load_state_dict(layer.out.state_dict())
        features, text = random(2, 16, *size), random(2, 10, seed=1)
        places = features.flatten(2).transpose(1, 2)
        copies = layer.text(text)[:, None].expand_as(places)
        expected = layer.norm(places + attention(places, copies, copies)[0])
        torch.testing.assert_close(layer(features, text).flatten(2).transpose(1, 2), expected, rtol=1e-5, atol=1e-5)


def test_every_parameter_learns():
    layer = TextFeatureAttention(16, 10)
    (layer(random(2, 16, 3, 4), random(2, 10, seed=1)) * random(2, 16, 3, 4, seed=2)).sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in layer.parameters())
