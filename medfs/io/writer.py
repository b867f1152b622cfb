"""The one writer: the geometry of the source, byte for byte, under a name that only complete files carry."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from medfs.errors import InputError, StorageError, UsageError
from medfs.io.atomic import atomic_path
from medfs.io.names import shown
from medfs.io.stream import file_head, file_payload
from medfs.io.volume import NiftiHeader, Volume
from medfs.io.voxels import smallest_integer_dtype

_QUATERNION = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_GEOMETRY = ("qform_code", *_QUATERNION, "sform_code", "srow_x", "srow_y", "srow_z", "xyzt_units")
_NO_EXTENSIONS = bytes(4)
_COMPRESSION = 6


def write_labels(path: str | Path, array: np.ndarray, like: Volume) -> None:
    """Write a label map on the grid of ``like``, as ``.nii.gz`` or ``.nii``.

    The dimensions, pixdim, qform, sform and units are those of the source's header, byte for byte in little-endian
    order; a 4D source of one volume gives a 3D file. The smallest integer type is used, without scaling. What was
    written is read again and compared before it gets its name. Equal inputs give equal bytes.

    Args:
        path: the file; its folder must exist.
        array: ``(X, Y, Z)``, integer or boolean.
        like: the volume whose grid this is.

    Raises:
        UsageError: the shape is another one, the type is not integer, or the suffix is neither of the two.
        StorageError: the file cannot be written, or is a symbolic link.
    """
    array = np.asarray(array)
    if array.dtype.kind not in "biu":
        raise UsageError(f"{shown(path)}: labels of type {array.dtype}; expected integers")
    _write(Path(path), array.astype(smallest_integer_dtype(array), copy=False), like)


def write_image(path: str | Path, array: np.ndarray, like: Volume) -> None:
    """Write intensities or probabilities on the grid of ``like``: floats as float32, integers as :func:`write_labels`.

    Raises:
        UsageError: as :func:`write_labels`, or a value is not finite in float32.
        StorageError: as :func:`write_labels`.
    """
    array = np.asarray(array)
    if array.dtype.kind != "f":
        return write_labels(path, array, like)
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise UsageError(
            f"{shown(path)}: {int((~np.isfinite(array)).sum())} voxels are not finite; expected all finite"
        )
    return _write(Path(path), array, like)


def _write(path: Path, array: np.ndarray, like: Volume) -> None:
    if array.shape != like.array.shape:
        raise UsageError(f"{shown(path)}: shape {array.shape} on the grid of {shown(like.path)}, {like.array.shape}")
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        raise UsageError(f"{shown(path)}: expected a name that ends in .nii.gz or .nii")
    header = _header(like.header, array)
    content = header.binaryblock + _NO_EXTENSIONS
    voxels = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(order="F")
    write_verified(path, content, voxels)


def write_verified(path: Path, content: bytes, voxels: bytes | bytearray) -> None:
    """Write ``content``, the header and what lies between, and the voxels; compressed where the name ends in ``.gz``.

    What was written is read again and compared before it gets its name.

    Raises:
        StorageError: it cannot be written, reads back differently, or the name is a symbolic link.
    """
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as file:
            if path.name.lower().endswith(".gz"):
                with gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as compressed:
                    compressed.write(content)
                    compressed.write(voxels)
            else:
                file.write(content)
                file.write(voxels)
        _verify(temporary, path, content, voxels)


def _header(source: NiftiHeader, array: np.ndarray) -> NiftiHeader:
    source = source.as_byteswapped("<")
    header = type(source)(endianness="<")
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header["pixdim"][:4] = source["pixdim"][:4]
    for field in _GEOMETRY:
        header[field] = source[field]
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = len(header.binaryblock) + len(_NO_EXTENSIONS)
    header["magic"] = b"n+2" if isinstance(header, nib.Nifti2Header) else b"n+1"
    return header


def _verify(temporary: Path, path: Path, content: bytes, voxels: bytes | bytearray) -> None:
    try:
        head = file_head(temporary, len(content))
        payload, _ = file_payload(temporary, len(content), len(voxels))
    except InputError as error:
        raise StorageError(f"{path}: does not read back ({error}); check the storage") from error
    if head != content or payload != voxels:
        raise StorageError(f"{path}: reads back other than it was written; check the storage")
