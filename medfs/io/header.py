"""NIfTI headers checked before anything is allocated: what is stored, where, and how it becomes numbers."""

import math
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from medfs.errors import InputError
from medfs.io.geometry import read_affine
from medfs.io.volume import NiftiHeader

HEADER_BYTES = 540
MAX_VOXELS = 1_500_000_000

_LARGEST_OFFSET = 1 << 26
_LARGEST_DIM = (1 << 31) - 1
_CIFTI_INTENTS = range(3000, 3100)
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COMPLEX = ("complex voxels", "save the magnitude")
_REFUSED_DTYPES = {
    1: ("1-bit voxels", "save as uint8"),
    32: _COMPLEX,
    128: ("RGB colours", "save one channel"),
    1536: ("128-bit floats", "save as float32"),
    1792: _COMPLEX,
    2048: _COMPLEX,
    2304: ("RGBA colours", "save one channel"),
}
_ONE_FILE = {b"n+1": True, b"ni1": False, b"n+2": True, b"ni2": False}
_INTACT_LINE_ENDS = ((13, 10, 26, 10), (0, 0, 0, 0))


@dataclass(frozen=True)
class Layout:
    """How the voxels of one file are stored and where they lie in the patient.

    Attributes:
        shape: ``(X, Y, Z)``; trailing axes of length 1 are gone.
        dtype: as stored, byte order included.
        offset: of the first voxel in the decompressed data file, in bytes.
        slope: ``value = slope * stored + inter``; 1 where the header asks for no scaling.
        inter: see ``slope``; either may be NaN or infinite, which only matters to those who need the values.
        affine: ``(4, 4)`` float64, voxel index -> RAS+ millimetres.
        header: the NIfTI header.
        one_file: False for a ``.hdr``/``.img`` pair.
        warnings: what was peculiar.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    slope: float
    inter: float
    affine: np.ndarray
    header: NiftiHeader
    one_file: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that the voxels take."""
        return math.prod(self.shape) * self.dtype.itemsize


@np.errstate(invalid="ignore", over="ignore")  # damaged floats are refused by value, not by a numpy warning
def parse_header(head: bytes, name: str, *, assume_orientation: bool = False) -> Layout:
    """Check the first bytes of a NIfTI-1 or NIfTI-2 file.

    Args:
        head: at least :data:`HEADER_BYTES` bytes, fewer if the file has fewer.
        name: what the file is called in messages.
        assume_orientation: accept a header with neither qform nor sform; it is then taken as nibabel does, axes
            left-right, posterior-anterior, inferior-superior with the origin in the middle.

    Raises:
        InputError: the header cannot be one of a 3D volume of real numbers with a place in the patient.
    """
    header = _unpack(head, name)
    one_file = _ONE_FILE.get(header["magic"].item())
    if one_file is None:
        raise InputError(f"{name}: no NIfTI magic string; Analyze 7.5 states no orientation, convert it to NIfTI first")
    warnings: list[str] = []
    shape = _shape(header, name)
    dtype = _dtype(header, name, warnings)
    offset = _offset(header, name, one_file)
    slope, inter = _scaling(header, name, warnings)
    affine = read_affine(header, shape, name, warnings, assume_orientation=assume_orientation)
    return Layout(shape, dtype, offset, slope, inter, affine, header, one_file, tuple(warnings))


def first_of_several(head: bytes, name: str) -> tuple[bytes, int]:
    """The header of a file of several volumes as if it held the first one alone, and their number.

    The header of any other file comes back as it is, with 1.

    Raises:
        InputError: it is no NIfTI header, or all volumes together have more than :data:`MAX_VOXELS` voxels.
    """
    header = _unpack(head, name)
    extents = [int(n) for n in header["dim"][1:5]]
    if int(header["dim"][0]) != 4 or extents[3] < 2:
        return head, 1
    check_shape((extents[0], extents[1], extents[2] * extents[3]), name)
    header["dim"][0], header["dim"][4] = 3, 1
    return header.binaryblock + head[len(header.binaryblock) :], extents[3]


