from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor

from medfs.networks import dynamic_convolution
from medfs.networks.dynamic_convolution import apply_kernels, apply_kernels_plain, kernel_sizes, split_kernels

Form = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def apply_grouped(features: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """The published form: one grouped convolution over samples and classes per layer."""
    batch, channels = features.shape[:2]
    groups = batch * kernels.shape[1]
    hidden = features.flatten(2).repeat_interleave(kernels.shape[1], 0).reshape(1, groups * channels, -1)
    parts = split_kernels(kernels, channels)
    for layer in range(3):
        weight = parts[layer].flatten(0, 2).unsqueeze(-1)
        hidden = F.conv1d(hidden if layer == 0 else hidden.relu(), weight, parts[3 + layer].flatten(), groups=groups)
    return hidden.view(batch, kernels.shape[1], *features.shape[2:])


def problem(dtype: torch.dtype = torch.float32, channels: int = 8, size: tuple[int, ...] = (5, 6, 7)) -> tuple:
    torch.manual_seed(0)
    features = torch.randn(2, channels, *size, dtype=dtype, requires_grad=True)
    kernels = 0.5 * torch.randn(2, 3, sum(kernel_sizes(channels)), dtype=dtype)
    return features, kernels.requires_grad_()


@pytest.fixture(params=[1, 16, 2048])
def _chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamic_convolution, "_CPU_CHUNK", request.param)


@pytest.mark.usefixtures("_chunk")
@pytest.mark.parametrize("size", [(5, 6), (5, 6, 7)])
def test_chunks_equal_grouped_convolutions_and_their_gradients(size: tuple[int, ...]) -> None:
    results = []
    for form in (apply_kernels, apply_grouped, apply_kernels_plain):
        features, kernels = problem(size=size)
        logits = form(features, kernels)
        (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
        results.append((logits.detach(), features.grad, kernels.grad))
    for other in results[1:]:
        for value, expected in zip(results[0], other, strict=True):
            torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("_chunk")
def test_the_written_gradient_agrees_with_differences() -> None:
    assert torch.autograd.gradcheck(apply_kernels, problem(torch.float64, channels=3, size=(2, 3)))


def test_only_features_and_kernels_are_kept_for_the_backward_pass() -> None:
    features, kernels = problem()
    stored: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: stored.append(t) or t, lambda t: t):
        apply_kernels(features, kernels)
    assert sum(t.numel() for t in stored) == features.numel() + kernels.numel()


def test_autocast_computes_in_half_precision_and_returns_gradients_in_full() -> None:
    features, kernels = problem()
    with torch.autocast("cpu", torch.bfloat16):
        logits = apply_kernels(features, kernels)
    assert logits.dtype == torch.bfloat16
    logits.float().square().sum().backward()
    assert features.grad.dtype == kernels.grad.dtype == torch.float32
    other_features, other_kernels = problem()
    apply_kernels(other_features, other_kernels).square().sum().backward()
    cosine = F.cosine_similarity(kernels.grad.flatten(), other_kernels.grad.flatten(), 0)
    assert cosine > 0.999


def test_a_recorded_graph_holds_the_plain_form_and_fits_other_sizes() -> None:
    features, kernels = problem()
    traced = torch.jit.trace(apply_kernels, (features.detach(), kernels.detach()))
    assert "PythonOp" not in str(traced.graph)
    other, weights = torch.randn(1, 8, 4, 9, 3), torch.randn(1, 6, 153)
    torch.testing.assert_close(traced(other, weights), apply_kernels(other, weights), atol=1e-5, rtol=1e-5)


def test_metadata_of_the_image_stays_with_the_logits_and_changes_no_number() -> None:
    features, kernels = problem()
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0], dtype=torch.float64))
    logits = apply_kernels(MetaTensor(features, affine=affine), kernels)
    logits.square().sum().backward()
    assert isinstance(logits, MetaTensor)
    assert torch.equal(logits.affine, affine)
    other_features, other_kernels = problem()
    expected = apply_kernels(other_features, other_kernels)
    expected.square().sum().backward()
    assert type(expected) is torch.Tensor
    assert torch.equal(logits.as_tensor(), expected)
    assert torch.equal(kernels.grad, other_kernels.grad)
    assert torch.equal(features.grad, other_features.grad)
