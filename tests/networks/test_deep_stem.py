"""The encoder with a deep stem."""

import pytest
import torch

from medfs.errors import UsageError
from medfs.networks import DeepStemEncoder


@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (48, 64)), (3, (8, 32, 24))])
def test_one_stage_lies_on_an_eighth_of_the_resolution_and_may_be_negative(spatial_dims, size):
    torch.manual_seed(0)
    encoder = DeepStemEncoder(50, spatial_dims=spatial_dims, width=8).eval()
    with torch.no_grad():
        (stage,) = encoder(torch.randn(2, 1, *size))
    assert stage.shape == (2, *encoder.out_channels, *(length // 8 for length in size))
    assert stage.min() < 0 < stage.max()


def test_a_small_network_has_no_deep_stem():
    with pytest.raises(UsageError, match="expected depth 50 or 101"):
        DeepStemEncoder(18)
