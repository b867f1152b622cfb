import pytest
import torch
from fake_prior import FakePrior, names
from torch import nn

from medfs.errors import UsageError
from medfs.networks import ClassVectors, GlobalContext, TextConditionedHead, TextFusion, initialise_from_text
from medfs.networks.dynamic_convolution import apply_kernels_plain, kernel_sizes, split_kernels


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes_have_the_published_number_of_parameters() -> None:
    fusion = TextFusion(FakePrior(16, 2, 512), names(16))
    head = TextConditionedHead(fusion)
    assert (count(fusion.project), count(fusion.fuse)) == (131_328, 131_328)
    assert (count(head.controller), count(head.reduce), head.controller.out_features) == (78_489, 168, 153)
    context = GlobalContext((64, 128, 256))
    per_stage = zip(context.norms, context.projections, strict=True)
    assert [count(a) + count(b) for a, b in per_stage] == [16_768, 33_280, 66_304]


@pytest.mark.parametrize("texts", [1, 2, 3])
def test_any_number_of_texts_is_fused_to_one_vector_per_class(texts: int) -> None:
    fusion = TextFusion(FakePrior(5, texts, 12), names(5), hidden_channels=8, out_channels=6)
    assert fusion().shape == (5, 6)
    assert (fusion() >= 0).all()


def test_texts_are_projected_one_by_one_and_fused_in_their_order() -> None:
    prior = FakePrior(4, 2, 6)
    fusion = TextFusion(prior, names(4), hidden_channels=3, out_channels=5)
    first, second = (torch.relu(fusion.project[0](prior.embedding[:, kind])) for kind in range(2))
    torch.testing.assert_close(fusion(), torch.relu(fusion.fuse[0](torch.cat([first, second], 1))))


def test_classes_are_asked_for_by_name() -> None:
    prior = FakePrior(4, 1, 6)
    fusion = TextFusion(prior, ("organ 2", "organ 0"))
    torch.testing.assert_close(fusion.embedding(), prior.embedding[[2, 0]])


def test_a_prior_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"expected \(3, texts per class, width\)"):
        TextFusion(FakePrior(3, 0, 6), names(3))


def test_a_learnable_prior_receives_gradients() -> None:
    prior = FakePrior(4, 2, 6)
    prior.embedding = nn.Parameter(prior.embedding)
    TextFusion(prior, names(4))().sum().backward()
    assert prior.embedding.grad.abs().sum() > 0


def test_the_context_is_the_mean_of_pooled_stages() -> None:
    context = GlobalContext((4, 8), 5, spatial_dims=2)
    stages = torch.randn(2, 4, 8, 8), torch.randn(2, 8, 4, 4)
    expected = 0
    for stage, norm, projection in zip(stages, context.norms, context.projections, strict=True):
        pooled = torch.nn.functional.adaptive_avg_pool2d(torch.relu(norm(stage)), 1)
        expected = expected + projection(pooled).flatten(1) / 2
    torch.testing.assert_close(context(stages), expected)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [4, 8])
def test_the_head_equals_three_ordinary_convolutions_per_sample_and_class(dims: int, channels: int) -> None:
    head = TextConditionedHead(
        TextFusion(FakePrior(3, 2, 12), names(3)), 6, 10, head_channels=channels, spatial_dims=dims
    )
    decoded, context = torch.randn(2, 6, *[5] * dims), torch.randn(2, 10)
    logits = head(decoded, context)
    assert logits.shape == (2, 3, *[5] * dims)
    convolve = torch.nn.functional.conv2d if dims == 2 else torch.nn.functional.conv3d
    reduced = head.reduce(decoded)
    vectors = head.classes()
    for sample in range(2):
        for label in range(3):
            parts = head.controller(torch.cat([context[sample], vectors[label]])).split(kernel_sizes(channels))
            hidden = reduced[sample : sample + 1]
            for layer, outputs in enumerate((channels, channels, 1)):
                weight = parts[layer].view(outputs, channels, *[1] * dims)
                hidden = convolve(hidden if layer == 0 else hidden.relu(), weight, parts[3 + layer])
            torch.testing.assert_close(logits[sample : sample + 1, label : label + 1], hidden, atol=1e-5, rtol=1e-5)


