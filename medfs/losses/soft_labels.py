"""Loss of predictions and probabilities that another network gave."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SoftLabelLoss(nn.Module):
    """Cross-entropy and Dice with soft labels, as a weighted sum.

    The Dice has squared denominators over all voxels of the batch; unlike the one with plain sums, it is smallest
    where prediction and label are equal.

    Args:
        cross_entropy_weight: of the cross-entropy, mean over voxels.
        dice_weight: of one minus the Dice, mean over all classes.
        epsilon: added to numerator and denominator of the Dice.
    """

    def __init__(self, cross_entropy_weight: float = 1.0, dice_weight: float = 1.0, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.cross_entropy_weight, self.dice_weight, self.epsilon = cross_entropy_weight, dice_weight, epsilon

    def forward(self, logits: Tensor, probability: Tensor) -> Tensor:
        """Loss of a batch, computed in float32 whatever autocast says.

        Args:
            logits: (B, N, *S).
            probability: (B, N, *S), sums to 1 over the classes.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits, truth = logits.float(), probability.float().flatten(2)
            predicted = logits.softmax(1).flatten(2)
            overlap = (predicted * truth).sum((0, 2))
            power = predicted.square().sum((0, 2)) + truth.square().sum((0, 2))
            dice = (2 * overlap + self.epsilon) / (power + self.epsilon)
            entropy = F.cross_entropy(logits.flatten(2), truth)
            return self.cross_entropy_weight * entropy + self.dice_weight * (1 - dice).mean()
