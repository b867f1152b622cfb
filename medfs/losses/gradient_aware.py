"""Gradient-aware Dice and cross-entropy for many classes of very different size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _flatten(logits: Tensor, target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, N, V) in float32 or better, labels (B, V) and which of them count."""
    target = target.squeeze(1) if target.dim() == logits.dim() else target
    labels = target.flatten(1).long()
    counted = torch.ones_like(labels, dtype=torch.bool) if ignore_index is None else labels != ignore_index
    flat = logits.flatten(2)
    flat = flat if flat.dtype == torch.float64 else flat.float()
    return flat, labels.where(counted, 0), counted


class GADiceLoss(nn.Module):
    """Batch Dice that stays informative for classes absent from the batch.

    A present class costs one minus its soft Dice with squared denominators, over all voxels of the batch. An absent
    class costs ``sum(stop_gradient(p) * p) / V``: its false positives are pushed down in proportion to their own
    confidence. The loss is the mean over all classes, background included.

    Args:
        epsilon: added to numerator and denominator of the Dice.
        ignore_index: target value that does not count; None where every voxel counts.

    References:
        Qi et al. 2024, *Gradient-Aware for Class-Imbalanced Semi-supervised Medical Image Segmentation*.
    """

    def __init__(self, epsilon: float = 1e-10, ignore_index: int | None = None) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of a batch, computed in float32 whatever autocast says.

        Args:
            logits: (B, N, *S).
            target: labels 0..N-1 (or ``ignore_index``), (B, *S) or (B, 1, *S).

        Returns:
            Scalar; 0 with zero gradients where no voxel counts.
        """
        with torch.autocast(logits.device.type, enabled=False):
            flat, labels, counted = _flatten(logits, target, self.ignore_index)
            probability = flat.softmax(1) * counted.unsqueeze(1)
            classes = torch.arange(flat.shape[1], device=flat.device).view(1, -1, 1)
            truth = (labels.unsqueeze(1) == classes) & counted.unsqueeze(1)
            size = truth.sum((0, 2))
            overlap, power = (probability * truth).sum((0, 2)), probability.square().sum((0, 2))
            dice = (2 * overlap + self.epsilon) / (power + size + self.epsilon)
            absent = (probability.detach() * probability).sum((0, 2)) / counted.sum().clamp(min=1)
            return torch.where(size > 0, 1 - dice, absent).mean()


class GACrossEntropyLoss(nn.Module):
    """Cross-entropy of the hardest voxels, rebalanced between classes.

    Of all voxels of the batch the ``hardest`` fraction with the largest cross-entropy is kept, K voxels, n_c of them
    of class c. Their sum is divided by ``n_c**(1-gamma) * K**gamma`` per class; classes are summed, not averaged, so
    the value grows with their number, as published.

    Args:
        hardest: fraction of voxels kept, in (0, 1]; at least one voxel is.
        gamma: 0 averages within every class, 1 over all kept voxels.
        ignore_index: target value that does not count; None where every voxel counts.

    References:
        Qi et al. 2024 (``GADiceLoss``).
    """

    def __init__(self, hardest: float = 0.1, gamma: float = 0.5, ignore_index: int | None = None) -> None:
        super().__init__()
        self.hardest = hardest
        self.gamma = gamma
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of a batch, computed in float32 whatever autocast says.

        Args:
            logits: (B, N, *S).
            target: labels 0..N-1 (or ``ignore_index``), (B, *S) or (B, 1, *S).

        Returns:
            Scalar; 0 with zero gradients where no voxel counts.
        """
        with torch.autocast(logits.device.type, enabled=False):
            flat, labels, counted = _flatten(logits, target, self.ignore_index)
            losses = (F.cross_entropy(flat, labels, reduction="none") * counted).flatten()
            number = losses.numel() if self.ignore_index is None else int(counted.sum())
            if not number:
                return losses.sum()
            kept = max(1, int(number * self.hardest))
            index = losses.detach().where(counted.flatten(), -1.0).topk(kept, sorted=False).indices
            values, classes = losses[index], labels.flatten()[index]
            sums = values.new_zeros(flat.shape[1]).index_add(0, classes, values)
            size = torch.bincount(classes, minlength=flat.shape[1]).to(values.dtype)
            return (sums / (size.clamp(min=1) ** (1 - self.gamma) * kept**self.gamma)).sum()