def test_stored_class_vectors_stand_in_for_texts() -> None:
    head = TextConditionedHead(TextFusion(FakePrior(4, 2, 12), names(4)), 8, 10)
    decoded, context = torch.randn(1, 8, 4, 4, 4), torch.randn(1, 10)
    before = head(decoded, context)
    stored = ClassVectors(4)
    stored.vectors.copy_(head.classes().detach())
    head.classes = stored
    assert torch.equal(head(decoded, context), before)


def started(prior: nn.Module, count: int) -> TextConditionedHead:
    torch.manual_seed(0)
    head = TextConditionedHead(TextFusion(prior, names(count)), 16, 256)
    initialise_from_text(head)
    return head


def class_kernels(head: TextConditionedHead) -> tuple[torch.Tensor, ...]:
    return split_kernels(head.kernels(torch.zeros(1, 256))[0].detach(), 8)


def parallel_prior(scale: float = 1.0) -> FakePrior:
    """Like texts of anatomy: a large part in common, a small one of their own."""
    prior = FakePrior(16, 2, 512)
    prior.embedding = scale * (1 + 0.3 * prior.embedding)
    return prior


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_hidden_kernels_start_near_the_identity_in_the_linear_range(scale: float) -> None:
    w1, w2, _, b1, b2, _ = class_kernels(started(parallel_prior(scale), 16))
    for weight in (w1, w2):
        assert (weight.flatten(1) - torch.eye(8).flatten()).std().item() == pytest.approx(0.05, rel=0.2)
    torch.testing.assert_close(b1, torch.full_like(b1, 2.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(b2, torch.zeros_like(b2), atol=1e-3, rtol=0)


def test_the_head_starts_nearly_as_an_output_convolution() -> None:
    head = started(parallel_prior(), 16)
    features, context = torch.randn(1, 8, 6, 6, 6).clamp(-1.9, 1.9), torch.zeros(1, 256)
    logits = apply_kernels_plain(features, head.kernels(context))
    linear = torch.einsum("nc,bcxyz->bnxyz", class_kernels(head)[2].flatten(1), features)
    assert (logits - linear).std() < 0.5 * linear.std()


def test_output_kernels_of_different_classes_start_independent() -> None:
    weights = class_kernels(started(parallel_prior(), 16))[2].flatten(1)
    assert weights.std().item() == pytest.approx(0.2, rel=0.2)
    cosine = torch.nn.functional.normalize(weights, dim=1) @ torch.nn.functional.normalize(weights, dim=1).T
    # Between independent directions of 8 numbers: standard deviation 1 / sqrt(8), 120 pairs.
    assert (cosine - torch.eye(16)).square().sum().div(240).sqrt().item() == pytest.approx(8**-0.5, rel=0.25)


def test_default_weights_start_all_classes_alike() -> None:
    torch.manual_seed(0)
    head = TextConditionedHead(TextFusion(parallel_prior(), names(16)), 16, 256)
    weights = class_kernels(head)[2].flatten(1)
    assert torch.nn.functional.cosine_similarity(weights[:1], weights[1:]).min() > 0.8


@pytest.mark.parametrize("number", [1, 2])
def test_few_classes_start_finite(number: int) -> None:
    head = started(FakePrior(number, 1, 8), number)
    assert all(part.isfinite().all() for part in class_kernels(head))


def test_texts_without_any_difference_start_finite() -> None:
    prior = FakePrior(3, 2, 8)
    prior.embedding = torch.ones_like(prior.embedding)
    assert all(part.isfinite().all() for part in class_kernels(started(prior, 3)))
    prior.embedding = torch.zeros_like(prior.embedding)
    assert all(part.isfinite().all() for part in class_kernels(started(prior, 3)))


def test_a_head_without_texts_is_left_alone() -> None:
    head = TextConditionedHead(ClassVectors(3))
    before = head.controller.weight.clone()
    initialise_from_text(head)
    assert torch.equal(head.controller.weight, before)
