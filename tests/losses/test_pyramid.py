"""Rectified consistency of scales, against SciPy's divergence and a loop over voxels."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from medfs.losses import rectified_consistency


def drawn(scales, shape=(2, 3, 4, 5), seed=0, spread=2.0):
    generator = torch.Generator().manual_seed(seed)
    return [spread * torch.randn(shape, generator=generator) for _ in range(scales)]


@pytest.mark.parametrize("scales", [2, 4])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 4, 3, 2, 3)])
def test_it_is_the_published_sum_over_scales(scales, shape):
    logits = drawn(scales, shape)
    probability = [softmax(scale.double().numpy(), axis=1) for scale in logits]
    mean = np.mean(probability, axis=0)
    total = 0.0
    for scale in probability:
        divergence = rel_entr(scale, mean).sum(1)
        weight, distance = np.exp(-divergence), ((scale - mean) ** 2).mean(1)
        total += (weight * distance).sum() / weight.sum() + divergence.mean()
    assert rectified_consistency(logits).item() == pytest.approx(total / scales, rel=1e-5)


def test_equal_scales_cost_nothing_and_pull_nowhere():
    logits = drawn(1)[0].requires_grad_()
    loss = rectified_consistency([logits] * 3)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad.abs().max() < 1e-6


def test_a_constant_added_to_the_logits_of_a_voxel_changes_nothing():
    logits = drawn(3)
    shifted = [scale + 5 * place for place, scale in enumerate(logits)]
    torch.testing.assert_close(rectified_consistency(shifted), rectified_consistency(logits))


def test_scales_that_are_sure_of_different_classes_stay_finite():
    sure = [torch.zeros(1, 3, 4).index_fill(1, torch.tensor(c), 500.0).requires_grad_() for c in range(3)]
    loss = rectified_consistency(sure)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(3) + ((2 / 3) ** 2 + 2 * (1 / 3) ** 2) / 3, rel=1e-5)
    assert all(torch.isfinite(scale.grad).all() for scale in sure)


def test_bfloat16_is_computed_in_float32():
    logits = [scale.bfloat16() for scale in drawn(2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = rectified_consistency(logits)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, rectified_consistency([scale.float() for scale in logits]))
