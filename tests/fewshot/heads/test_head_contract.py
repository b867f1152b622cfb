"""What every head promises: these tests run over all that medfs.fewshot.heads exports."""

import pytest
import torch

from medfs.fewshot import FewShotSegmentor, head_classes, load_segmentor, save_segmentor
from medfs.networks import ResNetEncoder
from medfs.types import Episode

HEADS = pytest.mark.parametrize("head_class", head_classes().values(), ids=list(head_classes()))
SIZES = {2: (40, 48), 3: (16, 24, 24)}
GRIDS = pytest.mark.parametrize("spatial_dims", [2, 3])


def network(head_class, spatial_dims=2, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = ResNetEncoder(18, spatial_dims=spatial_dims)
        return FewShotSegmentor(encoder, head_class(encoder.out_channels))


def episode(spatial_dims=2, shots=1, batch=2, truth=True):
    size, random = SIZES[spatial_dims], torch.Generator().manual_seed(7)
    mask = torch.zeros(batch, shots, *size, dtype=torch.bool)
    mask[(..., *[slice(4, 13)] * spatial_dims)] = True
    return Episode(
        torch.randn(batch, shots, 1, *size, generator=random) + 2 * mask[:, :, None],
        mask,
        torch.randn(batch, 1, *size, generator=random) + 2 * mask[:, :1],
        mask[:, 0] if truth else None,
    )


@HEADS
@GRIDS
@pytest.mark.parametrize("shots", [1, 3])
def test_the_query_gets_two_finite_logits_a_voxel(head_class, spatial_dims, shots):
    given = episode(spatial_dims, shots)
    with torch.no_grad():
        logits = network(head_class, spatial_dims).eval()(given).logits
    assert logits.shape == (2, 2, *SIZES[spatial_dims])
    assert torch.isfinite(logits).all()


@HEADS
@GRIDS
@pytest.mark.parametrize("grown", [8, -8])
def test_supports_may_be_larger_or_smaller_than_the_query(head_class, spatial_dims, grown):
    given = episode(spatial_dims, shots=2, batch=1, truth=False)
    size = [length + grown * (axis + 1) // spatial_dims for axis, length in enumerate(SIZES[spatial_dims])]
    image = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(3))
    segmentor = network(head_class, spatial_dims).eval()
    with torch.no_grad():
        _, support = segmentor.encode(given)
        query = segmentor.encoder(image)
        with segmentor.head.adapt(query, support, given.support_mask):
            logits = segmentor.match(query, support, given.support_mask).logits
    assert logits.shape == (1, 2, *SIZES[spatial_dims])
    assert torch.isfinite(logits).all()


@HEADS
@GRIDS
def test_the_loss_moves_the_first_layer_of_the_encoder(head_class, spatial_dims):
    segmentor = network(head_class, spatial_dims).train()
    sum(segmentor.losses(episode(spatial_dims, shots=2)).values()).backward()
    gradient = segmentor.encoder.conv1.weight.grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


@HEADS
@GRIDS
def test_a_support_without_the_organ_gives_finite_logits_and_gradients(head_class, spatial_dims):
    given = episode(spatial_dims)
    empty = Episode(given.support_image, torch.zeros_like(given.support_mask), given.query_image, given.query_mask)
    segmentor = network(head_class, spatial_dims).train()
    assert torch.isfinite(segmentor(empty).logits).all()
    sum(segmentor.losses(empty).values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in segmentor.parameters() if p.grad is not None)


@HEADS
def test_one_empty_shot_among_others_changes_nothing(head_class):
    given = episode(shots=2)
    mask = given.support_mask.clone()
    mask[:, 1] = False
    segmentor = network(head_class).eval()
    with torch.no_grad():
        both = segmentor(Episode(given.support_image, mask, given.query_image)).logits
        alone = segmentor(Episode(given.support_image[:, :1], mask[:, :1], given.query_image)).logits
    torch.testing.assert_close(both, alone, rtol=1e-3, atol=1e-4)


@HEADS
def test_the_truth_of_the_query_cannot_reach_the_logits(head_class):
    given = episode()
    other = Episode(given.support_image, given.support_mask, given.query_image, ~given.query_mask)
    segmentor = network(head_class).eval()
    with torch.no_grad():
        first, second, without = (segmentor(e).logits for e in (given, other, episode(truth=False)))
    assert torch.equal(first, second)
    assert torch.equal(first, without)


@HEADS
def test_episodes_of_a_batch_do_not_see_each_other(head_class):
    given = episode()
    segmentor = network(head_class).eval()
    single = Episode(given.support_image[1:], given.support_mask[1:], given.query_image[1:])
    with torch.no_grad():
        torch.testing.assert_close(segmentor(given).logits[1:], segmentor(single).logits, rtol=1e-3, atol=1e-4)


@HEADS
def test_a_written_network_computes_the_same(head_class, tmp_path):
    segmentor = network(head_class).eval()
    save_segmentor(tmp_path / "network.safetensors", segmentor)
    again = load_segmentor(tmp_path / "network.safetensors")
    with torch.no_grad():
        assert torch.equal(again(episode()).logits, segmentor(episode()).logits)


@HEADS
@GRIDS
def test_mixed_precision_changes_little(head_class, spatial_dims):
    segmentor = network(head_class, spatial_dims).eval()
    with torch.no_grad():
        plain = segmentor(episode(spatial_dims)).probability
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = segmentor(episode(spatial_dims)).probability
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain, rtol=0, atol=0.05)


@HEADS
def test_one_seed_gives_one_training_step(head_class):
    def step():
        segmentor = network(head_class, seed=3).train()
        torch.manual_seed(5)
        sum(segmentor.losses(episode()).values()).backward()
        return segmentor.encoder.conv1.weight.grad

    assert torch.equal(step(), step())


@HEADS
def test_supports_inside_give_what_the_episode_gives(head_class):
    given = episode(batch=1)
    segmentor = network(head_class).eval()
    supported = segmentor.for_supports(given.support_image, given.support_mask)
    with torch.no_grad():
        query, support = segmentor.encode(given)
        with segmentor.head.adapt(query, support, given.support_mask):
            expected = segmentor.match(query, support, given.support_mask).probability
        torch.testing.assert_close(supported(given.query_image).softmax(1), expected, rtol=1e-4, atol=1e-4)
        assert supported(torch.cat([given.query_image] * 2)).shape == (2, 2, *SIZES[2])


@HEADS
def test_tuning_to_an_episode_leaves_the_parameters_as_they_were(head_class):
    segmentor = network(head_class).eval()
    before = {name: value.clone() for name, value in segmentor.state_dict().items()}
    query, support = segmentor.encode(given := episode())
    with segmentor.head.adapt(query, support, given.support_mask):
        segmentor.match(query, support, given.support_mask)
    assert all(torch.equal(value, before[name]) for name, value in segmentor.state_dict().items())
