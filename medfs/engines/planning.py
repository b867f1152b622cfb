"""A training plan from the data: spacing, patch and depth where the user states none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medfs.errors import UsageError
from medfs.io import Volume

Modality = Literal["ct", "mr"]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What the working grid and the network's depth are.

    Attributes:
        modality: ``ct`` clips Hounsfield units to [-125, 275]; ``mr`` scales each scan by its own percentiles.
        spacing_mm: voxel size of the working grid, after reorientation to RAS.
        patch_size: voxels of a training crop and of an inference window.
        levels: resolutions of the network; a patch is a multiple of ``2 ** (levels - 1)`` along each axis.
    """

    modality: Modality
    spacing_mm: tuple[float, float, float]
    patch_size: tuple[int, int, int]
    levels: int


def plan_training(
    volumes: Sequence[Volume],
    *,
    modality: Modality | None = None,
    spacing_mm: Sequence[float] | None = None,
    patch_size: Sequence[int] | None = None,
    levels: int | None = None,
    cubes: int = 1,
    largest_patch: int = 96,
) -> TrainingPlan:
    """Fill in what the user left open from a few training scans.

    The spacing is the median one, the patch the median size of a scan on that grid up to ``largest_patch`` voxels,
    with as many levels (5 at most, 3 at least) as leave four voxels along its shortest side, and two along that of a
    cube.

    Args:
        volumes: training images; must not be empty.
        modality: ``None`` takes ``ct`` when the median scan has values below -200.
        spacing_mm: three voxel sizes along R, A, S.
        patch_size: three sizes in voxels.
        levels: depth of the network.
        cubes: into how many the objective cuts a patch along each axis.
        largest_patch: limit of a planned patch side.

    Raises:
        UsageError: a stated patch does not fit the stated depth.
    """
    modality = modality or ("ct" if np.median([volume.array.min() for volume in volumes]) < -200 else "mr")
    grids = [_ras_grid(volume) for volume in volumes]
    spacing = np.asarray(spacing_mm or np.median([spacing for _, spacing in grids], axis=0), dtype=float)
    sizes = np.median([np.round(shape * own / spacing) for shape, own in grids], axis=0)
    wanted = np.asarray(patch_size or np.clip(sizes, 8, largest_patch), dtype=int)
    if levels is None:
        levels = int(np.clip(np.floor(np.log2(wanted.min() / max(4, 2 * cubes))) + 1, 3, 5))
    step = cubes * 2 ** (levels - 1)
    if patch_size is None:
        wanted = np.minimum(np.ceil(wanted / step), largest_patch // step).astype(int) * step
        wanted = np.maximum(wanted, 2 * step)
    elif (wanted % step).any() or (wanted < 2 * step).any():
        sides = "x".join(str(side) for side in wanted)
        raise UsageError(
            f"patch {sides} with {levels} levels{f' and {cubes} cubes' if cubes > 1 else ''}: every side must be a "
            f"multiple of {step}, from {2 * step}"
        )
    x, y, z = (round(float(side), 4) for side in spacing)
    i, j, k = (int(side) for side in wanted)
    return TrainingPlan(modality, (x, y, z), (i, j, k), levels)


def _ras_grid(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Shape and spacing in mm along the world axis closest to each voxel axis, in the order R, A, S."""
    directions = np.abs(volume.affine[:3, :3] / np.asarray(volume.spacing_mm))
    order = np.array([int(directions[axis].argmax()) for axis in range(3)])
    if sorted(order) != [0, 1, 2]:  # 45 degrees oblique: keep the file's own order
        order = np.arange(3)
    return np.asarray(volume.array.shape)[order], np.asarray(volume.spacing_mm)[order]
