"""The slice encoder against torchvision, and its files."""

import pytest
import torch
from safetensors.torch import save_file

from medfs.errors import InputError, UsageError
from medfs.networks import ResNetEncoder
from medfs.networks.encoders import relative_positions
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


def test_an_old_file_without_counts_of_batches_loads(tmp_path):
    source, target = ResNetEncoder(depth=18, width=4), ResNetEncoder(depth=18, width=4)
    counts = {name for name in source.state_dict() if name.endswith("num_batches_tracked")}
    weights = {name: torch.rand_like(value) for name, value in source.state_dict().items() if name not in counts}
    torch.save(weights, tmp_path / "old.pth")
    target.bn1.num_batches_tracked += 3
    target.load_file(tmp_path / "old.pth")
    loaded = target.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    assert len(counts) == 20
    assert not any(loaded[name] for name in counts)


def test_a_file_that_fits_only_in_part_loads_nothing(tmp_path):
    encoder = ResNetEncoder(18)
    state = dict(encoder.state_dict())
    del state["layer4.1.conv2.weight"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match=r"part\.safetensors: missing layer4\.1\.conv2\.weight; expected"):
        encoder.load_file(tmp_path / "part.safetensors")
    save_file({f"resnet.{name}": value for name, value in state.items()}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"missing .* and 97 more; unexpected resnet\."):
        encoder.load_file(tmp_path / "other.safetensors")
    save_file(encoder.state_dict() | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "grey.safetensors")
    with pytest.raises(InputError, match=r"conv1\.weight of shape \(64, 1, 7, 7\); expected \(64, 3, 7, 7\)"):
        encoder.load_file(tmp_path / "grey.safetensors")


def test_what_it_cannot_take_is_said():
    with pytest.raises(UsageError, match="expected depth 18, 50 or 101"):
        ResNetEncoder(34)
    with pytest.raises(UsageError, match="expected 1 or 3 channels and 2 axes"):
        ResNetEncoder(18)(torch.zeros(1, 2, 32, 32))


def strides(encoder):
    return [tuple(layer.stride) for layer in (encoder.conv1, encoder.maxpool, encoder.layer4[0].conv1)]


@pytest.mark.parametrize(
    ("spacing_mm", "size", "fine", "coarse"),
    [
        ((7.7, 1.25, 1.25), (36, 256, 256), (36, 64, 64), (18, 32, 32)),
        ((1.25, 7.7, 1.25), (64, 9, 64), (16, 9, 16), (8, 5, 8)),
        ((1.0, 1.0, 1.0), (48, 48, 48), (12, 12, 12), (6, 6, 6)),
        (None, (48, 48, 48), (12, 12, 12), (6, 6, 6)),
    ],
    ids=["CHAOS", "another axis", "isotropic", "not told"],
)
def test_an_axis_is_strided_while_its_spacing_is_less_than_three_times_the_finest(spacing_mm, size, fine, coarse):
    with torch.device("meta"):
        encoder = ResNetEncoder(18, spatial_dims=3, width=4, spacing_mm=spacing_mm)
        found = encoder(torch.zeros(1, 1, *size))
    assert [tuple(stage.shape) for stage in found] == [(1, 16, *fine), (1, 32, *coarse)]


def test_kernels_are_flat_along_an_axis_as_long_as_it_is_coarse():
    encoder = ResNetEncoder(18, spatial_dims=3, width=4, spacing_mm=(7.7, 1.25, 1.25))
    # the spacing in the plane is 1.25 mm before the first convolution, 2.5 before the pooling and 5 behind it
    assert encoder.conv1.kernel_size == (1, 7, 7)
    assert encoder.maxpool.kernel_size == (1, 3, 3)
    assert encoder.layer1[0].conv1.kernel_size == (3, 3, 3)
    assert strides(encoder) == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]
    thick = ResNetEncoder(18, spatial_dims=3, width=4, spacing_mm=(30, 1, 1), dilate=(True, True, True))
    assert [thick.get_submodule(f"layer{n}")[1].conv1.dilation for n in (2, 3, 4)] == [(1, 2, 2), (1, 4, 4), (2, 8, 8)]


def test_a_coarse_axis_keeps_slices_apart_until_it_is_strided():
    encoder = ResNetEncoder(18, spatial_dims=3, width=4, spacing_mm=(100, 1, 1)).eval()
    image = torch.randn(1, 1, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    other = image.clone()
    other[:, :, 2] += 1
    with torch.no_grad():
        changed = (encoder(image)[0] != encoder(other)[0]).flatten(3).any(dim=3).any(dim=1)[0]
    assert changed.tolist() == [False, False, True, False, False]


def test_width_and_stem_make_a_network_for_small_volumes():
    encoder = ResNetEncoder(18, spatial_dims=3, width=8, stem=(2, 1)).eval()
    with torch.no_grad():
        fine, coarse = encoder(torch.zeros(1, 1, 24, 20, 28))
    assert (fine.shape[1], coarse.shape[1]) == encoder.out_channels == (32, 64)
    assert fine.shape[2:] == (12, 10, 14)
    assert coarse.shape[2:] == (6, 5, 7)


def test_instance_norm_knows_no_other_images():
    encoder = ResNetEncoder(18, spatial_dims=3, width=4, norm="instance")
    images = torch.randn(2, 1, 24, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone, together = encoder(images[:1])[0], encoder(images)[0][:1]
        torch.testing.assert_close(alone, together)
        torch.testing.assert_close(encoder.eval()(images[:1])[0], alone)


def test_positions_are_those_within_the_image_unless_it_brings_them():
    encoder = ResNetEncoder(18, spatial_dims=3, width=4, positions=True).eval()
    image = torch.randn(1, 1, 16, 20, 24, generator=torch.Generator().manual_seed(0))
    brought = torch.cat([image, relative_positions(image.shape[2:])[None]], dim=1)
    with torch.no_grad():
        assert torch.equal(encoder(image)[0], encoder(brought)[0])
        brought[:, 1] += 0.5
        assert not torch.equal(encoder(image)[0], encoder(brought)[0])
    with pytest.raises(UsageError, match="expected 1 or 3 channels and 3 axes"):
        encoder(brought[:, :2])


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"stem": (2,)},
        {"stem": (2, 4)},
        {"norm": "layer"},
        {"spacing_mm": (1, 1, 1)},
        {"spacing_mm": (0, 1)},
    ],
)
def test_numbers_that_make_no_encoder_are_refused(options):
    with pytest.raises(UsageError, match=r"encoder: .* expected"):
        ResNetEncoder(18, **options)
