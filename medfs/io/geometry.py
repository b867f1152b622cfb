"""Where a NIfTI header puts the voxels: qform, sform, their conflicts, spacing and units."""

import math

import numpy as np
from nibabel.quaternions import fillpositive, quat2mat

from medfs.errors import InputError
from medfs.io.volume import NiftiHeader, corner_distance_mm

_AXES = "xyz"
_SPATIAL_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI code -> millimetres; 0 is "unknown"
_UNIT_NAMES = {1: "metres", 3: "micrometres"}
_PLAUSIBLE_MM = (1e-4, 500.0)
_TOLERANCE = 1e-3
_QUATERNION_FLOAT32 = -3 * np.finfo(np.float32).eps


def read_affine(
    header: NiftiHeader,
    shape: tuple[int, int, int],
    name: str,
    warnings: list[str],
    *,
    assume_orientation: bool = False,
) -> np.ndarray:
    """Voxel index -> RAS+ millimetres as ``header`` states it; peculiarities are appended to ``warnings``.

    The sform is used where its code is not 0, else the qform.

    Returns:
        ``(4, 4)`` float64, invertible, with a plausible spacing.

    Raises:
        InputError: no orientation, one that is not finite or not invertible, or an implausible spacing.
    """
    if int(header["sform_code"]) > 0:
        affine = _sform(header)
        check_affine(affine, name, "the sform", spacing=False)
        _compare_with_qform(header, affine, shape, name, warnings)
    elif int(header["qform_code"]) > 0:
        affine = _required_qform(header, name)
    elif assume_orientation:
        _require_pixdim(header, name)
        affine = np.array(header.get_base_affine(), dtype=np.float64)
        warnings.append(f"{name}: no orientation (qform and sform codes 0); assumed left, anterior, superior")
    else:
        raise InputError(
            f"{name}: no orientation (qform and sform codes 0); left and right are unknown: set the sform, "
            "or read it with assume_orientation"
        )
    affine[:3] *= _millimetres(header, name, warnings)
    check_affine(affine, name, "the affine")
    note_shear(affine, name, warnings)
    return affine


def check_affine(affine: np.ndarray, name: str, what: str, *, spacing: bool = True) -> None:
    """Return if ``affine`` is finite, invertible and, unless told otherwise, plausible in its spacing.

    Raises:
        InputError: it is not; ``what`` names the matrix in the message.
    """
    if not np.isfinite(affine).all():
        raise InputError(f"{name}: {what} holds NaN or infinity; expected a finite matrix")
    norms = np.linalg.norm(affine[:3, :3], axis=0)
    if not norms.all() or abs(np.linalg.det(affine[:3, :3] / norms)) < 1e-6:
        raise InputError(f"{name}: {what} is singular; expected three independent axes")
    if not spacing:
        return
    for axis, norm in zip(_AXES, norms, strict=True):
        if not _PLAUSIBLE_MM[0] <= norm <= _PLAUSIBLE_MM[1]:
            low, high = _PLAUSIBLE_MM
            raise InputError(f"{name}: implausible spacing {norm:.4g} mm along {axis}; expected {low:g} to {high:g}")


def _sform(header: NiftiHeader) -> np.ndarray:
    rows = [np.asarray(header[f"srow_{axis}"], dtype=np.float64) for axis in _AXES]
    return np.vstack([*rows, [0.0, 0.0, 0.0, 1.0]])


def _qform(header: NiftiHeader) -> np.ndarray:
    """The qform; ValueError where the quaternion or pixdim does not describe one."""
    imaginary = np.array([header[f"quatern_{letter}"] for letter in "bcd"], dtype=np.float64)
    offset = [float(header[f"qoffset_{axis}"]) for axis in _AXES]
    if not (np.isfinite(imaginary).all() and np.isfinite(offset).all()):
        raise ValueError("the quaternion or its offset is not finite")
    pixdim = np.asarray(header["pixdim"], dtype=np.float64)
    for axis, size in zip(_AXES, pixdim[1:4], strict=True):
        if not (math.isfinite(size) and size > 0):
            raise ValueError(f"spacing {size:g} mm along {axis}; expected > 0")
    rotation = quat2mat(fillpositive(imaginary, w2_thresh=_QUATERNION_FLOAT32))
    scale = pixdim[1:4] * [1, 1, -1 if pixdim[0] < 0 else 1]
    affine = np.eye(4)
    affine[:3, :3] = rotation * scale
    affine[:3, 3] = offset
    return affine


def qform_fault(header: NiftiHeader) -> str:
    """Why quaternion, offset and pixdim describe no qform; empty where they do."""
    try:
        _qform(header)
    except ValueError as error:
        return str(error)
    return ""


def _required_qform(header: NiftiHeader, name: str) -> np.ndarray:
    try:
        return _qform(header)
    except ValueError as error:
        raise InputError(f"{name}: the qform is invalid and there is no sform: {error}") from error


def _require_pixdim(header: NiftiHeader, name: str) -> None:
    for axis, size in zip(_AXES, header["pixdim"][1:4], strict=True):
        if not (math.isfinite(size) and size > 0):
            raise InputError(f"{name}: spacing {size:g} mm along {axis}; expected > 0")


def _compare_with_qform(
    header: NiftiHeader, sform: np.ndarray, shape: tuple[int, int, int], name: str, warnings: list[str]
) -> None:
    spacing = np.linalg.norm(sform[:3, :3], axis=0)
    pixdim = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not np.allclose(pixdim, spacing, rtol=_TOLERANCE, atol=0):
        stated, used = (" x ".join(f"{v:.4g}" for v in values) for values in (pixdim, spacing))
        warnings.append(f"{name}: pixdim states a spacing of {stated}; the sform is used: {used}")
    if int(header["qform_code"]) <= 0:
        return
    fault = qform_fault(header)
    if fault:
        warnings.append(f"{name}: the qform is invalid ({fault}); the sform is used")
        return
    qform = _qform(header)
    if np.abs(qform - sform).max() <= _TOLERANCE * max(1.0, spacing.max()):
        return
    mirrored = " and mirror it" if np.linalg.det(qform) * np.linalg.det(sform) < 0 else ""
    distance = corner_distance_mm(qform, sform, shape)
    warnings.append(
        f"{name}: qform and sform place the volume up to {distance:.3g} mm apart{mirrored}; the sform is used"
    )


def _millimetres(header: NiftiHeader, name: str, warnings: list[str]) -> float:
    code = int(header["xyzt_units"]) & 7
    if code not in _SPATIAL_UNITS:
        warnings.append(f"{name}: unknown spatial unit code {code}; millimetres assumed")
        return 1.0
    if code in _UNIT_NAMES:
        warnings.append(f"{name}: the header is in {_UNIT_NAMES[code]}; converted to millimetres")
    return _SPATIAL_UNITS[code]


def note_shear(affine: np.ndarray, name: str, warnings: list[str]) -> None:
    """Append a warning where the axes are not perpendicular."""
    if has_shear(affine):
        degrees = math.degrees(math.asin(min(_largest_cosine(affine), 1.0)))
        warnings.append(f"{name}: the axes are sheared by {degrees:.2g} degrees (gantry tilt?); the geometry is kept")


def has_shear(affine: np.ndarray) -> bool:
    """Whether two axes are further from perpendicular than rounding explains."""
    return _largest_cosine(affine) > _TOLERANCE


def _largest_cosine(affine: np.ndarray) -> float:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max())
