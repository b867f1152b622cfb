import pytest
import torch
from torch import nn

from medfs.errors import UsageError
from medfs.networks import PlainVNet, VNet


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_backbone_of_the_default_size_has_the_published_number_of_parameters() -> None:
    # Counted in the published network without location classifier and head.
    assert count(VNet()) == 9_443_232


@pytest.mark.parametrize(("dims", "levels"), [(2, 5), (3, 4), (3, 3), (2, 2)])
def test_stage_i_has_stride_two_to_the_i(dims: int, levels: int) -> None:
    size = 2**levels
    network = VNet(2, spatial_dims=dims, filters=4, levels=levels)
    stages, decoded = network(torch.randn(2, 2, *[size] * dims))
    assert [tuple(s.shape) for s in stages] == [(2, 4 * 2**i, *[size // 2**i] * dims) for i in range(levels)]
    assert decoded.shape == (2, 4, *[size] * dims)


@pytest.mark.parametrize("size", [(20, 16, 16), (8, 16, 16), (16, 16)])
def test_a_patch_that_does_not_fit_the_depth_is_refused_by_name(size: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"each a multiple of 8 and at least 16"):
        VNet(filters=4, levels=4)(torch.zeros(1, 1, *size))


@pytest.mark.parametrize("arguments", [{"spatial_dims": 1}, {"spatial_dims": 4}, {"levels": 1}])
def test_other_dimensions_and_depths_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected 2 or 3 axes"):
        VNet(**arguments)


def test_one_sample_never_influences_another() -> None:
    network = VNet(filters=4, levels=3)
    batch = torch.randn(3, 1, 16, 16, 16)
    _, together = network(batch)
    _, alone = network(batch[1:2])
    torch.testing.assert_close(together[1:2], alone)


def test_recovering_features_between_encoder_and_decoder_changes_nothing() -> None:
    network = VNet(spatial_dims=2, filters=4, levels=3)
    image = torch.randn(2, 1, 16, 16)
    swapped = network.encode(image.flip(0))
    torch.testing.assert_close(network.decode([stage.flip(0) for stage in swapped]), network(image)[1])


def test_the_plain_control_is_the_backbone_and_one_convolution() -> None:
    network = PlainVNet(5, spatial_dims=2, filters=4, levels=3)
    assert network(torch.zeros(2, 1, 16, 16)).shape == (2, 5, 16, 16)
    assert count(network) == count(network.backbone) + 4 * 5 + 5


@pytest.mark.parametrize("dims", [2, 3])
def test_gradient_checkpointing_keeps_outputs_and_gradients_and_holds_fewer_tensors(dims: int) -> None:
    torch.manual_seed(0)
    kept = PlainVNet(3, spatial_dims=dims, filters=4, levels=3)
    again = PlainVNet(3, spatial_dims=dims, filters=4, levels=3, gradient_checkpointing=True)
    again.load_state_dict(kept.state_dict())
    image = torch.randn(1, 1, *[16] * dims)
    held = [voxels_held(network, image) for network in (kept, again)]
    assert held[1] < 0.5 * held[0]
    for first, second in zip(kept.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(first.grad, second.grad, rtol=0, atol=0)
    torch.testing.assert_close(kept.eval()(image), again.eval()(image), rtol=0, atol=0)


def voxels_held(network: torch.nn.Module, image: torch.Tensor) -> int:
    """Numbers that the forward pass keeps for the backward pass, which is run as well."""
    sizes = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = network.train()(image).square().mean()
    count = sum(sizes)
    loss.backward()
    return count
