"""Encoders that give the features of every block."""

import pytest
import torch
import torch.nn.functional as F

from medfs.errors import UsageError
from medfs.networks import ResNetBlocksEncoder, ResNetEncoder


@pytest.mark.parametrize(
    ("depth", "spatial_dims", "size"), [(18, 2, (48, 64)), (18, 3, (16, 32, 32)), (50, 2, (48, 64))]
)
def test_the_last_map_of_a_stage_becomes_the_stage(depth, spatial_dims, size):
    torch.manual_seed(0)
    encoder = ResNetBlocksEncoder(depth, spatial_dims=spatial_dims).eval()
    plain = ResNetEncoder(depth, spatial_dims=spatial_dims, dilate=(False,) * 3).eval()
    plain.load_state_dict(encoder.state_dict())
    image = torch.randn(1, 1, *size)
    with torch.no_grad():
        maps, (third, fourth) = encoder(image), plain(image)
    assert [each.shape[1] for each in maps] == list(encoder.out_channels)
    last_of_third = len(encoder.layer2) + len(encoder.layer3) - 1
    torch.testing.assert_close(F.relu(maps[last_of_third]), third)
    torch.testing.assert_close(F.relu(maps[-1]), fourth)


def test_a_resnet_50_has_thirteen_maps_on_three_grids():
    assert ResNetBlocksEncoder(50).out_channels == (512,) * 4 + (1024,) * 6 + (2048,) * 3


def test_images_of_other_axes_are_refused():
    with pytest.raises(UsageError, match="expected 1 or 3 channels and 2 axes"):
        ResNetBlocksEncoder(18)(torch.zeros(1, 1, 16, 16, 16))
