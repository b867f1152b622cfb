"""Attention under a prior mask, and the decoder behind it."""

import pytest
import torch
import torch.nn.functional as F

from medfs.networks.match_decoder import MatchDecoder, PlaneConv
from medfs.networks.region_mining import MaskedAttention


def attention(**options):
    torch.manual_seed(0)
    return MaskedAttention(6, **options).double()


def test_two_softmaxes_share_the_values():
    layer, features = attention(), torch.randn(1, 6, 4, 5, dtype=torch.float64)
    source, mask = torch.randn_like(features), torch.rand(1, 1, 4, 5, dtype=torch.float64)
    query, plain, masked = (item.flatten(2)[0].T for item in (features, source, source * mask))
    scores = [layer.to_query(query) @ layer.to_key(keys).T for keys in (plain, masked)]
    weight = (0.5 * scores[0].softmax(1) + layer.mu * scores[1].softmax(1)) / (0.5 + layer.mu)
    expected = query + weight @ layer.to_value(plain)
    torch.testing.assert_close(layer(features, source, mask).flatten(2)[0].T, expected)


def test_scaled_scores_are_those_of_smaller_queries():
    plain, scaled = attention(), attention(scaled=True)
    with torch.no_grad():
        plain.to_query.weight.div_(6**0.5)
    given = torch.randn(1, 6, 3, 4, 5, dtype=torch.float64), torch.randn(1, 6, 3, 4, 5, dtype=torch.float64)
    mask = torch.ones(1, 1, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(plain(*given, mask), scaled(*given, mask))


def test_bounded_attention_looks_at_the_mask_first():
    features = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    mask[0, :, 2:4, 2:6] = 1  # 8 places; the second episode has none
    bounded, full = attention(max_keys=8), attention()
    inside = features[:1, :, 2:4, 2:6]
    expected = full(features[:1], inside, torch.ones_like(inside[:, :1]))
    torch.testing.assert_close(bounded(features, features, mask)[:1], expected)
    assert torch.isfinite(bounded(features, features, mask)).all()
    assert torch.equal(attention(max_keys=64)(features, features, mask), full(features, features, mask))


@pytest.mark.parametrize("size", [(5, 6), (3, 5, 6)])
def test_a_plane_convolution_sees_each_slice_alone(size):
    layer, features = PlaneConv(2, 3), torch.randn(1, 2, *size)
    slices = features.view(1, 2, -1, 5, 6)
    expected = torch.stack([F.conv2d(slices[:, :, z], layer.weight, padding=1) for z in range(slices.shape[2])], dim=2)
    torch.testing.assert_close(layer(features), expected.view(1, 3, *size), rtol=1e-4, atol=1e-5)


def test_published_sizes():
    assert sum(p.numel() for p in MatchDecoder(1027, 512).parameters()) == 7_866_368
    assert sum(p.numel() for p in MaskedAttention(512).parameters()) == 786_433
