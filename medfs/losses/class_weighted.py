"""Dice and cross-entropy with weights of the classes that may change from step to step."""

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor


def weighted_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy averaged over voxels with the weights of their classes, in float32.

    Args:
        logits: (B, N, *S).
        target: labels 0..N-1, (B, *S).
        weights: (N,), not negative.

    Returns:
        Scalar; 0 where no voxel has a weight, where `torch.nn.functional.cross_entropy` gives NaN.
    """
    with torch.autocast(logits.device.type, enabled=False):
        total = F.cross_entropy(logits.float(), target, weights.float(), reduction="sum")
        return total / weights.float()[target].sum().clamp(min=torch.finfo(torch.float32).eps)


def weighted_dice(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """One minus the soft Dice of each class, times its weight; mean over all classes, in float32.

    Squared denominators, all voxels of the batch together: `medfs.losses.SoftDiceLoss` with weights.

    Args:
        logits: (B, N, *S).
        target: labels 0..N-1, (B, *S).
        weights: (N,), not negative.
    """
    loss = DiceLoss(softmax=True, to_onehot_y=True, squared_pred=True, batch=True, reduction="none")
    with torch.autocast(logits.device.type, enabled=False):
        return (loss(logits.float(), target.unsqueeze(1)).flatten() * weights.float()).mean()
