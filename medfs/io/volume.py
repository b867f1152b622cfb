"""A 3D volume with everything that is needed to write another one on its grid."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import nibabel as nib
import numpy as np

from medfs.errors import InputError
from medfs.io.names import shown

NiftiHeader: TypeAlias = nib.Nifti1Header | nib.Nifti2Header

_NIFTI1_LARGEST_DIM = 32767
_THICK = 1.25  # times the other spacings: slices thicker than that are the planes of the scan


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a grid in the patient.

    Attributes:
        array: ``(X, Y, Z)``, float32 for images, integers for labels.
        affine: ``(4, 4)`` float64, voxel index -> RAS+ millimetres.
        header: the source's NIfTI header as read, or a fresh one for other sources; only its geometry is ever used.
        path: the file that was read.
        warnings: one line for each peculiarity that was met and survived.
    """

    array: np.ndarray
    affine: np.ndarray
    header: NiftiHeader
    path: Path
    warnings: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbours along each array axis, in millimetres."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @classmethod
    def from_array(cls, array: np.ndarray, affine: np.ndarray, path: str | Path = "volume.nii.gz") -> "Volume":
        """A volume that no file gave, e.g. a synthetic one.

        Args:
            array: ``(X, Y, Z)``.
            affine: ``(4, 4)``, voxel index -> RAS+ millimetres.
            path: the name it goes by in messages.

        Raises:
            InputError: the array is not 3D.
        """
        if array.ndim != 3:
            raise InputError(f"{shown(path)}: an array of shape {array.shape}; expected 3 axes")
        affine = np.asarray(affine, dtype=np.float64)
        return cls(array, affine, fresh_header(array.shape, affine), Path(path))


def fresh_header(shape: tuple[int, ...], affine: np.ndarray) -> NiftiHeader:
    """A NIfTI header in millimetres whose qform and sform both hold ``affine``, codes 1 (scanner).

    The qform cannot hold a shear and gets the nearest rotation instead. NIfTI-2 is chosen for an axis that NIfTI-1
    cannot count.
    """
    header = nib.Nifti2Header() if max(shape) > _NIFTI1_LARGEST_DIM else nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm")
    return header


def slice_axis(affine: np.ndarray) -> int:
    """The array axis that runs through the slices of a scan.

    It is the one with by far the largest spacing, or, where no spacing exceeds both others by a quarter, the one
    closest to the patient's long axis.

    Args:
        affine: ``(4, 4)``, voxel index -> RAS+ millimetres.

    >>> slice_axis(np.diag([1.0, 5.0, 1.0, 1.0])), slice_axis(np.diag([1.0, 1.1, 1.0, 1.0]))
    (1, 2)
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    order = np.argsort(spacing)
    if spacing[order[2]] > _THICK * spacing[order[1]]:
        return int(order[2])
    return int(np.abs(affine[2, :3] / spacing).argmax())


def require_same_grid(image: Volume, labels: Volume, tolerance_mm: float = 1e-3) -> None:
    """Return if both volumes have the same shape and, within ``tolerance_mm`` at every corner, the same place.

    Raises:
        InputError: they do not; the message names both files and the difference.
    """
    names = f"{shown(labels.path)} and {shown(image.path)}"
    if image.array.shape != labels.array.shape:
        raise InputError(f"{names}: shapes {labels.array.shape} and {image.array.shape}; expected equal ones")
    distance = corner_distance_mm(image.affine, labels.affine, image.array.shape)
    if not distance <= tolerance_mm:
        raise InputError(f"{names}: the affines lie {distance:.4g} mm apart; expected the same grid")


def corner_distance_mm(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance between the places that two affines give the corners of a volume of ``shape``."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], [1], indexing="ij"), dtype=float).reshape(4, -1)
    return float(np.linalg.norm(((first - second) @ corners)[:3], axis=0).max())
