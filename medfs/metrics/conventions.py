"""What different papers and libraries call Dice and surface distance, by name.

Two scores are comparable only under one convention. Use ``medfs`` to report, another one only to stand beside numbers
that were published under it.

``medfs``
    Native grid, millimetres. An organ absent from both masks has no score and is counted. A missed organ and a false
    positive both score the worst: Dice, IoU and NSD 0, distances infinite in the row and the diagonal of the image in
    every mean, so that missing an organ never improves a result.

``monai``
    What ``monai.metrics`` 1.6 gives with a spacing (``ignore_empty=True``, ``percentile=95``, ``symmetric=True``).
    *Faults:* a false positive has no Dice, so it costs nothing; HD95 of a missed organ is not a number and drops out
    of the mean, which improves; one missed organ makes the mean ASD infinite.

``tak``
    The test protocol of TAK-Semi (and of GALoss, which it takes it from): both masks are resized to 160 x 160 x 80
    by nearest neighbour, the voxel then counts as 1 mm, and ASD runs from the prediction to the reference only. An
    organ absent from both masks scores Dice 1 and ASD 0; absent from one, Dice 0 and ASD 128. A case without any
    predicted voxel scores 0 for everything. *Faults:* absent organs give free points (an organ that is never
    predicted keeps the share of the cases without it as its Dice); distances have no physical unit; small organs
    can vanish in the resizing; what the prediction lacks costs no ASD; an empty prediction has the best ASD. HD95 and
    NSD are placeholders in the published code and are left out here.

``few_shot``
    Protocol EP1 of the Ouyang family (SSL-ALPNet, Q-Net, DMAP and others): only slices along the last axis in which
    the reference holds the organ are kept, then Dice and IoU count voxels over the whole scan. *Faults:* false
    positives beyond the true extent of the organ cost nothing; a scan without the organ is no query and has no score;
    no surface metric. Published tables average scans, then folds, then organs: folds of unequal size need one summary
    per fold. Protocol EP2 scores the whole scan, which is Dice and IoU of ``medfs``.

References:
    Metrics Reloaded: https://doi.org/10.1038/s41592-023-02151-z
    GALoss: Qi et al., Gradient-Aware for Class-Imbalanced Semi-supervised Medical Image Segmentation, ECCV 2024.
    SSL-ALPNet: Ouyang et al., Self-Supervision with Superpixels, ECCV 2020, https://arxiv.org/abs/2007.09886
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, nan
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medfs.errors import UsageError

ConventionName = Literal["medfs", "monai", "tak", "few_shot"]

OVERLAPS = ("dice", "iou")
DISTANCES = ("hd95_mm", "hd95_pooled_mm", "asd_mm", "asd_pred_to_ref_mm")
METRICS = (*OVERLAPS, *DISTANCES, "nsd")


class Status(StrEnum):
    """Which of the two masks of an organ hold a voxel."""

    BOTH_EMPTY = "both_empty"
    REF_EMPTY = "ref_empty"
    PRED_EMPTY = "pred_empty"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Convention:
    """How one paper or library scores.

    Attributes:
        name: The name it is asked for by.
        summary: One line for the foot of a table.
        metrics: The metrics it defines; the others are not a number.
        empty: Value of each metric for each status with an empty mask.
        distance_unit: ``mm``, or ``voxel`` of ``grid``.
        grid: Shape that both masks are resized to first, if any.
        directed_asd: Whether ASD runs from the prediction to the reference only.
        reference_slices_only: Whether slices without the organ in the reference are dropped.
        blank_prediction_scores_zero: Whether a case without any predicted voxel scores 0 for every metric.
        worst_is_diagonal: Whether an infinite distance enters means as the diagonal of the image.
    """

    name: ConventionName
    summary: str
    metrics: tuple[str, ...]
    empty: Mapping[Status, Mapping[str, float]]
    distance_unit: Literal["mm", "voxel"] = "mm"
    grid: tuple[int, ...] | None = None
    directed_asd: bool = False
    reference_slices_only: bool = False
    blank_prediction_scores_zero: bool = False
    worst_is_diagonal: bool = False


def _values(overlap: float, distance: float, nsd: float = nan, **others: float) -> dict[str, float]:
    return {**dict.fromkeys(OVERLAPS, overlap), **dict.fromkeys(DISTANCES, distance), "nsd": nsd, **others}


CONVENTIONS: Mapping[str, Convention] = {
    convention.name: convention
    for convention in (
        Convention(
            name="medfs",
            summary="native grid; HD95 is the larger directed 95th percentile, pooled HD95 that of both directions "
            "together; an organ absent from both masks is left out of the means; a missed organ or a false "
            "positive enters them with overlap 0 and the diagonal of the image as distance",
            metrics=METRICS,
            empty={
                Status.BOTH_EMPTY: _values(nan, nan, nan),
                Status.REF_EMPTY: _values(0.0, inf, 0.0),
                Status.PRED_EMPTY: _values(0.0, inf, 0.0),
            },
            worst_is_diagonal=True,
        ),
        Convention(
            name="monai",
            summary="as monai.metrics: a false positive has no Dice and a missed organ no HD95, both improve the mean",
            metrics=tuple(metric for metric in METRICS if metric != "hd95_pooled_mm"),
            empty={
                Status.BOTH_EMPTY: _values(nan, nan, nan),
                Status.REF_EMPTY: _values(nan, inf, 0.0, hd95_mm=nan),
                Status.PRED_EMPTY: _values(0.0, inf, 0.0, hd95_mm=nan),
            },
        ),
        Convention(
            name="tak",
            summary="as TAK-Semi: on a 160 x 160 x 80 grid, ASD in its voxels and from prediction to reference; "
            "an organ absent from both masks scores Dice 1, from one ASD 128",
            metrics=("dice", "asd_mm"),
            empty={
                Status.BOTH_EMPTY: _values(1.0, 0.0),
                Status.REF_EMPTY: _values(0.0, 128.0),
                Status.PRED_EMPTY: _values(0.0, 128.0),
            },
            distance_unit="voxel",
            grid=(160, 160, 80),
            directed_asd=True,
            blank_prediction_scores_zero=True,
        ),
        Convention(
            name="few_shot",
            summary="as the few-shot protocol EP1: only slices in which the reference holds the organ",
            metrics=OVERLAPS,
            empty={
                Status.BOTH_EMPTY: _values(nan, nan),
                Status.REF_EMPTY: _values(nan, nan),
                Status.PRED_EMPTY: _values(0.0, nan),
            },
            reference_slices_only=True,
        ),
    )
}


def find_convention(name: str) -> Convention:
    """Return the convention of that name.

    Raises:
        UsageError: There is none.

    >>> find_convention("tak").grid
    (160, 160, 80)
    """
    if name not in CONVENTIONS:
        raise UsageError(f"convention {name!r} is unknown; expected one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


def resize_nearest(labels: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Resize a label map by nearest neighbour: output index ``i`` reads input index ``i * n_in // n_out``.

    This is the rule of ``torch.nn.functional.interpolate(mode="nearest")`` in exact arithmetic.

    Args:
        labels: Label map, ``(*S)``.
        shape: Wanted shape, one length per axis.

    >>> resize_nearest(np.array([1, 2]), (4,))
    array([1, 1, 2, 2])
    """
    index = [np.arange(n_out) * n_in // n_out for n_in, n_out in zip(labels.shape, shape, strict=True)]
    return labels[np.ix_(*index)]


def keep_reference_slices(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Clear a predicted mask in the slices along the last axis in which the reference is empty.

    A two-dimensional mask is one slice. With an empty reference no slice could be kept, and the prediction is returned
    as it is.

    Args:
        prediction: Predicted mask, ``(*S)``.
        reference: True mask, ``(*S)``.
    """
    if prediction.ndim < 3 or not reference.any():
        return prediction
    kept = reference.any(axis=tuple(range(reference.ndim - 1)), keepdims=True)
    return prediction & kept
