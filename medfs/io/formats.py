"""MGH, MetaImage and NRRD: other containers, brought to the same checked form as NIfTI."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

from medfs.errors import InputError
from medfs.io.geometry import check_affine
from medfs.io.header import Layout, check_shape
from medfs.io.itk_data import locate_voxels
from medfs.io.names import shown, volume_suffix
from medfs.io.stream import file_head, file_payload
from medfs.io.volume import NiftiHeader, fresh_header

MGH_SUFFIXES = (".mgh", ".mgh.gz", ".mgz")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr", ".seg.nrrd")

# Named, so that no other reader of ITK is tried on a file that only claims to be one of these.
_ITK_READERS = {suffix: "NrrdImageIO" if "n" in suffix else "MetaImageIO" for suffix in ITK_SUFFIXES}

_MGH_HEADER_BYTES = 284
_MGH_DTYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ORIENTATION_KEYS = re.compile(rb"(?im)^(space directions:|TransformMatrix *=|Rotation *=|Orientation *=)")


@dataclass(frozen=True, eq=False)
class Stored:
    """A file's voxels as stored, not yet scaled."""

    array: np.ndarray
    scaling: tuple[float, float]
    affine: np.ndarray
    header: NiftiHeader
    warnings: tuple[str, ...]


def stored_voxels(layout: Layout, payload: bytearray, notes: tuple[str, ...]) -> Stored:
    """The bytes of ``payload`` as the array that ``layout`` describes, first axis fastest."""
    array = np.frombuffer(payload, layout.dtype).reshape(layout.shape, order="F")
    return Stored(array, (layout.slope, layout.inter), layout.affine, layout.header, layout.warnings + notes)


def load_mgh(path: Path, assume_orientation: bool) -> Stored:
    """FreeSurfer's ``.mgh`` and ``.mgz``.

    Raises:
        InputError: damaged, not 3D, or without orientation unless ``assume_orientation``.
    """
    name = shown(path)
    head = file_head(path, _MGH_HEADER_BYTES)
    if len(head) < _MGH_HEADER_BYTES:
        raise InputError(f"{name}: truncated: {len(head)} bytes; the header alone needs {_MGH_HEADER_BYTES}")
    header = MGHHeader(head, check=False)
    if int(header["version"]) != 1:
        raise InputError(f"{name}: not an MGH file; expected version 1, got {int(header['version'])}")
    shape = check_shape(tuple(int(n) for n in header["dims"]), name)
    if int(header["type"]) not in _MGH_DTYPES:
        raise InputError(f"{name}: unknown MGH type {int(header['type'])}; expected one of 0, 1, 3, 4, 10")
    dtype = np.dtype(_MGH_DTYPES[int(header["type"])])
    warnings = () if int.from_bytes(head[28:30], "big") else (_orientation_missing(name, assume_orientation),)
    affine = np.asarray(header.get_affine(), dtype=np.float64)
    check_affine(affine, name, "the affine")
    nifti = fresh_header(shape, affine)
    layout = Layout(shape, dtype, _MGH_HEADER_BYTES, 1.0, 0.0, affine, nifti, warnings=warnings)
    return stored_voxels(layout, *file_payload(path, layout.offset, layout.size, footer=True))


def load_itk(path: Path, assume_orientation: bool) -> Stored:
    """MetaImage and NRRD through SimpleITK, LPS turned to RAS.

    Raises:
        InputError: damaged, not 3D, several components per voxel, or without orientation unless
            ``assume_orientation``.
    """
    import SimpleITK as sitk  # noqa: N813

    name = shown(path)
    data = locate_voxels(path)
    warnings: tuple[str, ...] = ()
    if not _ORIENTATION_KEYS.search(data.header):
        warnings += (_orientation_missing(name, assume_orientation),)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(_ITK_READERS[volume_suffix(path).lower()])
    try:
        reader.ReadImageInformation()
        shape, expected = _check_itk(reader, sitk, name)
        warnings += data.verify(expected)
        image = reader.Execute()
    except RuntimeError as error:
        cause = [line for line in str(error).splitlines() if line.strip()][-1]
        raise InputError(f"{name}: cannot be read: {cause}") from error
    array = np.ascontiguousarray(sitk.GetArrayFromImage(image)).T.reshape(shape, order="F")
    size = image.GetDimension()
    lps = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(size, size)[:3, :3]
    lps[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    lps[:3, 3] = image.GetOrigin()[:3]
    affine = _LPS_TO_RAS @ lps
    check_affine(affine, name, "the affine")
    return Stored(array, (1.0, 0.0), affine, fresh_header(shape, affine), warnings)


def _orientation_missing(name: str, assumed: bool) -> str:
    if not assumed:
        raise InputError(
            f"{name}: no orientation in the header; left and right are unknown: read it with assume_orientation"
        )
    return f"{name}: no orientation in the header; the format's default is assumed"


def _check_itk(reader: Any, sitk: Any, name: str) -> tuple[tuple[int, int, int], int]:
    """The shape, and the bytes that the voxels take; ``sitk`` is the imported module."""
    shape = check_shape(tuple(int(n) for n in reader.GetSize()), name)
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if reader.GetNumberOfComponents() != 1 or "vector" in kind or "complex" in kind:
        raise InputError(f"{name}: {kind} voxels; expected one real number per voxel")
    itemsize = sitk.GetArrayFromImage(sitk.Image([1, 1, 1], reader.GetPixelID())).itemsize
    return shape, int(np.prod(shape, dtype=np.int64)) * itemsize
