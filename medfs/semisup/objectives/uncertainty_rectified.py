"""Uncertainty rectified pyramid consistency: the scales of one network agree, most where they differ least."""

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.losses import SoftDiceLoss, rectified_consistency
from medfs.semisup.cube_views import as_cube_network
from medfs.semisup.objectives.base import Batch, SemiSupervisedObjective
from medfs.semisup.teacher import MeanTeacher, sigmoid_ramp

_INTERPOLATION = {2: "bilinear", 3: "trilinear"}


class UncertaintyRectifiedObjective(SemiSupervisedObjective):
    """Predictions of several levels of the decoder, each supervised, drawn to their mean on unlabelled crops.

    The objective owns an output convolution for each coarser level; the finest prediction is the student's own. All
    are interpolated to full resolution. There is no teacher: one pass suffices.

    Args:
        network: the student, a `medfs.networks.TextVNet` or `medfs.networks.PlainVNet`; its sizes are read.
        scales: number of predictions, at most that of the decoder's levels.
        dice: loss of logits and labels; ``None`` is `medfs.losses.SoftDiceLoss`.
        cross_entropy: the same; ``None`` is `torch.nn.CrossEntropyLoss`.
        supervised_weights: of Dice and cross-entropy, each the mean over the scales.
        consistency_weight: weight of the unlabelled term at the end of its ramp.
        consistency_ramp: share of the run over which it rises.

    Raises:
        UsageError: another network, or fewer than two scales.

    References:
        Luo et al., Efficient Semi-Supervised Gross Target Volume of Nasopharyngeal Carcinoma Segmentation via
        Uncertainty Rectified Pyramid Consistency, MICCAI 2021.

    **Differs from the paper**: neither dropout nor noise before the prediction layers; a network with fewer levels has
    fewer scales; distances are means over classes and the divergence a mean over voxels, so that the weight does not
    depend on the size of a crop; the ramp rises with each step.
    """

    def __init__(
        self,
        network: nn.Module,
        scales: int = 4,
        dice: nn.Module | None = None,
        cross_entropy: nn.Module | None = None,
        supervised_weights: tuple[float, float] = (0.5, 0.5),
        consistency_weight: float = 0.1,
        consistency_ramp: float = 1.0,
    ) -> None:
        super().__init__()
        parts = as_cube_network(network)
        channels: tuple[int, ...] = parts.backbone.channels  # type: ignore[assignment]
        dims: int = parts.backbone.spatial_dims  # type: ignore[assignment]
        coarse = channels[1 : min(scales, len(channels) - 1)]
        if not coarse:
            raise UsageError(
                f"{scales=} of a network of {len(channels)} levels; expected at least 2 scales and 3 levels"
            )
        self.outputs = nn.ModuleList(Conv[Conv.CONV, dims](width, parts.num_classes, 1) for width in coarse)
        self.mode = _INTERPOLATION[dims]
        self.dice, self.cross_entropy = dice or SoftDiceLoss(), cross_entropy or nn.CrossEntropyLoss()
        self.supervised_weights = tuple(supervised_weights)
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
        """Give ``dice``, ``cross_entropy`` and ``consistency``; see the base class."""
        image, label = labelled["image"], labelled["label"][:, 0].long()
        if unlabelled is not None:
            image = torch.cat([image, unlabelled["image"]])
        scales, known = self.pyramid(student, image), len(label)
        losses = {"dice": self.dice, "cross_entropy": self.cross_entropy}
        terms = {
            name: weight * torch.stack([loss(logits[:known], label) for logits in scales]).mean()
            for weight, (name, loss) in zip(self.supervised_weights, losses.items(), strict=True)
        }
        if unlabelled is not None:
            weight = self.consistency_weight * sigmoid_ramp(progress / self.consistency_ramp)
            terms["consistency"] = weight * rectified_consistency([logits[known:] for logits in scales])
        return terms

    def pyramid(self, student: nn.Module, image: Tensor) -> list[Tensor]:
        """Logits (B, N, *S) of each scale for images (B, C, *S), fine to coarse, in float32."""
        network = as_cube_network(student)
        stages = network.encode(image)
        finest, *coarser = reversed([*network.backbone.decoded(stages)])  # type: ignore[operator]
        logits = [network.predict(stages, finest).float()]
        for features, output in zip(coarser, self.outputs, strict=False):
            logits.append(F.interpolate(output(features).float(), image.shape[2:], mode=self.mode))
        return logits
