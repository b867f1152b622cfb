"""Agreement of one network's predictions at several scales."""

from collections.abc import Sequence

import torch
from torch import Tensor

_TINY = 1e-12


def rectified_consistency(logits: Sequence[Tensor]) -> Tensor:
    """Distance of predictions from their mean, weighted down where they differ, plus how much they differ.

    With probabilities p_s, their mean p and D_s = KL(p_s || p) at each voxel, a scale costs the mean of (p_s - p)^2
    over classes and, weighted with exp(-D_s), over voxels, plus the mean of D_s. The loss is the mean over scales. The
    gradient flows through the weights and through the mean.

    Args:
        logits: (B, N, *S) of each scale, brought to one size.

    Returns:
        Scalar, float32; 0 for equal predictions.

    References:
        Luo et al., Efficient Semi-Supervised Gross Target Volume of Nasopharyngeal Carcinoma Segmentation via
        Uncertainty Rectified Pyramid Consistency, MICCAI 2021.

    >>> rectified_consistency([torch.ones(1, 2, 3), torch.zeros(1, 2, 3)]).item()
    0.0
    """
    with torch.autocast(logits[0].device.type, enabled=False):
        logs = torch.stack([scale.float().log_softmax(1) for scale in logits])
        scales = logs.exp()
        mean = scales.mean(0)
        divergence = (scales * (logs - mean.clamp(min=_TINY).log())).sum(2)
        weight = torch.exp(-divergence)
        distance = (scales - mean).square().mean(2)
        rectified = (weight * distance).flatten(1).sum(1) / weight.flatten(1).sum(1)
        return (rectified + divergence.flatten(1).mean(1)).mean()
