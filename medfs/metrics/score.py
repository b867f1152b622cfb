"""Score one case: all organs in one pass, in millimetres, with a stated rule for empty masks."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfs.errors import InputError, UsageError
from medfs.metrics.conventions import (
    METRICS,
    Convention,
    ConventionName,
    Status,
    find_convention,
    keep_reference_slices,
    resize_nearest,
)
from medfs.metrics.surface import BoolArray, surface_distances

LabelArray = NDArray[np.integer] | BoolArray
Box = tuple[slice, ...]

_HIGHEST_LABEL = 65535


@dataclass(frozen=True, slots=True)
class OrganScore:
    """One organ of one case.

    Attributes:
        case: Name of the case.
        organ: Name of the organ.
        status: Which of the two masks hold a voxel.
        ref_voxels: Voxels of the reference, on the grid that was scored.
        pred_voxels: Voxels of the prediction, on the grid that was scored.
        ref_volume_ml: Volume of the reference; not a number for a two-dimensional image.
        pred_volume_ml: Volume of the prediction; not a number for a two-dimensional image.
        dice: Dice coefficient, 0 to 1.
        iou: Intersection over union, 0 to 1.
        hd95_mm: Larger of the two directed 95th percentiles of the surface distance (MONAI's definition).
        hd95_pooled_mm: 95th percentile of the distances of both directions together (MedPy's definition).
        asd_mm: Average symmetric surface distance; under ``tak`` directed and in voxels of its grid.
        asd_pred_to_ref_mm: Average surface distance from the prediction to the reference only.
        nsd: Normalised surface Dice at ``nsd_tolerance_mm``, 0 to 1.
        nsd_tolerance_mm: Distance that counts as agreement.
        diagonal_mm: Diagonal of the image, the distance that a missed organ costs in a mean.
        convention: Name of the convention; a metric that it does not define is not a number.
    """

    case: str
    organ: str
    status: Status
    ref_voxels: int
    pred_voxels: int
    ref_volume_ml: float
    pred_volume_ml: float
    dice: float
    iou: float
    hd95_mm: float
    hd95_pooled_mm: float
    asd_mm: float
    asd_pred_to_ref_mm: float
    nsd: float
    nsd_tolerance_mm: float
    diagonal_mm: float
    convention: ConventionName


@dataclass(frozen=True, slots=True)
class _Grid:
    """Spacing that distances are measured with, volume of a voxel and diagonal of the image."""

    spacing: tuple[float, ...]
    voxel_ml: float
    diagonal_mm: float


def score_case(
    prediction: LabelArray,
    reference: LabelArray,
    spacing_mm: Sequence[float],
    labels: Mapping[int, str],
    *,
    case: str = "",
    nsd_tolerance_mm: float | Mapping[str, float] = 2.0,
    convention: ConventionName = "medfs",
) -> list[OrganScore]:
    """Score a predicted label map against a reference, one row per organ.

    Each organ is cropped to the box that holds it in either map; nothing outside that box can change a number. The
    surfaces are measured once and shared by HD95, ASD and NSD. What an organ scores that is absent from one map or
    from both is the convention's rule: see :mod:`medfs.metrics.conventions`.

    Args:
        prediction: Predicted label map, integer or Boolean, ``(*S)`` with 2 or 3 axes.
        reference: True label map on the same grid, ``(*S)``.
        spacing_mm: Distance of neighbouring voxels along each axis of the arrays.
        labels: Organ of each label value to score, without the background; other values are not looked at.
        case: Name of the case, for the rows and for errors.
        nsd_tolerance_mm: Tolerance of the normalised surface Dice, for all organs or by name of organ.
        convention: How to score; by default in millimetres on the grid given.

    Returns:
        Rows in the order of ``labels``.

    Raises:
        InputError: The maps differ in shape, are no label maps, or the spacing is missing or not positive.
        UsageError: No labels, an impossible label value, tolerance or convention.

    >>> truth = np.zeros((4, 4, 4), np.uint8); truth[1:3, 1:3, 1:3] = 1
    >>> score_case(truth, truth, (1, 1, 2.5), {1: "spleen"})[0].dice
    1.0
    """
    rule = find_convention(convention)
    _check_maps(prediction, reference, spacing_mm, case)
    _check_labels(labels)
    tolerances = _tolerances(nsd_tolerance_mm, labels.values())
    grid = _grid(reference.shape, spacing_mm, rule)
    if rule.grid is not None:
        shape = rule.grid[: reference.ndim]
        prediction, reference = resize_nearest(prediction, shape), resize_nearest(reference, shape)
    if rule.blank_prediction_scores_zero and not prediction.any():
        rule = replace(rule, empty=dict.fromkeys(Status, dict.fromkeys(METRICS, 0.0)))
    boxes_pred = ndimage.find_objects(prediction, max(labels))
    boxes_ref = ndimage.find_objects(reference, max(labels))
    scores = []
    for label, organ in labels.items():
        box = _union(boxes_pred[label - 1], boxes_ref[label - 1], reference.ndim)
        masks = prediction[box] == label, reference[box] == label
        scores.append(_score_organ(masks, grid, rule, case=case, organ=organ, tolerance_mm=tolerances[organ]))
    return scores


def _score_organ(
    masks: tuple[BoolArray, BoolArray], grid: _Grid, rule: Convention, *, case: str, organ: str, tolerance_mm: float
) -> OrganScore:
    prediction, reference = masks
    if rule.reference_slices_only:
        prediction = keep_reference_slices(prediction, reference)
    n_pred, n_ref = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    status = _status(n_pred, n_ref)
    if status is Status.BOTH:
        values = _measure(prediction, reference, grid, rule, tolerance_mm)
    else:
        values = dict(rule.empty[status])
    values = {metric: values[metric] if metric in rule.metrics else nan for metric in METRICS}
    return OrganScore(
        case=case,
        organ=organ,
        status=status,
        ref_voxels=n_ref,
        pred_voxels=n_pred,
        ref_volume_ml=n_ref * grid.voxel_ml,
        pred_volume_ml=n_pred * grid.voxel_ml,
        **values,
        nsd_tolerance_mm=tolerance_mm,
        diagonal_mm=grid.diagonal_mm,
        convention=rule.name,
    )


def _measure(
    prediction: BoolArray, reference: BoolArray, grid: _Grid, rule: Convention, tolerance_mm: float
) -> dict[str, float]:
    shared = int(np.count_nonzero(prediction & reference))
    either = int(np.count_nonzero(prediction | reference))
    values = dict.fromkeys(METRICS, nan) | {"dice": 2 * shared / (shared + either), "iou": shared / either}
    if "asd_mm" not in rule.metrics:
        return values
    distances = surface_distances(prediction, reference, grid.spacing)
    directed = distances.mean_pred_to_ref()
    return values | {
        "hd95_mm": distances.hausdorff(95),
        "hd95_pooled_mm": distances.hausdorff_pooled(95),
        "asd_mm": directed if rule.directed_asd else distances.mean(),
        "asd_pred_to_ref_mm": directed,
        "nsd": distances.fraction_within(tolerance_mm),
    }


def _status(n_pred: int, n_ref: int) -> Status:
    if n_pred and n_ref:
        return Status.BOTH
    if n_ref:
        return Status.PRED_EMPTY
    return Status.REF_EMPTY if n_pred else Status.BOTH_EMPTY


def _union(first: Box | None, second: Box | None, ndim: int) -> Box:
    """Smallest box around both, an empty one where there is none."""
    if first is None or second is None:
        return first or second or (slice(0, 0),) * ndim
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))


def _grid(shape: tuple[int, ...], spacing_mm: Sequence[float], rule: Convention) -> _Grid:
    extent_mm = [n * float(step) for n, step in zip(shape, spacing_mm, strict=True)]
    scored = shape if rule.grid is None else rule.grid[: len(shape)]
    voxel_ml = math.prod(extent_mm) / math.prod(scored) / 1000.0 if len(shape) == 3 else nan
    spacing = (1.0,) * len(shape) if rule.distance_unit == "voxel" else tuple(float(step) for step in spacing_mm)
    return _Grid(spacing=spacing, voxel_ml=voxel_ml, diagonal_mm=math.hypot(*extent_mm))


def _check_maps(prediction: LabelArray, reference: LabelArray, spacing_mm: Sequence[float], case: str) -> None:
    where = f"{case}: " if case else ""
    if prediction.shape != reference.shape:
        raise InputError(f"{where}prediction has shape {prediction.shape}, reference {reference.shape}; expected equal")
    if prediction.ndim not in (2, 3) or 0 in prediction.shape:
        raise InputError(f"{where}label maps have shape {prediction.shape}; expected 2 or 3 axes, none of length 0")
    for name, array in (("prediction", prediction), ("reference", reference)):
        if array.dtype.kind not in "iub":
            raise InputError(f"{where}{name} has type {array.dtype}; expected whole-number labels")
    if spacing_mm is None or len(spacing_mm) != prediction.ndim:
        raise InputError(f"{where}spacing is {spacing_mm}; expected {prediction.ndim} numbers in mm, one per axis")
    if not all(math.isfinite(step) and step > 0 for step in spacing_mm):
        raise InputError(f"{where}spacing is {tuple(map(float, spacing_mm))} mm; expected finite and > 0 on every axis")


def _check_labels(labels: Mapping[int, str]) -> None:
    if not labels:
        raise UsageError("no labels to score; expected a name for at least one label value")
    for label, organ in labels.items():
        if not 1 <= label <= _HIGHEST_LABEL:
            raise UsageError(
                f"label {label} ({organ}) cannot be scored; expected 1 to {_HIGHEST_LABEL} (0 is background)"
            )
    if len(set(labels.values())) < len(labels):
        raise UsageError("two label values have the same name; expected one name for each organ")


def _tolerances(tolerance_mm: float | Mapping[str, float], organs: Iterable[str]) -> dict[str, float]:
    tolerances = {}
    for organ in organs:
        value = tolerance_mm.get(organ) if isinstance(tolerance_mm, Mapping) else tolerance_mm
        if value is None or not math.isfinite(value) or value < 0:
            raise UsageError(f"NSD tolerance of {organ} is {value}; expected a number of mm, 0 or more")
        tolerances[organ] = float(value)
    return tolerances
