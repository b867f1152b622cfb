"""Class weights in Dice and cross-entropy, against MONAI and torch."""

import pytest
import torch
from monai.losses import DiceLoss

from medfs.losses import SoftDiceLoss, weighted_cross_entropy, weighted_dice

WEIGHTS = torch.tensor([0.5, 0.0, 3.0, 1.0])


@pytest.fixture(params=[(5, 6), (3, 4, 5)])
def case(request):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 4, *request.param), generator=generator)
    return logits, torch.randint(0, 4, (2, *request.param), generator=generator)


def test_cross_entropy_is_that_of_torch(case):
    logits, target = case
    expected = torch.nn.functional.cross_entropy(logits, target, WEIGHTS)
    torch.testing.assert_close(weighted_cross_entropy(logits, target, WEIGHTS), expected)


def test_cross_entropy_of_voxels_without_weight_is_0_with_zero_gradient(case):
    logits, target = case
    logits.requires_grad_()
    loss = weighted_cross_entropy(logits, torch.ones_like(target), WEIGHTS)
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_dice_is_that_of_monai_with_its_class_weights(case):
    logits, target = case
    monai = DiceLoss(softmax=True, to_onehot_y=True, squared_pred=True, batch=True, weight=WEIGHTS)
    torch.testing.assert_close(weighted_dice(logits, target, WEIGHTS), monai(logits, target.unsqueeze(1)))


def test_equal_weights_leave_the_plain_dice(case):
    logits, target = case
    torch.testing.assert_close(weighted_dice(logits, target, torch.ones(4)), SoftDiceLoss()(logits, target))
