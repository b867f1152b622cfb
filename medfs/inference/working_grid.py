"""Labelled scans, and the grid on which a few-shot network sees any scan."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from torch.nn import Module

from medfs.errors import InputError, UsageError
from medfs.io import Volume, read_image, read_labels, require_same_grid
from medfs.io.names import shown
from medfs.io.volume import slice_axis
from medfs.transforms import (
    CanonicalOrientation,
    ClipPercentile,
    ResampleLabelsToSpacing,
    ResampleToSpacing,
    StandardizeVolume,
    WindowHU,
)

SLICE_AXES = "LAS"
"""Where columns, rows and slices of the published slices run to; they are axial."""
_SLICE_SIZE = 256
_MOST_VOXELS = 2**28  # 1024 slices of 512 x 512


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
    """Brings scans to slices or volumes as the network sees them: one scale for all, intensities standardised.

    With ``size``, as networks for slices have it, the first support sets the scale: the longer side of its slices
    becomes so many pixels, in both directions. Slices are as far apart as its own; a scan that is thicker along their
    axis stays so. With ``spacing_mm``, as networks for volumes have it, every scan comes to just these voxels; with
    neither, to those of the first support.

    Args:
        first: the first support.
        size: pixels.
        spacing_mm: from slice to slice, row to row and column to column; not looked at if there is a size.
        axes: where columns, rows and slices run to; the default is that of the published slices.
        modality: ``mr`` clips the highest 0.5 %, ``ct`` to [-125, 275] HU; both are standardised then, as published.

    Raises:
        UsageError: for another modality or a size below 32.
    """

    def __init__(
        self,
        first: Volume,
        *,
        size: int | None = None,
        spacing_mm: Sequence[float] | None = None,
        axes: str = SLICE_AXES,
        modality: str = "mr",
    ) -> None:
        if modality not in ("mr", "ct") or (size is not None and size < 32):
            raise UsageError(f"modality {modality!r}, {size} pixels; expected mr or ct and at least 32")
        self.axes, self.turn = axes, CanonicalOrientation(axes)
        turned = cast(MetaTensor, self.turn(_tensor(first)))
        column_mm, row_mm, slice_mm = _voxels_mm(turned)
        self.spacing_mm, self.keeps_thicker = (slice_mm, row_mm, column_mm), size is not None
        if size is not None:
            columns, rows = turned.shape[1:3]
            pixel_mm = max(column_mm * columns, row_mm * rows) / size
            self.spacing_mm = (slice_mm, pixel_mm, pixel_mm)
        elif spacing_mm is not None:
            slice_mm, row_mm, column_mm = map(float, spacing_mm)
            self.spacing_mm = (slice_mm, row_mm, column_mm)
        self.intensity = Compose([ClipPercentile() if modality == "mr" else WindowHU(), StandardizeVolume()])

    @classmethod
    def of_network(cls, encoder: Module, first: Volume, size: int | None, modality: str) -> "WorkingGrid":
        """The grid that a network and the first support make.

        Args:
            encoder: for slices or for volumes.
            first: the first support.
            size: pixels; None takes 256 for slices. Volumes then get ``spacing_mm`` of the encoder, or the voxels of
                the first support if that says nothing.
            modality: see the class.

        Raises:
            UsageError: see the class.
        """
        volumes = encoder.spatial_dims == 3
        return cls(
            first,
            size=_SLICE_SIZE if size is None and not volumes else size,
            spacing_mm=getattr(encoder, "spacing_mm", None),
            axes=stored_axes(first) if volumes else slice_axes(first),
            modality=modality,
        )

    def image(self, volume: Volume) -> MetaTensor:
        """The slices (Z, 1, Y, X) of a scan; the affine is that of (X, Y, Z).

        Raises:
            InputError: the grid would have far more voxels than a scan has.
        """
        return self._slices(volume, cast(MetaTensor, self.intensity(_tensor(volume))), ResampleToSpacing)

    def labels(self, volume: Volume) -> MetaTensor:
        """The slices (Z, 1, Y, X) of a label map.

        Raises:
            InputError: as :meth:`image`.
        """
        return self._slices(volume, _tensor(volume), ResampleLabelsToSpacing)

    def _slices(self, volume: Volume, values: MetaTensor, resample: type[ResampleToSpacing]) -> MetaTensor:
        turned = cast(MetaTensor, self.turn(values))
        voxels_mm = _voxels_mm(turned)
        slice_mm, row_mm, column_mm = self.spacing_mm
        wanted = (column_mm, row_mm, max(slice_mm, voxels_mm[2]) if self.keeps_thicker else slice_mm)
        size = [ceil(n * has / mm) for n, has, mm in zip(turned.shape[1:], voxels_mm, wanted, strict=True)]
        if prod(size) > _MOST_VOXELS:
            voxels, each_mm = " x ".join(map(str, size)), " x ".join(f"{mm:g}" for mm in wanted)
            raise InputError(
                f"{shown(volume.path)}: {voxels} voxels of {each_mm} mm for the network; expected at most "
                f"{_MOST_VOXELS}: check the spacing in its header, or take a smaller size"
            )
        resampled = cast(MetaTensor, resample(wanted)(turned))
        return MetaTensor(resampled.as_tensor().permute(3, 0, 2, 1), affine=resampled.affine)


def slice_axes(volume: Volume) -> str:
    """Where columns, rows and slices run to for networks of slices: as published, but through the slices of the scan.

    >>> slice_axes(Volume.from_array(np.zeros((2, 2, 2)), np.diag([1.0, 1.0, 5.0, 1.0])))
    'LAS'
    >>> slice_axes(Volume.from_array(np.zeros((2, 2, 2)), np.diag([1.0, 5.0, 1.0, 1.0])))
    'LSA'
    """
    code = nib.orientations.aff2axcodes(volume.affine)[slice_axis(volume.affine)]
    through = next(axis for axis, pair in zip(SLICE_AXES, ("LR", "AP", "SI"), strict=True) if code in pair)
    return SLICE_AXES.replace(through, "") + through


def stored_axes(volume: Volume) -> str:
    """Where columns, rows and slices of a scan run to as :func:`medfs.fewshot.prepare_case` makes them for training.

    >>> stored_axes(Volume.from_array(np.zeros((2, 2, 2)), np.diag([1.0, -5.0, 1.0, 1.0])))
    'RSP'
    """
    axis = slice_axis(volume.affine)
    codes = nib.orientations.aff2axcodes(volume.affine)
    return "".join(codes[place] for place in (*sorted({0, 1, 2} - {axis}), axis))


def _voxels_mm(volume: MetaTensor) -> tuple[float, float, float]:
    x, y, z = np.linalg.norm(np.asarray(volume.affine)[:3, :3], axis=0).tolist()
    return x, y, z


def _tensor(volume: Volume) -> MetaTensor:
    array = torch.from_numpy(np.ascontiguousarray(volume.array))[None]
    meta = {"filename_or_obj": str(volume.path)}
    return MetaTensor(array, affine=torch.from_numpy(volume.affine), meta=meta)
