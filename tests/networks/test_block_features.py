"""Encoders that give the features of every block."""

import pytest
import torch
import torch.nn.functional as F

from medfs.errors import UsageError
from medfs.fewshot import FewShotSegmentor, load_segmentor, save_segmentor
from medfs.fewshot.heads import PMMHead
from medfs.networks import ResNetBlocksEncoder, ResNetEncoder, ResNetStagesEncoder
from medfs.types import Episode


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


@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (48, 64)), (3, (16, 32, 32))])
def test_earlier_stages_are_those_of_the_whole_network(spatial_dims, size):
    torch.manual_seed(0)
    whole = ResNetEncoder(18, spatial_dims=spatial_dims, dilate=(False, True, False)).eval()
    encoder = ResNetStagesEncoder(18, spatial_dims=spatial_dims).eval()
    encoder.load_state_dict({k: v for k, v in whole.state_dict().items() if not k.startswith("layer4.")})
    image = torch.randn(1, 1, *size)
    with torch.no_grad():
        (second, third), (expected, _) = encoder(image), whole(image)
    assert (second.shape[1], third.shape[1]) == encoder.out_channels
    assert second.shape[2:] == third.shape[2:] == tuple(length // 8 for length in size)
    torch.testing.assert_close(third, expected)


def test_a_network_of_earlier_stages_can_be_written(tmp_path):
    torch.manual_seed(0)
    encoder = ResNetStagesEncoder(18, width=8)
    segmentor = FewShotSegmentor(encoder, PMMHead(encoder.out_channels, 8)).eval()
    save_segmentor(tmp_path / "pmm.safetensors", segmentor)
    mask = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    mask[..., 8:24, 8:24] = True
    episode = Episode(torch.randn(1, 1, 1, 32, 32), mask, torch.randn(1, 1, 32, 32))
    with torch.no_grad():
        assert torch.equal(load_segmentor(tmp_path / "pmm.safetensors")(episode).logits, segmentor(episode).logits)
