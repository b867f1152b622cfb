"""A mean teacher with gradient-aware losses everywhere and no filter on pseudo-labels."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from medfs.losses import GACrossEntropyLoss, GADiceLoss
from medfs.semisup.objectives.base import Batch, SemiSupervisedObjective
from medfs.semisup.teacher import MeanTeacher, sigmoid_ramp, with_noise


class GradientAwareObjective(SemiSupervisedObjective):
    """Gradient-aware Dice and cross-entropy on labelled crops, gradient-aware Dice on the teacher's labels.

    The losses stay defined for classes that are absent from a batch and rebalance those that are present; they stand
    wherever another method has Dice and cross-entropy. The row *GA* of the papers' tables is these losses on MagicNet,
    `MagicNetObjective` with ``dice`` and ``cross_entropy`` given, and a `medfs.networks.PlainVNet`.

    Args:
        hardest: share of labelled voxels, the hardest, whose cross-entropy counts.
        gamma: 0 averages cross-entropy within every class, 1 over all kept voxels.
        consistency_weight: weight of the unlabelled term at the end of its ramp.
        consistency_ramp: runs over which it rises. The published ramp of 70 000 steps ends with the run, at 17 000: a
            weight of 0.0057. 1 lets it rise fully, as TAK does.
        perturb: what the student sees instead of an unlabelled image; ``None`` leaves it as it is.

    References:
        Qi et al., Gradient-Aware for Class-Imbalanced Semi-supervised Medical Image Segmentation, ECCV 2024.

    **Differs from the paper**: its base is a mean teacher, theirs are CPS and MagicNet; the ramp rises with each step
    instead of every 350.
    """

    def __init__(
        self,
        hardest: float = 0.1,
        gamma: float = 0.5,
        consistency_weight: float = 0.1,
        consistency_ramp: float = 70_000 / 17_000,
        perturb: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.dice, self.cross_entropy = GADiceLoss(), GACrossEntropyLoss(hardest, gamma)
        self.consistency_weight, self.consistency_ramp, self.perturb = consistency_weight, consistency_ramp, perturb

    def forward(
        self,
        student: nn.Module,
        teacher: MeanTeacher,
        labelled: Batch,
        unlabelled: Batch | None,
        progress: float,
        step: int,
    ) -> dict[str, Tensor]:
        """Give ``dice``, ``cross_entropy`` and ``consistency``; see `SemiSupervisedObjective.forward`."""
        image, label, known = labelled["image"], labelled["label"][:, 0].long(), len(labelled["image"])
        if unlabelled is not None:
            seen = self.perturb(unlabelled["image"]) if self.perturb else unlabelled["image"]
            image = torch.cat([image, seen])
        logits = student(image)
        terms = {
            "dice": self.dice(logits[:known], label),
            "cross_entropy": self.cross_entropy(logits[:known], label),
        }
        if unlabelled is not None:
            with torch.no_grad():
                pseudo = teacher(with_noise(unlabelled["image"])).argmax(1)
            weight = self.consistency_weight * sigmoid_ramp(progress / self.consistency_ramp)
            terms["consistency"] = weight * self.dice(logits[known:], pseudo)
        return terms
