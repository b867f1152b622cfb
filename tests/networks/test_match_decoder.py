"""A decoder of matched features: what it starts from."""

import pytest
import torch

from medfs.networks.match_decoder import MatchDecoder


@pytest.mark.parametrize(("axes", "spatial_dims"), [(2, 2), (3, 2), (3, 3)])
def test_new_weights_pass_on_what_the_features_tell_apart(axes, spatial_dims):
    torch.manual_seed(0)
    decoder = MatchDecoder(67, 32, spatial_dims=spatial_dims).eval()
    with torch.no_grad():
        logits = decoder(torch.randn(2, 67, *[12] * axes))
    assert logits.shape == (2, 1, *[12] * axes)
    assert 0.3 < logits.std() < 3
