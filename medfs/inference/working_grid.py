"""Labelled scans, and the slices that a few-shot network sees of any scan."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from medfs.errors import InputError, UsageError
from medfs.io import Volume, read_image, read_labels, require_same_grid
from medfs.io.names import shown
from medfs.transforms import (
    CanonicalOrientation,
    ClipPercentile,
    ResampleLabelsToSpacing,
    ResampleToSpacing,
    StandardizeVolume,
    WindowHU,
)

_ORIENTATION = "LAS"  # rows and columns of the published slices, once the axes are (slices, rows, columns)


@dataclass(frozen=True, eq=False, slots=True)
class LabelledScan:
    """A scan and its label map on one grid."""

    image: Volume
    labels: Volume

    @classmethod
    def read(cls, image: Path, labels: Path) -> "LabelledScan":
        """Read both.

        Raises:
            InputError: a file is damaged, the grids differ, or nothing is labelled.
        """
        scan = cls(read_image(image), read_labels(labels))
        require_same_grid(scan.image, scan.labels)
        if not scan.labels.array.any():
            raise InputError(f"{shown(labels)}: no voxel is labelled; expected the organs to find")
        return scan


class WorkingGrid:
    """Brings scans to slices as the network sees them: one scale for all, the intensities of a scan standardised.

    The first support sets the scale: the longer side of its slices becomes ``size`` pixels, in both directions. Slices
    are as far apart as its own; a scan with thicker slices keeps them.

    Args:
        first: the first support.
        size: pixels.
        modality: ``mr`` clips the highest 0.5 %, ``ct`` to [-125, 275] HU; both are standardised then, as published.

    Raises:
        UsageError: for another modality or a size below 32.
    """

    def __init__(self, first: Volume, *, size: int = 256, modality: str = "mr") -> None:
        if modality not in ("mr", "ct") or size < 32:
            raise UsageError(f"modality {modality!r}, {size} pixels; expected mr or ct and at least 32")
        turned = cast(MetaTensor, CanonicalOrientation(_ORIENTATION)(_tensor(first)))
        voxels_mm = np.linalg.norm(np.asarray(turned.affine)[:3, :3], axis=0)
        self.pixel_mm = float(max(voxels_mm[:2] * turned.shape[1:3]) / size)
        self.slice_mm = float(voxels_mm[2])
        self.intensity = Compose([ClipPercentile() if modality == "mr" else WindowHU(), StandardizeVolume()])

    def image(self, volume: Volume) -> MetaTensor:
        """The slices (Z, 1, Y, X) of a scan; the affine is that of (X, Y, Z)."""
        return self._slices(cast(MetaTensor, self.intensity(_tensor(volume))), ResampleToSpacing)

    def labels(self, volume: Volume) -> MetaTensor:
        """The slices (Z, 1, Y, X) of a label map."""
        return self._slices(_tensor(volume), ResampleLabelsToSpacing)

    def _slices(self, volume: MetaTensor, resample: type[ResampleToSpacing]) -> MetaTensor:
        turned = cast(MetaTensor, CanonicalOrientation(_ORIENTATION)(volume))
        slice_mm = max(self.slice_mm, float(np.linalg.norm(np.asarray(turned.affine)[:3, 2])))
        resampled = cast(MetaTensor, resample((self.pixel_mm, self.pixel_mm, slice_mm))(turned))
        return MetaTensor(resampled.as_tensor().permute(3, 0, 2, 1), affine=resampled.affine)


def _tensor(volume: Volume) -> MetaTensor:
    array = torch.from_numpy(np.ascontiguousarray(volume.array))[None]
    meta = {"filename_or_obj": str(volume.path)}
    return MetaTensor(array, affine=torch.from_numpy(volume.affine), meta=meta)
