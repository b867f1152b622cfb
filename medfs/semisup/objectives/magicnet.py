"""MagicNet: cubes exchanged between crops and cubes seen alone, recovered as features, with blended pseudo-labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.losses import SoftDiceLoss
from medfs.networks import CubeLocationClassifier
from medfs.semisup.class_frequencies import ClassFrequencies
from medfs.semisup.cube_views import CubeNetwork, CubeStages, View, as_cube_network, mixed_view, whole_view
from medfs.semisup.cubes import CubeOrder, cubes_along
from medfs.semisup.objectives.base import Batch, SemiSupervisedObjective
from medfs.semisup.teacher import MeanTeacher, sigmoid_ramp, with_noise


@dataclass(frozen=True, slots=True)
class CubeViews:
    """What the student makes of a batch, labelled crops first.

    Attributes:
        whole: the labelled crops as they are.
        mixed: all crops, recovered from exchanged cubes.
        alone: cubes of all crops, encoded one by one.
        recovered: the labelled crops, recovered from ``alone``.
    """

    whole: View
    mixed: View
    alone: CubeStages
    recovered: View


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """The teacher's logits (U, N, *S) of unlabelled crops: of the whole, and blended with those of the cubes."""

    whole: Tensor
    blended: Tensor


class MagicNetObjective(SemiSupervisedObjective):
    """Labelled crops seen three ways, the place of each cube, and agreement of exchanged cubes with the teacher.

    Crops are cut into cubes. *Cross-image*: cubes of one place are exchanged between all crops of the batch; encoder
    and decoder see the mixed crops, their features are brought back, and the output layer reads the recovered ones.
    *Within-image*: encoder and decoder see each cube alone, the features are put together. Labelled crops are
    supervised whole and in both recoveries; a classifier names the place of each cube; the recovered unlabelled crops
    agree with the teacher's labels. Those are blended: where the teacher sees a frequent class, its logits give way
    to those it has of each cube alone, in proportion to the frequency of the class.

    Args:
        network: the student, a `medfs.networks.TextVNet` or `medfs.networks.PlainVNet`; its sizes are read.
        patch_size: voxels of a crop.
        cubes: number of cubes along every axis, or along each.
        cube_order: how cubes are put together in within-image recovery; see `medfs.semisup.cubes.merge_cubes`.
        dice: loss of logits and labels; ``None`` is `medfs.losses.SoftDiceLoss`.
        cross_entropy: likewise; ``None`` is the plain one. With `medfs.losses.GADiceLoss` and
            `medfs.losses.GACrossEntropyLoss`, and a `medfs.networks.PlainVNet`, this is the row *GA* of the papers'
            tables.
        supervised_weights: of cross-entropy and Dice of whole crops, of Dice of exchanged cubes and of cubes alone.
        location_weight: weight of the classifier of places.
        hidden_channels: its width.
        consistency_weight: weight of the unlabelled term at the end of its ramp.
        consistency_ramp: runs over which it rises: 1 for MagicNet's 70 000 steps and TAK's 160 epochs, 4.12 for the
            17 000 steps of GA.
        blend_start: share of the run before which nothing is blended. Published: 100 steps, 0.0014 of MagicNet's
            70 000, 0.003 of TAK's 34 000.
        blending: ``teacher`` has the teacher encode, decode and predict the cubes, features put together first;
            ``mixture`` has it decode the student's features and predict each cube as an image of its own, as released.
        frequency_steps: steps over which classes are counted; until then nothing is blended either.
        frequency_temperature: counts are taken to the power of its inverse.

    References:
        Chen et al., MagicNet: Semi-Supervised Multi-Organ Segmentation via Magic-Cube Partition and Recovery, CVPR
        2023.

    **Differs from the paper**: cubes return to their own places (``cube_order``), one network makes the blended
    logits (``blending``); in a mixture the teacher's own class vectors are used, not the student's. The ramp rises
    with each step.
    """

    def __init__(
        self,
        network: nn.Module,
        patch_size: Sequence[int],
        cubes: int | Sequence[int] = 3,
        cube_order: CubeOrder = "spatial",
        dice: nn.Module | None = None,
        cross_entropy: nn.Module | None = None,
        supervised_weights: Sequence[float] = (0.25, 0.25, 0.25, 0.25),
        location_weight: float = 0.1,
        hidden_channels: int = 4096,
        consistency_weight: float = 0.1,
        consistency_ramp: float = 1.0,
        blend_start: float = 0.003,
        blending: Literal["teacher", "mixture"] = "teacher",
        frequency_steps: int = 20,
        frequency_temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if cube_order not in ("spatial", "published") or blending not in ("teacher", "mixture"):
            raise UsageError(f"{cube_order=}, {blending=}; expected 'spatial' or 'published', 'teacher' or 'mixture'")
        parts = as_cube_network(network)
        channels = parts.backbone.channels
        self.cubes, self.cube_order, self.blending = cubes_along(patch_size, cubes, len(channels)), cube_order, blending
        stride, number = 2 ** (len(channels) - 1), torch.Size(self.cubes).numel()
        self.patch_size = tuple(patch_size)
        voxels = torch.Size(patch_size).numel() // number // stride ** len(self.cubes)
        self.classifier = CubeLocationClassifier(channels[-1] * voxels, number, hidden_channels)
        self.frequencies = ClassFrequencies(parts.num_classes, frequency_steps, frequency_temperature)
        self.dice = dice or SoftDiceLoss()
        self.cross_entropy = cross_entropy or nn.CrossEntropyLoss()
        self.supervised_weights, self.location_weight = tuple(supervised_weights), location_weight
        self.consistency_weight, self.consistency_ramp = consistency_weight, consistency_ramp
        self.blend_start = blend_start
        self._counts: Tensor | None = None

    def forward(
        self,
        student: nn.Module,
        teacher: MeanTeacher,
        labelled: Batch,
        unlabelled: Batch | None,
        progress: float,
        step: int,
    ) -> dict[str, Tensor]:
        """Give ``cross_entropy``, ``dice``, ``mixed_dice``, ``recovered_dice``, ``location`` and ``consistency``."""
        views = self.views(as_cube_network(student), labelled, unlabelled)
        terms = self.supervised(views, labelled)
        if unlabelled is not None:
            pseudo = self.pseudo_labels(teacher, unlabelled["image"], views.alone[len(labelled["image"]) :], progress)
            terms["consistency"] = self.consistency(views, pseudo, progress)
        return terms

    def after_step(self, student: nn.Module, step: int) -> None:
        """Count the classes that the teacher predicted."""
        if self._counts is not None:
            self.frequencies.add(self._counts)
            self._counts = None

    def views(self, student: CubeNetwork, labelled: Batch, unlabelled: Batch | None) -> CubeViews:
        """See the batch whole, mixed and cube by cube."""
        image, known = labelled["image"], len(labelled["image"])
        if unlabelled is not None:
            image = torch.cat([image, unlabelled["image"]])
        if tuple(image.shape[2:]) != self.patch_size:
            raise UsageError(f"crops of {tuple(image.shape[2:])} voxels; expected patch_size {self.patch_size}")
        alone = CubeStages.encoded(student, image, self.cubes, self.cube_order)
        return CubeViews(
            whole=whole_view(student, labelled["image"]),
            mixed=mixed_view(student, image, self.cubes),
            alone=alone,
            recovered=alone[:known].predict(student),
        )

    def supervised(self, views: CubeViews, labelled: Batch) -> dict[str, Tensor]:
        """Terms that the labelled crops give, and the places of all cubes."""
        label, weights = labelled["label"][:, 0].long(), self.supervised_weights
        return {
            "cross_entropy": weights[0] * self.cross_entropy(views.whole.logits.float(), label),
            "dice": weights[1] * self.dice(views.whole.logits, label),
            "mixed_dice": weights[2] * self.dice(views.mixed.logits[: len(label)], label),
            "recovered_dice": weights[3] * self.dice(views.recovered.logits, label),
            "location": self.location_weight * self.classifier.loss(views.alone.deepest),
        }

    def consistency(self, views: CubeViews, pseudo: PseudoLabels, progress: float) -> Tensor:
        """Weighted Dice of the recovered unlabelled crops and the blended labels; remembers what was predicted."""
        labels = pseudo.blended.argmax(1)
        self._counts = self.frequencies.count(labels)
        weight = self.consistency_weight * sigmoid_ramp(progress / self.consistency_ramp)
        agreement: Tensor = self.dice(views.mixed.logits[-len(labels) :], labels)
        return weight * agreement

    @torch.no_grad()
    def pseudo_labels(self, teacher: MeanTeacher, image: Tensor, alone: CubeStages, progress: float) -> PseudoLabels:
        """The teacher's logits of noisy images (U, C, *S), before and after blending.

        Args:
            teacher: the moving average.
            image: of the unlabelled crops.
            alone: the student's stages of their cubes.
            progress: share of the run that is done.
        """
        network = as_cube_network(teacher.network)
        seen = with_noise(image)
        whole = teacher(seen).float()
        if progress < self.blend_start or not self.frequencies.known:
            return PseudoLabels(whole, whole)
        if self.blending == "teacher":
            cubes = CubeStages.encoded(network, seen, self.cubes, self.cube_order).predict(network).logits
        else:
            cubes = alone.predict_each(network)
        weight = self.frequencies.weights(whole.argmax(1)).unsqueeze(1)
        self.observed["blended"] = weight.mean()
        return PseudoLabels(whole, torch.lerp(whole, cubes.float(), weight))
