"""Losses of probabilities."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medfs.losses import IGNORED, FocalLoss, probability_nll

WEIGHTS = (0.1, 1.0)


def case(seed=0):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 2, 5, 6, generator=random)
    return logits, torch.randint(0, 2, (2, 5, 6), generator=random)


def test_the_likelihood_is_torchs_weighted_cross_entropy():
    logits, target = case()
    target[0, :2] = IGNORED
    expected = F.cross_entropy(logits, target, weight=torch.tensor(WEIGHTS), ignore_index=IGNORED)
    torch.testing.assert_close(probability_nll(logits.softmax(1), target, WEIGHTS), expected)


def test_the_focal_loss_is_its_formula():
    logits, target = case()
    probability = logits.softmax(1)
    p = np.take_along_axis(probability.numpy(), target.numpy()[:, None], axis=1)[:, 0]
    expected = np.mean(np.array(WEIGHTS)[target.numpy()] * (1 - p) ** 0.7 * -np.log(p))
    np.testing.assert_allclose(FocalLoss()(probability, target).item(), expected, rtol=1e-5)


def test_without_exponent_it_is_the_mean_cross_entropy():
    logits, target = case()
    loss = FocalLoss(gamma=0, class_weights=(1, 1))(logits.softmax(1), target)
    torch.testing.assert_close(loss, F.cross_entropy(logits, target))


def test_ignored_voxels_count_nowhere():
    logits, target = case()
    target[:, 3:] = IGNORED
    for loss in (FocalLoss(), lambda p, t: probability_nll(p, t, WEIGHTS)):
        cut = loss(logits.softmax(1)[:, :, :3], target[:, :3])
        torch.testing.assert_close(loss(logits.softmax(1), target), cut)
        assert loss(logits.softmax(1), torch.full_like(target, IGNORED)) == 0


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_certain_voxels_have_finite_losses_and_gradients(certain):
    foreground = torch.full((1, 2, 2), certain, requires_grad=True)
    target = torch.tensor([[[0, 1], [0, 1]]])
    loss = FocalLoss()(torch.stack([1 - foreground, foreground], dim=1), target)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(foreground.grad).all()
