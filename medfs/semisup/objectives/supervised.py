"""Labelled crops alone: the control every semi-supervised figure is read against."""

from torch import Tensor, nn

from medfs.losses import GACrossEntropyLoss, GADiceLoss
from medfs.semisup.objectives.base import Batch, SemiSupervisedObjective
from medfs.semisup.teacher import MeanTeacher


class SupervisedObjective(SemiSupervisedObjective):
    """Gradient-aware Dice and cross-entropy on the labelled crops; unlabelled ones are ignored.

    References:
        Qi et al., Gradient-Aware for Class-Imbalanced Semi-supervised Medical Image Segmentation, ECCV 2024.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dice, self.cross_entropy = GADiceLoss(), GACrossEntropyLoss()

    def forward(
        self,
        student: nn.Module,
        teacher: MeanTeacher,
        labelled: Batch,
        unlabelled: Batch | None,
        progress: float,
        step: int,
    ) -> dict[str, Tensor]:
        """Give ``dice`` and ``cross_entropy``; see `SemiSupervisedObjective.forward`."""
        logits, label = student(labelled["image"]), labelled["label"][:, 0].long()
        return {"dice": self.dice(logits, label), "cross_entropy": self.cross_entropy(logits, label)}
