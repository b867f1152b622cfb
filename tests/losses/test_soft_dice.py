"""Soft Dice by its formula, entropy by SciPy's."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from medfs.losses import GADiceLoss, SoftDiceLoss, entropy_of


def drawn(shape=(2, 4, 5, 6), classes=4):
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(size=shape).astype(np.float32))
    return logits, torch.from_numpy(random.integers(0, classes, (shape[0], *shape[2:])))


def test_it_is_the_mean_over_classes_of_the_dice_of_the_batch():
    logits, label = drawn()
    p, y = softmax(logits.numpy(), axis=1), np.eye(4)[label.numpy()].transpose(0, 3, 1, 2)
    axes = (0, 2, 3)
    dice = 2 * (p * y).sum(axes) / ((p**2).sum(axes) + (y**2).sum(axes))
    assert SoftDiceLoss()(logits, label).item() == pytest.approx(float(1 - dice.mean()), rel=1e-5)
    assert SoftDiceLoss()(logits, label[:, None]) == SoftDiceLoss()(logits, label)


def test_where_all_classes_are_present_it_is_the_gradient_aware_one():
    logits, label = drawn()
    torch.testing.assert_close(SoftDiceLoss()(logits, label), GADiceLoss()(logits, label), rtol=1e-4, atol=1e-5)


def test_an_absent_class_costs_nearly_one_whatever_is_predicted():
    logits, label = drawn(classes=3)
    lower = logits.clone()
    lower[:, 3] -= 3
    both = [SoftDiceLoss()(values, label.clamp(max=0)) for values in (logits, lower)]
    assert all(loss > 0.75 for loss in both)


def test_autocast_leaves_it_in_float32():
    logits, label = drawn()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert SoftDiceLoss()(logits.bfloat16(), label).dtype == torch.float32


def test_entropy_is_that_of_scipy():
    logits, _ = drawn()
    expected = entropy(softmax(logits.numpy(), axis=1), axis=1)
    np.testing.assert_allclose(entropy_of(logits).numpy(), expected, rtol=1e-5)
