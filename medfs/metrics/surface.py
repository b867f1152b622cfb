"""Distances between the surfaces of two masks, computed once and shared by every surface metric."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from medfs.errors import InputError

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

# Voxel sizes of NIfTI headers are float32: 5 voxels of 0.4 mm measure 2.00000003 mm and have to count as 2 mm.
_TOLERANCE_SLACK = 1e-6
# Large leaves cost nothing between near surfaces and keep the query fast between far ones.
_LEAF_SIZE = 64


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """Distances in mm from each surface voxel of one mask to the surface of the other; never empty.

    Attributes:
        pred_to_ref: One distance per surface voxel of the prediction.
        ref_to_pred: One distance per surface voxel of the reference.
    """

    pred_to_ref: FloatArray
    ref_to_pred: FloatArray

    def hausdorff(self, percentile: float = 95.0) -> float:
        """Larger of the two directed percentiles, as MONAI defines HD95.

        >>> SurfaceDistances(np.array([0.0, 1.0]), np.array([3.0])).hausdorff(100)
        3.0
        """
        return float(max(np.percentile(self.pred_to_ref, percentile), np.percentile(self.ref_to_pred, percentile)))

    def hausdorff_pooled(self, percentile: float = 95.0) -> float:
        """Percentile of both directions pooled, as MedPy defines HD95; the larger surface weighs more."""
        return float(np.percentile(np.concatenate((self.pred_to_ref, self.ref_to_pred)), percentile))

    def mean(self) -> float:
        """Average symmetric surface distance: the mean over the voxels of both surfaces."""
        total = self.pred_to_ref.sum() + self.ref_to_pred.sum()
        return float(total / (self.pred_to_ref.size + self.ref_to_pred.size))

    def mean_pred_to_ref(self) -> float:
        """Average surface distance in one direction: what is missing from the prediction costs nothing."""
        return float(self.pred_to_ref.mean())

    def fraction_within(self, tolerance_mm: float) -> float:
        """Normalised surface Dice: the share of both surfaces that lies within the tolerance of the other."""
        limit = tolerance_mm * (1.0 + _TOLERANCE_SLACK)
        within = np.count_nonzero(self.pred_to_ref <= limit) + np.count_nonzero(self.ref_to_pred <= limit)
        return within / (self.pred_to_ref.size + self.ref_to_pred.size)


def surface_voxels(mask: BoolArray) -> BoolArray:
    """Mark the voxels of a mask that share a face with the outside.

    Whatever lies beyond the array is outside, so a structure cut by the border of the image has a surface there, as
    in MONAI and MedPy. An empty mask has no surface voxels.

    Args:
        mask: Mask of any number of axes, ``(*S)``.

    Returns:
        Mask of the surface, ``(*S)``.

    >>> surface_voxels(np.ones((3, 3), bool)).astype(int)
    array([[1, 1, 1],
           [1, 0, 1],
           [1, 1, 1]])
    """
    padded = np.pad(mask, 1)
    interior = np.copy(mask)
    for axis, length in enumerate(mask.shape):
        for start in (0, 2):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = slice(start, start + length)
            interior &= padded[tuple(window)]
    surface: BoolArray = mask & ~interior
    return surface


def surface_distances(prediction: BoolArray, reference: BoolArray, spacing_mm: Sequence[float]) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks, in both directions.

    The distances are exact Euclidean distances between voxel centres, from one k-d tree per surface: double precision,
    and memory in proportion to the surfaces, not to the volume.

    Args:
        prediction: Predicted mask, ``(*S)``.
        reference: True mask, ``(*S)``.
        spacing_mm: Distance of neighbouring voxels along each axis.

    Raises:
        InputError: A mask is empty, so there is no surface to measure to.
    """
    if not (prediction.any() and reference.any()):
        raise InputError("an empty mask has no surface; expected at least one voxel in both masks")
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    points_pred = np.argwhere(surface_voxels(prediction)) * spacing
    points_ref = np.argwhere(surface_voxels(reference)) * spacing
    return SurfaceDistances(_nearest(points_pred, points_ref), _nearest(points_ref, points_pred))


def _nearest(points: FloatArray, targets: FloatArray) -> FloatArray:
    tree = cKDTree(targets, leafsize=_LEAF_SIZE, balanced_tree=False)
    distances: FloatArray = tree.query(points)[0]
    return distances
