"""Self-training: rounds in which a frozen copy of the teacher labels, softly."""

import bisect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.losses import GACrossEntropyLoss, GADiceLoss, SoftLabelLoss
from medfs.semisup.objectives.base import Batch, SemiSupervisedObjective
from medfs.semisup.objectives.mean_teacher import perturb_intensity
from medfs.semisup.teacher import MeanTeacher, sigmoid_ramp


class SelfTrainingObjective(SemiSupervisedObjective):
    """Labelled crops alone at first; from then on also the probabilities that a frozen network gives unlabelled crops.

    At the start of each round the teacher, the moving average of the student, is copied. Until the next round that copy
    labels every unlabelled crop, as it is augmented in place and intensity by the data pipeline. The student sees the
    same crop with its intensities changed once more.

    Args:
        network: the student; it is copied.
        starts: shares of the run at which a round starts; before the first, labelled crops count alone.
        dice: loss of logits and labels on labelled crops; ``None`` is `medfs.losses.GADiceLoss`.
        cross_entropy: the same; ``None`` is `medfs.losses.GACrossEntropyLoss`.
        pseudo: loss of logits and probabilities; ``None`` is `medfs.losses.SoftLabelLoss`.
        pseudo_weight: weight of that term.
        pseudo_ramp: share of the run over which it rises after the first start; 0 for a step.
        temperature: divides the logits of the copy; below 1 its labels are harder.
        perturb: what the student sees instead of an unlabelled image; ``None`` leaves it as it is.

    Raises:
        UsageError: starts that are not shares of the run in rising order.

    References:
        Lee, Pseudo-label, ICML workshop 2013; Xie et al., Self-training with noisy student, CVPR 2020.

    **Differs from the paper**: the student goes on from its weights, where noisy student training starts each round
    anew; labels are made crop by crop as they are needed, not once for all.
    """

    round: Tensor

    def __init__(
        self,
        network: nn.Module,
        starts: Sequence[float] = (0.4, 0.7),
        dice: nn.Module | None = None,
        cross_entropy: nn.Module | None = None,
        pseudo: nn.Module | None = None,
        pseudo_weight: float = 1.0,
        pseudo_ramp: float = 0.0,
        temperature: float = 1.0,
        perturb: Callable[[Tensor], Tensor] | None = perturb_intensity,
    ) -> None:
        super().__init__()
        if not starts or list(starts) != sorted({*starts}) or not 0 <= starts[0] <= starts[-1] < 1:
            raise UsageError(f"self-training: starts {list(starts)}; expected shares in [0, 1) in rising order")
        self.labeller = MeanTeacher(network)
        self.starts = tuple(starts)
        self.dice, self.cross_entropy = dice or GADiceLoss(), cross_entropy or GACrossEntropyLoss()
        self.pseudo = pseudo or SoftLabelLoss()
        self.pseudo_weight, self.pseudo_ramp = pseudo_weight, pseudo_ramp
        self.temperature, self.perturb = temperature, perturb
        self.register_buffer("round", torch.zeros((), dtype=torch.int64))
        self._renewal: tuple[MeanTeacher, int] | None = None  # in a tuple: no part of this module

    def forward(
        self,
        student: nn.Module,
        teacher: MeanTeacher,
        labelled: Batch,
        unlabelled: Batch | None,
        progress: float,
        step: int,
    ) -> dict[str, Tensor]:
        """Give ``dice`` and ``cross_entropy``, from the first start on ``pseudo``; see the base class."""
        image, label = labelled["image"], labelled["label"][:, 0].long()
        now, known = bisect.bisect_right(self.starts, progress), len(labelled["image"])
        soft = None
        if now > 0 and unlabelled is not None:
            renewed = now != int(self.round)
            self._renewal = (teacher, now) if renewed else None
            soft = self.labels(teacher if renewed else self.labeller, unlabelled["image"])
            seen = self.perturb(unlabelled["image"]) if self.perturb else unlabelled["image"]
            image = torch.cat([image, seen])
        logits = student(image).float()
        terms = {
            "dice": self.dice(logits[:known], label),
            "cross_entropy": self.cross_entropy(logits[:known], label),
        }
        if soft is not None:
            risen = (progress - self.starts[0]) / self.pseudo_ramp if self.pseudo_ramp else 1.0
            terms["pseudo"] = self.pseudo_weight * sigmoid_ramp(risen) * self.pseudo(logits[known:], soft)
        return terms

    def after_step(self, student: nn.Module, step: int) -> None:
        """Copy the teacher that labelled the first step of a round."""
        if self._renewal is not None:
            teacher, now = self._renewal
            self.labeller.load_state_dict(teacher.state_dict())
            self.round.fill_(now)
            self._renewal = None

    @torch.no_grad()
    def labels(self, labeller: nn.Module, image: Tensor) -> Tensor:
        """Probabilities (U, N, *S) that a network gives to images (U, C, *S)."""
        probability = (labeller(image).float() / self.temperature).softmax(1)
        self.observed["confidence"] = probability.amax(1).mean()
        return probability
