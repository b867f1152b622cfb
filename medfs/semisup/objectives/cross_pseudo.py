"""Cross pseudo supervision: two networks of different starts label for each other."""

import copy

import torch
from torch import Tensor, nn

from medfs.losses import GACrossEntropyLoss, GADiceLoss
from medfs.networks.text_head import TextConditionedHead
from medfs.semisup.objectives.base import Batch, SemiSupervisedObjective
from medfs.semisup.teacher import MeanTeacher, sigmoid_ramp

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@torch.no_grad()
def second_student(network: nn.Module) -> nn.Module:
    """A copy of a network with another start: convolutions drawn after Xavier, text-conditioned heads as they are.

    Args:
        network: the first student, never changed.

    Returns:
        The copy, on the device of the first, in training.
    """
    partner = copy.deepcopy(network)
    heads = [module for module in partner.modules() if isinstance(module, TextConditionedHead)]
    kept = {id(part) for head in heads for part in head.modules()}
    for module in partner.modules():
        if isinstance(module, _CONVOLUTIONS) and id(module) not in kept:
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return partner.train()


class CrossPseudoObjective(SemiSupervisedObjective):
    """Two students, both supervised on labelled crops, each taught the other's labels on all crops.

    The objective owns the second student, which has the architecture of the first and another start. Labels are the
    likeliest classes, without a filter; no gradient flows through them. The first student is deployed, or the teacher
    that follows it; the teacher takes no part.

    Args:
        network: the student; it is copied.
        dice: loss of logits and labels on labelled crops; ``None`` is `medfs.losses.GADiceLoss`.
        cross_entropy: the same; ``None`` is `medfs.losses.GACrossEntropyLoss`.
        pseudo: loss of logits and the other's labels; ``None`` is `medfs.losses.GACrossEntropyLoss` over all voxels.
        consistency_weight: weight of the term on the other's labels at the end of its ramp.
        consistency_ramp: share of the run over which it rises.

    References:
        Chen et al., Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision, CVPR 2021; defaults as the
        baseline of Qi et al., Gradient-Aware for Class-Imbalanced Semi-supervised Medical Image Segmentation, ECCV
        2024. Chen et al. have plain cross-entropy in all places.

    **Differs from the paper**: there one student starts after Kaiming, here it keeps its own start; one network is
    deployed, there the logits of both are averaged; the ramp rises with each step, not each epoch.
    """

    def __init__(
        self,
        network: nn.Module,
        dice: nn.Module | None = None,
        cross_entropy: nn.Module | None = None,
        pseudo: nn.Module | None = None,
        consistency_weight: float = 0.1,
        consistency_ramp: float = 1.0,
    ) -> None:
        super().__init__()
        self.partner = second_student(network)
        self.dice = dice or GADiceLoss()
        self.cross_entropy = cross_entropy or GACrossEntropyLoss()
        self.pseudo = pseudo or GACrossEntropyLoss(hardest=1.0)
        self.consistency_weight, self.consistency_ramp = consistency_weight, consistency_ramp

    def forward(
        self,
        student: nn.Module,
        teacher: MeanTeacher,
        labelled: Batch,
        unlabelled: Batch | None,
        progress: float,
        step: int,
    ) -> dict[str, Tensor]:
        """Give ``dice``, ``cross_entropy`` and ``consistency``, and the same of the partner; see the base class."""
        image, label = labelled["image"], labelled["label"][:, 0].long()
        if unlabelled is not None:
            image = torch.cat([image, unlabelled["image"]])
        known, weight = len(label), self.consistency_weight * sigmoid_ramp(progress / self.consistency_ramp)
        first, second = student(image).float(), self.partner(image).float()
        terms = {}
        for name, own, other in (("", first, second), ("partner_", second, first)):
            terms[f"{name}dice"] = self.dice(own[:known], label)
            terms[f"{name}cross_entropy"] = self.cross_entropy(own[:known], label)
            terms[f"{name}consistency"] = weight * self.pseudo(own, other.argmax(1))
        self.observed["agreement"] = (first.argmax(1) == second.argmax(1)).float().mean()
        return terms
