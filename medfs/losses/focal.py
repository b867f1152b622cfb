"""Focal loss of probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medfs.losses.likelihood import IGNORED, chosen_probability


class FocalLoss(nn.Module):
    """Mean over the voxels of ``-w (1 - p)^gamma log p``, p and w being probability and weight of the true class.

    Args:
        gamma: how much less a voxel counts that is right already.
        class_weights: one for each class.

    **Differs from the paper**: probabilities are kept from 0 and 1 by the precision of float32, where the loss or its
    gradient would be infinite.

    References:
        Lin et al., Focal loss for dense object detection, ICCV 2017. Exponent and weights as DMAP has them.

    >>> half = torch.full((1, 2, 1, 1), 0.5)
    >>> FocalLoss(gamma=1)(half, torch.ones(1, 1, 1, dtype=torch.long)).item()  # 0.5 log 2
    0.3465735912322998
    """

    def __init__(self, gamma: float = 0.7, class_weights: Sequence[float] = (0.1, 1.0)) -> None:
        super().__init__()
        self.gamma, self.class_weights = gamma, tuple(class_weights)

    def forward(self, probability: Tensor, target: Tensor) -> Tensor:
        """Give the loss; 0 if every voxel is ignored.

        Args:
            probability: (B, N, *S), sums to 1 over the classes.
            target: (B, *S), integers; ``IGNORED`` voxels do not count.
        """
        chosen, weight = chosen_probability(probability, target, self.class_weights)
        voxels = (target != IGNORED).sum().clamp(min=1)
        return -(weight * torch.pow(1 - chosen, self.gamma) * chosen.log()).sum() / voxels
