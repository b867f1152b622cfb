import math

import pytest
import torch
from monai.losses import DiceLoss
from torch import nn

from medfs.losses import GACrossEntropyLoss, GADiceLoss

LOSSES = [GADiceLoss(), GACrossEntropyLoss()]


def batch(dims: int = 3, classes: int = 5, present: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    size = [6] * dims
    return 2 * torch.randn(2, classes, *size), torch.randint(present, (2, *size))


@pytest.mark.parametrize("dims", [2, 3])
def test_dice_equals_a_loop_over_classes(dims: int) -> None:
    logits, target = batch(dims)
    probability = logits.softmax(1)
    expected = 0.0
    for label in range(5):
        p, y = probability[:, label], (target == label).float()
        if y.sum() > 0:
            expected += 1 - 2 * (p * y).sum() / ((p**2).sum() + y.sum())
        else:
            expected += (p**2).sum() / p.numel()
    torch.testing.assert_close(GADiceLoss()(logits, target), expected / 5)


def test_dice_of_present_classes_equals_the_library() -> None:
    logits, target = batch(present=5)
    library = DiceLoss(to_onehot_y=True, softmax=True, squared_pred=True, batch=True, smooth_nr=1e-10, smooth_dr=1e-10)
    torch.testing.assert_close(GADiceLoss()(logits, target), library(logits, target.unsqueeze(1)))


def test_an_absent_class_is_pushed_down_in_proportion_to_its_confidence() -> None:
    probability = torch.tensor([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1]]).view(2, 3, 1, 1)
    logits = probability.log().requires_grad_()
    GADiceLoss()(logits, torch.zeros(2, 1, 1, dtype=torch.long)).backward()
    p = probability[:, :, 0, 0].double()
    present = 2 * p[:, 0].sum() / ((p[:, 0] ** 2).sum() + 2)
    # d loss / d p: quotient rule for the present class, p / V for the absent ones; then through the softmax.
    slope = p / 2
    slope[:, 0] = -(2 - 2 * p[:, 0] * present) / ((p[:, 0] ** 2).sum() + 2)
    expected = p * (slope - (slope * p).sum(1, keepdim=True)) / 3
    torch.testing.assert_close(logits.grad[:, :, 0, 0].double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("hardest", "gamma"), [(0.1, 0.5), (0.37, 0.0), (1.0, 1.0)])
def test_cross_entropy_equals_a_loop_over_kept_voxels(dims: int, hardest: float, gamma: float) -> None:
    logits, target = batch(dims)
    values = nn.functional.cross_entropy(logits, target, reduction="none").flatten().tolist()
    pairs = sorted(zip(values, target.flatten().tolist(), strict=True), reverse=True)
    kept = pairs[: math.floor(len(pairs) * hardest)]
    expected = 0.0
    for label in range(5):
        mine = [value for value, true in kept if true == label]
        if mine:
            expected += sum(mine) / (len(mine) ** (1 - gamma) * len(kept) ** gamma)
    assert GACrossEntropyLoss(hardest, gamma)(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_of_all_voxels_without_rebalancing_is_the_ordinary_mean() -> None:
    logits, target = batch()
    expected = nn.functional.cross_entropy(logits, target)
    torch.testing.assert_close(GACrossEntropyLoss(hardest=1, gamma=1)(logits, target), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_channel_axis_of_the_target_makes_no_difference(loss: nn.Module) -> None:
    logits, target = batch()
    assert torch.equal(loss(logits, target), loss(logits, target.unsqueeze(1).to(torch.uint8)))


@pytest.mark.parametrize("kind", [GADiceLoss, GACrossEntropyLoss])
@pytest.mark.parametrize("ignore_index", [-1, 255])
def test_ignored_voxels_neither_count_nor_receive_gradients(kind: type, ignore_index: int) -> None:
    logits, target = batch(dims=2)
    half = target.clone()
    half[:, :, 3:] = ignore_index
    logits.requires_grad_()
    value = kind(ignore_index=ignore_index)(logits, half)
    value.backward()
    torch.testing.assert_close(value, kind()(logits[..., :3], target[..., :3]))
    assert not logits.grad[..., 3:].any()
    assert logits.grad[..., :3].abs().sum() > 0


@pytest.mark.parametrize("kind", [GADiceLoss, GACrossEntropyLoss])
def test_a_batch_without_counted_voxels_costs_nothing(kind: type) -> None:
    logits, target = batch()
    logits.requires_grad_()
    value = kind(ignore_index=-1)(logits, torch.full_like(target, -1))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_confident_mistakes_stay_finite_in_half_precision(loss: nn.Module) -> None:
    logits, target = batch()
    extreme = (5e3 * logits).half().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(extreme, target)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert extreme.grad.isfinite().all()


def test_a_single_voxel_is_kept() -> None:
    value = GACrossEntropyLoss()(torch.zeros(1, 4, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))
    assert value.item() == pytest.approx(math.log(4))
