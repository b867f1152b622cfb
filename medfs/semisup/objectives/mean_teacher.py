"""Mean teacher with entropy-filtered pseudo-labels and, for text-conditioned networks, visual-textual contrast."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from medfs.losses import (
    GACrossEntropyLoss,
    GADiceLoss,
    VisualTextualContrast,
    entropy_of,
    entropy_threshold,
    reliable_labels,
)
from medfs.networks import TextVNet
from medfs.semisup.objectives.base import Batch, SemiSupervisedObjective
from medfs.semisup.teacher import MeanTeacher, sigmoid_ramp, with_noise

IGNORED = -1


def perturb_intensity(image: Tensor, strength: float = 0.3) -> Tensor:
    """Change contrast, brightness, gamma and noise of each image at random.

    Args:
        image: (B, C, *S), of unit scale.
        strength: half the range of the contrast factor; the other changes scale with it.
    """
    shape = (len(image), *[1] * (image.dim() - 1))

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(shape, device=image.device).uniform_(low, high)

    mean = image.flatten(1).mean(1).view(shape)
    changed = (image - mean) * uniform(1 - strength, 1 + strength) + mean + uniform(-0.3, 0.3) * strength
    return changed + torch.randn_like(image) * uniform(0, 0.3) * strength


class MeanTeacherObjective(SemiSupervisedObjective):
    """Gradient-aware losses on labelled crops, agreement with the teacher on unlabelled ones.

    The teacher labels each unlabelled crop, seen with a little noise; voxels whose entropy exceeds a rising threshold
    are ignored. The student, who sees the crop with changed intensities, learns those labels with the gradient-aware
    Dice, weighted by a ramp. For a `medfs.networks.TextVNet` in training the embeddings of all crops are drawn to the
    texts of their classes.

    Args:
        consistency_weight: weight of the unlabelled term at the end of its ramp.
        consistency_ramp: share of the run over which it rises.
        consistency_cross_entropy: whether the cross-entropy joins the Dice on pseudo-labels.
        entropy_classes: whose largest entropy the threshold refers to; 2 is the published value for any task,
            ``None`` the number of classes of the task.
        entropy_ramp: share of the run over which the threshold rises.
        contrast_weight: weight of the contrast; 0 switches it off.
        contrast_start: share of the run before which there is no contrast.
        perturb: what the student sees instead of an unlabelled image; ``None`` leaves it as it is.

    References:
        Tarvainen and Valpola, NeurIPS 2017; Qi et al., ECCV 2024 (losses); Gu et al., arXiv 2501.13470 (threshold,
        ramp and contrast).

    **Differs from TAK**: without cube partition and recovery, which are objectives of their own; pseudo-labels are
    filtered for the consistency term as well.
    """

    def __init__(
        self,
        consistency_weight: float = 0.1,
        consistency_ramp: float = 1.0,
        consistency_cross_entropy: bool = False,
        entropy_classes: int | None = 2,
        entropy_ramp: float = 0.625,
        contrast_weight: float = 0.1,
        contrast_start: float = 0.13,
        perturb: Callable[[Tensor], Tensor] | None = perturb_intensity,
    ) -> None:
        super().__init__()
        self.dice, self.cross_entropy = GADiceLoss(), GACrossEntropyLoss()
        self.pseudo_dice = GADiceLoss(ignore_index=IGNORED)
        self.pseudo_cross_entropy = GACrossEntropyLoss(ignore_index=IGNORED) if consistency_cross_entropy else None
        self.contrast = VisualTextualContrast(ignore_index=IGNORED)
        self.consistency_weight, self.consistency_ramp = consistency_weight, consistency_ramp
        self.entropy_classes, self.entropy_ramp = entropy_classes, entropy_ramp
        self.contrast_weight, self.contrast_start = contrast_weight, contrast_start
        self.perturb = perturb

    def forward(
        self,
        student: nn.Module,
        teacher: MeanTeacher,
        labelled: Batch,
        unlabelled: Batch | None,
        progress: float,
        step: int,
    ) -> dict[str, Tensor]:
        """Give ``dice``, ``cross_entropy``, ``consistency`` and ``contrast``; see the base class."""
        label = labelled["label"][:, 0].long()
        image = labelled["image"]
        if unlabelled is not None:
            label = torch.cat([label, self.pseudo_labels(teacher, unlabelled["image"], progress)])
            seen = self.perturb(unlabelled["image"]) if self.perturb else unlabelled["image"]
            image = torch.cat([image, seen])
        with_contrast = self.contrast_weight > 0 and progress >= self.contrast_start and _has_texts(student)
        if with_contrast:
            stages = student.encode(image)  # type: ignore[operator]
            logits = student.predict(stages, student.decode(stages))  # type: ignore[operator]
        else:
            logits = student(image)
        known = len(labelled["image"])
        terms = {
            "dice": self.dice(logits[:known], label[:known]),
            "cross_entropy": self.cross_entropy(logits[:known], label[:known]),
        }
        if unlabelled is not None:
            weight = self.consistency_weight * sigmoid_ramp(progress / self.consistency_ramp)
            agreement = self.pseudo_dice(logits[known:], label[known:])
            if self.pseudo_cross_entropy is not None:
                agreement = agreement + self.pseudo_cross_entropy(logits[known:], label[known:])
            terms["consistency"] = weight * agreement
        if with_contrast:
            visuals, texts = student.embed(stages)  # type: ignore[operator]
            terms["contrast"] = self.contrast_weight * self.contrast(visuals, texts, label)
        return terms

    @torch.no_grad()
    def pseudo_labels(self, teacher: nn.Module, image: Tensor, progress: float) -> Tensor:
        """Labels (U, *S) the teacher gives to images (U, C, *S), -1 where it is unsure."""
        logits = teacher(with_noise(image)).float()
        classes = self.entropy_classes or logits.shape[1]
        threshold = entropy_threshold(progress / self.entropy_ramp, classes)
        labels = reliable_labels(logits.argmax(1), entropy_of(logits), threshold, IGNORED)
        self.observed["kept"] = (labels != IGNORED).float().mean()
        return labels


def _has_texts(network: nn.Module) -> bool:
    return isinstance(network, TextVNet) and network.alignment is not None
