"""The slice encoder against torchvision, and its files."""

import pytest
import torch
from safetensors.torch import save_file

from medfs.errors import InputError, UsageError
from medfs.networks import ResNetEncoder
from medfs.text.encoders.loading import import_torchvision


@pytest.fixture(scope="module")
def torchvision_models():
    import_torchvision()
    return pytest.importorskip("torchvision.models")


def stages_of(network, image):
    image = network.maxpool(network.relu(network.bn1(network.conv1(image))))
    fine = network.layer3(network.layer2(network.layer1(image)))
    return fine, network.layer4(fine)


@pytest.mark.parametrize(
    ("depth", "dilate"), [(18, (False,) * 3), (50, (True, True, False)), (50, (False, True, True))]
)
def test_stages_are_those_of_torchvision(torchvision_models, depth, dilate):
    theirs = getattr(torchvision_models, f"resnet{depth}")(replace_stride_with_dilation=list(dilate)).eval()
    ours = ResNetEncoder(depth, dilate=dilate).eval()
    state = theirs.state_dict()
    ours.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")})
    image = torch.randn(1, 3, 70, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for got, expected in zip(ours(image), stages_of(theirs, image), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_names_and_shapes_of_the_deepest_are_those_of_torchvision(torchvision_models):
    with torch.device("meta"):
        theirs, ours = torchvision_models.resnet101().state_dict(), ResNetEncoder(101).state_dict()
    assert {k: v.shape for k, v in theirs.items() if not k.startswith("fc.")} == {k: v.shape for k, v in ours.items()}


@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (64, 48)), (3, (16, 32, 24))])
def test_published_dilation_gives_a_quarter_and_an_eighth(spatial_dims, size):
    encoder = ResNetEncoder(18, spatial_dims=spatial_dims).eval()
    with torch.no_grad():
        fine, coarse = encoder(torch.zeros(2, 1, *size))
    assert fine.shape == (2, encoder.out_channels[0], *(n // 4 for n in size))
    assert coarse.shape == (2, encoder.out_channels[1], *(n // 8 for n in size))


def test_one_channel_is_shown_to_all_three():
    encoder = ResNetEncoder(18).eval()
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(encoder(image)[0], encoder(image.repeat(1, 3, 1, 1))[0])


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_files_of_torchvision_and_of_deeplab_load(tmp_path, prefix):
    source, target = ResNetEncoder(18), ResNetEncoder(18)
    state = {prefix + name: value for name, value in source.state_dict().items()}
    rest = {"fc.weight": torch.zeros(2)} if not prefix else {"classifier.0.weight": torch.zeros(2)}
    torch.save(state | rest, tmp_path / "weights.pth")
    assert target.load_file(tmp_path / "weights.pth") == tuple(rest)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in target.state_dict().items())


def test_a_file_that_fits_only_in_part_loads_nothing(tmp_path):
    encoder = ResNetEncoder(18)
    state = dict(encoder.state_dict())
    del state["layer4.1.conv2.weight"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match=r"part\.safetensors: missing layer4\.1\.conv2\.weight; expected"):
        encoder.load_file(tmp_path / "part.safetensors")
    save_file({f"resnet.{name}": value for name, value in state.items()}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"missing .* and 117 more; unexpected resnet\."):
        encoder.load_file(tmp_path / "other.safetensors")
    save_file(encoder.state_dict() | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "grey.safetensors")
    with pytest.raises(InputError, match=r"conv1\.weight of shape \(64, 1, 7, 7\); expected \(64, 3, 7, 7\)"):
        encoder.load_file(tmp_path / "grey.safetensors")


def test_what_it_cannot_take_is_said():
    with pytest.raises(UsageError, match="expected depth 18, 50 or 101"):
        ResNetEncoder(34)
    with pytest.raises(UsageError, match="expected 1 or 3 channels and 2 axes"):
        ResNetEncoder(18)(torch.zeros(1, 2, 32, 32))