def check_shape(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """``shape`` without trailing axes of length 1, if that is 3D, not empty and not beyond :data:`MAX_VOXELS`.

    Raises:
        InputError: it is not.
    """
    if any(n < 0 for n in shape):
        raise InputError(f"{name}: dimensions {shape}; expected positive ones")
    if 0 in shape:
        raise InputError(f"{name}: empty volume of dimensions {shape}; expected at least one voxel")
    if len(shape) < 3:
        raise InputError(f"{name}: {len(shape)}D; needs 3D (a single slice is stored as X x Y x 1)")
    if any(n > 1 for n in shape[3:]):
        axes = max(i + 1 for i, n in enumerate(shape) if n > 1)
        count = math.prod(shape[3:])
        raise InputError(
            f"{name}: {axes}D with {count} volumes of {shape[:3]}; expected 3D: save one of them as a file"
        )
    voxels = math.prod(shape)
    if voxels > MAX_VOXELS:
        raise InputError(f"{name}: {voxels:.3g} voxels exceeds the limit of {MAX_VOXELS:.3g}; crop or resample first")
    x, y, z = shape[:3]
    return x, y, z


def _unpack(head: bytes, name: str) -> NiftiHeader:
    candidates = ((kind, order) for kind in (nib.Nifti1Header, nib.Nifti2Header) for order in "<>")
    for kind, order in candidates:
        length = kind.template_dtype.itemsize
        if np.frombuffer(head[:4].ljust(4, b"\0"), order + "i4")[0] != length:
            continue
        if len(head) < length:
            raise InputError(f"{name}: truncated: {len(head)} bytes; the header alone needs {length}")
        header = kind(head[:length], endianness=order, check=False)
        if "eol_check" in header and tuple(header["eol_check"].tolist()) not in _INTACT_LINE_ENDS:
            raise InputError(f"{name}: line ends were converted by a text-mode transfer; fetch the file again")
        return header
    raise InputError(f"{name}: not a NIfTI file, neither plain nor gzip; expected .nii or .nii.gz content")


def _shape(header: NiftiHeader, name: str) -> tuple[int, int, int]:
    if int(header["intent_code"]) in _CIFTI_INTENTS:
        raise InputError(f"{name}: CIFTI, a matrix over a surface; expected a 3D volume")
    count = int(header["dim"][0])
    if count == 0:
        raise InputError(f"{name}: empty volume: the header states 0 dimensions; expected 3")
    if not 1 <= count <= 7:
        raise InputError(f"{name}: the header states {count} dimensions; expected 3")
    return check_shape(tuple(int(n) for n in header["dim"][1 : count + 1]), name)


def _dtype(header: NiftiHeader, name: str, warnings: list[str]) -> np.dtype:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code in _REFUSED_DTYPES:
        found, remedy = _REFUSED_DTYPES[code]
        raise InputError(f"{name}: {found}; expected one real number per voxel: {remedy}")
    if code not in _DTYPES:
        raise InputError(f"{name}: unknown datatype code {code}; expected one of {', '.join(map(str, _DTYPES))}")
    dtype = np.dtype(header.endianness + _DTYPES[code])
    if bits != 8 * dtype.itemsize:
        warnings.append(f"{name}: bitpix {bits} does not fit datatype {dtype.name}; the datatype is used")
    return dtype


def _offset(header: NiftiHeader, name: str, one_file: bool) -> int:
    value = float(header["vox_offset"])
    least = (len(header.binaryblock) + 4) if one_file else 0
    if not math.isfinite(value) or value != int(value) or not least <= value <= _LARGEST_OFFSET:
        raise InputError(f"{name}: vox_offset {value:g}; expected a whole number of at least {least} bytes")
    return int(value)


def _scaling(header: NiftiHeader, name: str, warnings: list[str]) -> tuple[float, float]:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0:
        if inter != 0:
            warnings.append(f"{name}: scl_slope 0 with scl_inter {inter:g}; the values are used as stored")
        return 1.0, 0.0
    if slope < 0:
        warnings.append(f"{name}: negative scl_slope {slope:g} applied; large stored values become small")
    return slope, inter
