"""Soft Dice of all classes over a batch."""

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn


class SoftDiceLoss(nn.Module):
    """One minus the soft Dice with squared denominators, over all voxels of the batch, mean over all classes.

    A class absent from the batch costs nearly 1 whatever is predicted; `GADiceLoss` mends that.

    References:
        Milletari et al., V-Net, 3DV 2016; the supervised and the consistency term of MagicNet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loss = DiceLoss(softmax=True, to_onehot_y=True, squared_pred=True, batch=True)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of a batch, computed in float32 whatever autocast says.

        Args:
            logits: (B, N, *S).
            target: labels 0..N-1, (B, *S) or (B, 1, *S).
        """
        target = target.unsqueeze(1) if target.dim() < logits.dim() else target
        with torch.autocast(logits.device.type, enabled=False):
            loss: Tensor = self.loss(logits.float(), target)
        return loss
