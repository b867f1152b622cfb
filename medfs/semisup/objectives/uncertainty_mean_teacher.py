"""Uncertainty-aware mean teacher: agreement where repeated passes of the teacher are sure."""

import torch
from torch import Tensor, nn

from medfs.losses import SoftDiceLoss, entropy_threshold
from medfs.semisup.objectives.base import Batch, SemiSupervisedObjective
from medfs.semisup.teacher import MeanTeacher, sigmoid_ramp, with_noise

_TINY = 1e-12


class UncertaintyMeanTeacherObjective(SemiSupervisedObjective):
    """Dice and cross-entropy on labelled crops, agreement with the teacher's probabilities on unlabelled ones.

    The teacher sees each unlabelled crop several times, with noise of its own each time, and with dropout where the
    network has any. The entropy of the mean of these passes is its uncertainty. Where it lies below a rising threshold,
    the student's probabilities are drawn to those of one further pass by their squared distance.

    Args:
        dice: loss of logits and labels; ``None`` is `medfs.losses.SoftDiceLoss`.
        cross_entropy: the same; ``None`` is `torch.nn.CrossEntropyLoss`.
        supervised_weights: of Dice and cross-entropy.
        passes: of the teacher, to estimate its uncertainty.
        noise: standard deviation of the noise, cut off at two of them.
        consistency_weight: weight of the unlabelled term at the end of its ramp.
        consistency_ramp: share of the run over which it rises.
        entropy_classes: whose largest entropy the threshold refers to; 2 is published, ``None`` is the number of
            classes of the task.
        entropy_ramp: share of the run over which the threshold rises from three quarters to the whole of it.

    References:
        Yu et al., Uncertainty-aware Self-ensembling Model for Semi-supervised 3D Left Atrium Segmentation, MICCAI 2019.

    **Differs from the paper**: the networks of medfs have no dropout, so that the passes differ by their noise alone;
    only unlabelled crops take part in the agreement; the ramps rise with each step.
    """

    def __init__(
        self,
        dice: nn.Module | None = None,
        cross_entropy: nn.Module | None = None,
        supervised_weights: tuple[float, float] = (0.5, 0.5),
        passes: int = 8,
        noise: float = 0.1,
        consistency_weight: float = 0.1,
        consistency_ramp: float = 1.0,
        entropy_classes: int | None = 2,
        entropy_ramp: float = 1.0,
    ) -> None:
        super().__init__()
        self.dice, self.cross_entropy = dice or SoftDiceLoss(), cross_entropy or nn.CrossEntropyLoss()
        self.supervised_weights, self.passes, self.noise = tuple(supervised_weights), passes, noise
        self.consistency_weight, self.consistency_ramp = consistency_weight, consistency_ramp
        self.entropy_classes, self.entropy_ramp = entropy_classes, entropy_ramp

    def forward(
        self,
        student: nn.Module,
        teacher: MeanTeacher,
        labelled: Batch,
        unlabelled: Batch | None,
        progress: float,
        step: int,
    ) -> dict[str, Tensor]:
        """Give ``dice``, ``cross_entropy`` and ``consistency``; see the base class."""
        image, label = labelled["image"], labelled["label"][:, 0].long()
        if unlabelled is not None:
            image = torch.cat([image, unlabelled["image"]])
        logits, known = student(image).float(), len(label)
        terms = {
            "dice": self.supervised_weights[0] * self.dice(logits[:known], label),
            "cross_entropy": self.supervised_weights[1] * self.cross_entropy(logits[:known], label),
        }
        if unlabelled is not None:
            target, trusted = self.target(teacher, unlabelled["image"], progress)
            weight = self.consistency_weight * sigmoid_ramp(progress / self.consistency_ramp)
            distance = (logits[known:].softmax(1) - target).square().mean(1)
            terms["consistency"] = weight * (distance * trusted).sum() / trusted.sum().clamp(min=1)
        return terms

    @torch.no_grad()
    def target(self, teacher: nn.Module, image: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """Probabilities of one pass (U, N, *S) and where the teacher is sure (U, *S), of images (U, C, *S)."""

        def once() -> Tensor:
            return teacher(with_noise(image, self.noise)).float().softmax(1)

        target = once()
        mean = once()
        for _ in range(self.passes - 1):
            mean += once()
        mean /= self.passes
        entropy = -(mean * mean.clamp(min=_TINY).log()).sum(1)
        trusted = entropy < entropy_threshold(progress / self.entropy_ramp, self.entropy_classes or mean.shape[1])
        self.observed["kept"] = trusted.float().mean()
        return target, trusted
