"""TAK: MagicNet with gradient-aware losses and the contrast of voxels and texts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.losses import (
    GACrossEntropyLoss,
    GADiceLoss,
    VisualTextualContrast,
    entropy_of,
    entropy_threshold,
    reliable_labels,
)
from medfs.networks import TextVNet
from medfs.semisup.cube_views import SCALES
from medfs.semisup.objectives.base import Batch
from medfs.semisup.objectives.magicnet import CubeViews, MagicNetObjective, PseudoLabels
from medfs.semisup.objectives.mean_teacher import IGNORED
from medfs.semisup.teacher import MeanTeacher


class TAKObjective(MagicNetObjective):
    """`MagicNetObjective` with gradient-aware losses and, from a share of the run on, visual-textual contrast.

    The embeddings of all crops in all three views (whole, exchanged cubes, cubes alone) are drawn to the texts of their
    classes and apart from the others. Labels of unlabelled crops are the teacher's, for cubes alone the blended ones,
    without the voxels whose entropy exceeds a rising threshold.

    Args:
        network: the student, a `medfs.networks.TextVNet` built with texts.
        patch_size: voxels of a crop.
        contrast: the loss; ``None`` is the published one, 40, 20 and 10 voxels per crop, view and class.
        contrast_weight: its weight; 0 switches it off.
        contrast_start: share of the run before which there is none: published from epoch 21 of 161 on.
        contrast_ramp: share of the run over which its weight then rises linearly; published is a step.
        entropy_classes: whose largest entropy the threshold refers to: 2 is the published value for any task,
            ``None`` the number of classes of the task.
        entropy_ramp: share of the run over which the threshold rises: published 100 of 160 epochs.
        options: those of `MagicNetObjective`; ``dice`` and ``cross_entropy`` default to `medfs.losses.GADiceLoss` and
            `medfs.losses.GACrossEntropyLoss`.

    Raises:
        UsageError: the network knows no texts, or the crops do not fit the cubes.

    References:
        Gu et al., Leveraging Textual Anatomical Knowledge for Class-Imbalanced Semi-Supervised Multi-Organ
        Segmentation, arXiv 2501.13470, 2025.

    **Differs from the paper** as `MagicNetObjective` does.
    """

    def __init__(
        self,
        network: nn.Module,
        patch_size: Sequence[int],
        contrast: VisualTextualContrast | None = None,
        contrast_weight: float = 0.1,
        contrast_start: float = 0.13,
        contrast_ramp: float = 0.0,
        entropy_classes: int | None = 2,
        entropy_ramp: float = 0.625,
        **options: Any,
    ) -> None:
        if not isinstance(network, TextVNet) or network.alignment is None:
            raise UsageError(f"TAK: {type(network).__name__} without texts; expected a TextVNet with a TextFusion")
        options = {"dice": GADiceLoss(), "cross_entropy": GACrossEntropyLoss()} | options
        super().__init__(network, patch_size, **options)
        self.contrast = contrast or VisualTextualContrast(ignore_index=IGNORED)
        self.contrast_weight, self.contrast_start, self.contrast_ramp = contrast_weight, contrast_start, contrast_ramp
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
        """Give the terms of `MagicNetObjective` and ``contrast``."""
        assert isinstance(student, TextVNet)
        views = self.views(student, labelled, unlabelled)
        terms, pseudo = self.supervised(views, labelled), None
        if unlabelled is not None:
            pseudo = self.pseudo_labels(teacher, unlabelled["image"], views.alone[len(labelled["image"]) :], progress)
            terms["consistency"] = self.consistency(views, pseudo, progress)
        if self.contrast_weight > 0 and progress >= self.contrast_start:
            label = self.contrast_labels(labelled["label"][:, 0].long(), pseudo, progress)
            visuals, texts = self.embed(student, views, unlabelled)
            risen = (progress - self.contrast_start) / self.contrast_ramp if self.contrast_ramp else 1.0
            terms["contrast"] = self.contrast_weight * min(risen, 1.0) * self.contrast(visuals, texts, label)
        return terms

    def embed(self, student: TextVNet, views: CubeViews, unlabelled: Batch | None) -> tuple[Sequence[Tensor], ...]:
        """Embeddings of whole, mixed and recovered crops, in this order, and of the texts."""
        whole = views.whole.stages
        if unlabelled is not None:
            others = student.encode(unlabelled["image"])[-SCALES:]
            whole = tuple(torch.cat(pair) for pair in zip(whole, others, strict=True))
        three = zip(whole, views.mixed.stages, views.alone.deepest_merged(), strict=True)
        return student.embed([torch.cat(stages) for stages in three])

    def contrast_labels(self, label: Tensor, pseudo: PseudoLabels | None, progress: float) -> Tensor:
        """Labels (3 (L + U), *S) of the views in the order of `embed`, -1 where the teacher is unsure.

        Args:
            label: of the labelled crops, (L, *S).
            pseudo: the teacher's logits of the unlabelled ones.
            progress: share of the run that is done.
        """
        if pseudo is None:
            return label.repeat(3, *[1] * (label.dim() - 1))
        classes = self.entropy_classes or pseudo.whole.shape[1]
        threshold = entropy_threshold(progress / self.entropy_ramp, classes)
        whole, blended = (
            reliable_labels(logits.argmax(1), entropy_of(logits), threshold, IGNORED)
            for logits in (pseudo.whole, pseudo.blended)
        )
        self.observed["kept"] = torch.stack([whole, blended]).ne(IGNORED).float().mean()
        return torch.cat([label, whole, label, whole, label, blended])
