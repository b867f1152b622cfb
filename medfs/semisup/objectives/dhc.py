"""DHC: cross pseudo supervision of two students whose classes are weighted by two different rules."""

from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.losses import weighted_cross_entropy, weighted_dice
from medfs.semisup.objectives.base import Batch, SemiSupervisedObjective
from medfs.semisup.objectives.cross_pseudo import second_student
from medfs.semisup.teacher import MeanTeacher, sigmoid_ramp

_TINY = 1e-8


class DistributionWeights(nn.Module):
    """Weights of classes that grow with their rarity among the labels a network gives.

    With n_c voxels of class c and C classes, ``C log(n_max / n_c) / max_c log(n_max / n_c)``, as a moving average over
    the steps. The most frequent class has weight 0, as published; a class without voxels counts as having one.

    Args:
        num_classes: background included.
        decay: of the moving average.
    """

    weights: Tensor
    started: Tensor

    def __init__(self, num_classes: int, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("weights", torch.ones(num_classes))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    @staticmethod
    def of_counts(counts: Tensor) -> Tensor:
        """Weights (N,) of voxel counts (N,), without history; 1 for all classes if they are equally frequent.

        >>> DistributionWeights.of_counts(torch.tensor([100, 10, 1])).tolist()
        [0.0, 1.5, 3.0]
        """
        rarity = (counts.max().clamp(min=1) / counts.clamp(min=1)).log()
        if not rarity.any():
            return torch.ones_like(rarity)
        return len(counts) * rarity / rarity.max()

    def add(self, known: Tensor, predicted: Tensor) -> None:
        """Follow the voxel counts (N,) of one step: annotated ones for the start, predicted ones from then on."""
        if not self.started:
            self.weights.copy_(self.of_counts(known))
            self.started.fill_(True)
        self.weights.lerp_(self.of_counts(predicted).to(self.weights), 1 - self.decay)


class DifficultyWeights(nn.Module):
    """Weights of classes that grow with how badly and how unsteadily they are learnt.

    From one step to the next the Dice of a class changes by d, and ``d log(Dice / previous Dice)`` is added to moving
    averages: to what was learnt if d is positive, else to what was unlearnt. The weight is ``(unlearnt /
    learnt) ** exponent`` times the moving average of ``1 - Dice``, scaled so that the largest is the number of classes.

    Args:
        num_classes: background included.
        steps: length of the moving averages, whose decay is ``1 - 1 / steps``.
        exponent: of the ratio.
    """

    previous: Tensor
    learnt: Tensor
    unlearnt: Tensor
    missed: Tensor

    def __init__(self, num_classes: int, steps: int = 50, exponent: float = 0.2) -> None:
        super().__init__()
        self.steps, self.exponent = steps, exponent
        self.register_buffer("previous", torch.full((num_classes,), -1.0))  # not seen yet
        self.register_buffer("learnt", torch.zeros(num_classes))
        self.register_buffer("unlearnt", torch.zeros(num_classes))
        self.register_buffer("missed", torch.ones(num_classes))

    @property
    def weights(self) -> Tensor:
        """Of each class, (N,)."""
        ratio = (self.unlearnt + _TINY) / (self.learnt + _TINY)
        difficulty = ratio**self.exponent * self.missed
        return len(difficulty) * difficulty / difficulty.max().clamp(min=_TINY)

    def add(self, dice: Tensor, seen: Tensor) -> None:
        """Follow the Dice (N,) of one step; classes that were not seen (N,) stay as they are."""
        change = dice - self.previous
        amount = change * ((dice + _TINY) / (self.previous + _TINY)).log()
        again, rate = seen & (self.previous >= 0), 1 / self.steps
        for memory, what in ((self.learnt, change > 0), (self.unlearnt, change <= 0)):
            memory.copy_(torch.where(again, memory.lerp(torch.where(what, amount, 0), rate), memory))
        self.missed.copy_(torch.where(seen, self.missed.lerp(1 - dice, rate), self.missed))
        self.previous.copy_(torch.where(seen, dice, self.previous))


class DHCObjective(SemiSupervisedObjective):
    """Two students that label for each other; one weights classes by difficulty, the other by rarity.

    The weights stand in Dice and cross-entropy, on the annotated labels and on the other's. The student is weighted by
    difficulty (`DifficultyWeights`), the partner, which the objective owns, by rarity (`DistributionWeights`). Weights
    are those that the steps before have led to; the first step has equal ones.

    Args:
        network: the student, which tells its ``num_classes``; it is copied.
        distribution_decay: of the moving average of the rarity.
        difficulty_steps: length of the moving averages of the difficulty.
        difficulty_exponent: of the ratio of unlearnt and learnt.
        consistency_weight: weight of the term on the other's labels at the end of its ramp.
        consistency_ramp: share of the run over which it rises.

    Raises:
        UsageError: the network does not tell how many classes it has.

    References:
        Wang and Li, DHC: Dual-debiased Heterogeneous Co-training Framework for Class-imbalanced Semi-supervised Medical
        Image Segmentation, MICCAI 2023.

    **Differs from the paper**: the rarity starts from the labels of the first step, not of all labelled scans; a class
    that a step does not show keeps its difficulty; one network is deployed, there the logits of both are averaged; the
    ramp rises with each step.
    """

    def __init__(
        self,
        network: nn.Module,
        distribution_decay: float = 0.99,
        difficulty_steps: int = 50,
        difficulty_exponent: float = 0.2,
        consistency_weight: float = 0.1,
        consistency_ramp: float = 1.0,
    ) -> None:
        super().__init__()
        if not hasattr(network, "num_classes"):
            raise UsageError(f"{type(network).__name__} does not tell its num_classes; expected TextVNet or PlainVNet")
        self.num_classes = cast(int, network.num_classes)
        self.partner = second_student(network)
        self.difficulty = DifficultyWeights(self.num_classes, difficulty_steps, difficulty_exponent)
        self.distribution = DistributionWeights(self.num_classes, distribution_decay)
        self.consistency_weight, self.consistency_ramp = consistency_weight, consistency_ramp
        self._sums: Tensor | None = None

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
        known, ramp = len(label), self.consistency_weight * sigmoid_ramp(progress / self.consistency_ramp)
        first, second = student(image).float(), self.partner(image).float()
        terms = {}
        roles = (
            ("", first, second, self.difficulty.weights),
            ("partner_", second, first, self.distribution.weights.clone()),
        )
        for name, own, other, weights in roles:
            pseudo = other.argmax(1)
            agreement = weighted_dice(own, pseudo, weights) + weighted_cross_entropy(own, pseudo, weights)
            terms[f"{name}dice"] = weighted_dice(own[:known], label, weights)
            terms[f"{name}cross_entropy"] = weighted_cross_entropy(own[:known], label, weights)
            terms[f"{name}consistency"] = ramp * agreement
        self._sums = self._summed(first[:known], label, second.argmax(1))
        return terms

    def after_step(self, student: nn.Module, step: int) -> None:
        """Let both kinds of weights follow what the step showed, on all ranks together."""
        if self._sums is None:
            return
        if dist.is_initialized():
            dist.all_reduce(self._sums)
        overlap, power, known, predicted = self._sums
        self.difficulty.add((2 * overlap / (power + known).clamp(min=_TINY)).float(), known > 0)
        self.distribution.add(known, predicted)
        self._sums = None

    @torch.no_grad()
    def _summed(self, logits: Tensor, label: Tensor, predicted: Tensor) -> Tensor:
        """Of each class: overlap with the labels, squared probability, annotated and predicted voxels; (4, N)."""
        probability = logits.softmax(1).flatten(2).double()
        truth = nn.functional.one_hot(label.flatten(1), self.num_classes).transpose(1, 2)
        counts = torch.bincount(predicted.flatten(), minlength=self.num_classes)
        overlap, power = (probability * truth).sum((0, 2)), probability.square().sum((0, 2))
        return torch.stack([overlap, power, truth.sum((0, 2)).double(), counts.double()])
