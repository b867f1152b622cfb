"""The one reader: every image and label of medfs comes through here, checked."""

import os
from pathlib import Path

from medfs.errors import InputError
from medfs.io import voxels
from medfs.io.formats import ITK_SUFFIXES, MGH_SUFFIXES, Stored, load_itk, load_mgh, stored_voxels
from medfs.io.header import HEADER_BYTES, first_of_several, parse_header
from medfs.io.names import shown, volume_suffix
from medfs.io.stream import file_head, file_payload, is_gzip
from medfs.io.volume import Volume

_PAIR = {".hdr": ".img", ".img": ".hdr"}
_OTHER_FORMATS = ((MGH_SUFFIXES, load_mgh), (ITK_SUFFIXES, load_itk))


def read_image(path: str | Path, *, assume_orientation: bool = False, replace_nan: bool = False) -> Volume:
    """Read a 3D image: NIfTI-1/2 (``.nii``, ``.nii.gz``, ``.hdr``/``.img``), MGH, MetaImage or NRRD.

    The content decides whether a file is compressed. Sizes, checksums and the header are verified before voxels are
    interpreted, and the sform is preferred to the qform.

    Args:
        path: the file.
        assume_orientation: accept NIfTI without qform and sform, as left-anterior-superior.
        replace_nan: put the lowest value of the volume where NaN is, instead of refusing.

    Returns:
        ``array`` is ``(X, Y, Z)`` float32 with the header's scaling applied, all finite.

    Raises:
        InputError: the file is damaged, is no 3D volume of real numbers, has no orientation, or holds NaN or infinity.
    """
    path, name = Path(path), shown(path)
    stored = _load(path, assume_orientation)
    array = voxels.intensities(stored.array, stored.scaling, name, replace_nan=replace_nan)
    notes = stored.warnings
    if array.min() == array.max():
        notes += (f"{name}: all voxels are {array.flat[0]:g}",)
    return Volume(array, stored.affine, stored.header, path, notes)


def read_labels(path: str | Path, *, assume_orientation: bool = False) -> Volume:
    """Read a 3D label map from the formats of :func:`read_image`.

    Returns:
        ``array`` is ``(X, Y, Z)`` of an integer type, exact also beyond 2**24. A file of floats is accepted when all of
        them are whole.

    Raises:
        InputError: as :func:`read_image`, or a voxel is no whole number; the message names the value and the count.
    """
    path, name = Path(path), shown(path)
    stored = _load(path, assume_orientation)
    warnings = list(stored.warnings)
    array = voxels.labels(stored.array, stored.scaling, name, warnings)
    return Volume(array, stored.affine, stored.header, path, tuple(warnings))


def read_frames(path: str | Path) -> list[Volume]:
    """Read every volume of a 4D NIfTI image, such as the sequences of an MR examination; a 3D one gives one.

    Returns:
        Volumes on one grid, each as :func:`read_image` gives them, with headers of 3D files.

    Raises:
        InputError: as :func:`read_image`, or the format is another one.
    """
    path, name = Path(path), shown(path)
    header_path, data_path = _pair(path)
    head, count = first_of_several(file_head(header_path, HEADER_BYTES), name)
    layout = parse_header(head, name)
    payload, notes = file_payload(path if layout.one_file else data_path, layout.offset, layout.size * count)
    volumes = []
    for frame in range(count):
        stored = stored_voxels(layout, payload[frame * layout.size : (frame + 1) * layout.size], notes)
        array = voxels.intensities(stored.array, stored.scaling, f"{name} volume {frame + 1}")
        volumes.append(Volume(array, stored.affine, stored.header, path, stored.warnings))
    return volumes


def _load(path: Path, assume_orientation: bool) -> Stored:
    suffix = volume_suffix(path).lower()
    loader = next((loader for suffixes, loader in _OTHER_FORMATS if suffix in suffixes), _load_nifti)
    try:
        return loader(path, assume_orientation)
    except MemoryError as error:
        raise InputError(f"{shown(path)}: does not fit into memory; crop or resample it first") from error


def _load_nifti(path: Path, assume_orientation: bool) -> Stored:
    name = shown(path)
    header_path, data_path = _pair(path)
    layout = parse_header(file_head(header_path, HEADER_BYTES), name, assume_orientation=assume_orientation)
    if layout.one_file:
        data_path = header_path = path
    elif data_path == header_path:
        raise InputError(f"{name}: the header of a pair under a single file's name; expected .hdr and .img")
    payload, notes = file_payload(data_path, layout.offset, layout.size)
    return stored_voxels(layout, payload, notes + _note_misnamed(data_path))


def _pair(path: Path) -> tuple[Path, Path]:
    """Header and data file; the same path twice unless the name says ``.hdr`` or ``.img``."""
    suffix = volume_suffix(path)
    plain = suffix.lower().removesuffix(".gz")
    if plain not in _PAIR:
        return path, path
    bare = str(path)[: len(str(path)) - len(suffix)]
    other = _PAIR[plain].upper() if suffix.isupper() else _PAIR[plain]
    partner = next((Path(bare + other + end) for end in ("", ".gz") if os.path.exists(bare + other + end)), None)
    if partner is None:
        raise InputError(f"{shown(path)}: {os.path.basename(bare)}{other} is missing beside it; a pair needs both")
    return (path, partner) if plain == ".hdr" else (partner, path)


def _note_misnamed(path: Path) -> tuple[str, ...]:
    compressed = is_gzip(path)
    if compressed == path.name.lower().endswith("gz"):
        return ()
    content = "gzip" if compressed else "uncompressed"
    return (f"{shown(path)}: the content is {content}, unlike the name; read by content",)
