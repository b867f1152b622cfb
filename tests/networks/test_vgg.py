"""VGG-16 as an encoder, compared with torchvision's."""

import pytest
import torch

from medfs.errors import InputError, UsageError
from medfs.fewshot.heads import PATNetHead
from medfs.fewshot.segmentor import FewShotSegmentor
from medfs.networks import VGG16Encoder
from medfs.text.encoders.loading import import_torchvision
from medfs.types import Episode


def test_weights_of_torchvision_give_its_features(tmp_path):
    import_torchvision()
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    theirs = models.vgg16(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "vgg16.pth")
    encoder = VGG16Encoder().eval()
    assert all(name.startswith("classifier.") for name in encoder.load_file(tmp_path / "vgg16.pth"))
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = encoder(image)
        torch.testing.assert_close(maps[-1], theirs.features(image))
        torch.testing.assert_close(maps[2], theirs.features[:22](image))
    assert [tuple(each.shape[2:]) for each in maps] == [(8, 12)] * 3 + [(4, 6)] * 3 + [(2, 3)]


@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (64, 64)), (3, (32, 32, 64))])
def test_it_serves_patnet_when_the_grids_are_told(spatial_dims, size):
    torch.manual_seed(0)
    encoder = VGG16Encoder(spatial_dims, width=2)
    segmentor = FewShotSegmentor(encoder, PATNetHead(encoder.out_channels, maps=(3, 3, 1))).eval()
    mask = torch.zeros(1, 1, *size, dtype=torch.bool)
    mask[..., 4:20, 4:20] = True
    with torch.no_grad():
        logits = segmentor(Episode(torch.randn(1, 1, 1, *size), mask, torch.randn(1, 1, *size))).logits
    assert logits.shape == (1, 2, *size)
    assert logits.isfinite().all()


def test_other_weights_are_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"missing features\.0\.bias"):
        VGG16Encoder(width=2).load_file(tmp_path / "other.pth")


def test_four_axes_are_refused():
    with pytest.raises(UsageError, match="2 or 3 axes"):
        VGG16Encoder(4)
