"""Copies of a folder's scans in which all that has one right answer is put right; nothing else is touched."""

import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from medfs.errors import InputError, UsageError
from medfs.io.atomic import atomic_path, make_folder
from medfs.io.geometry import has_shear, qform_fault
from medfs.io.header import HEADER_BYTES, parse_header
from medfs.io.inspection import Checked
from medfs.io.names import shown, volume_suffix
from medfs.io.nifti import read_image, read_labels
from medfs.io.stream import file_head, file_payload
from medfs.io.volume import NiftiHeader
from medfs.io.writer import write_labels, write_verified

Action = Literal["copied", "repaired", "left out"]

_NIFTI = (".nii", ".nii.gz")
_SEVERAL_FILES = (".hdr", ".hdr.gz", ".img", ".img.gz", ".mhd", ".nhdr")


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of one file.

    Attributes:
        path: the file it was.
        action: it was ``copied`` byte for byte, ``repaired`` or ``left out``.
        reason: why it was left out.
    """

    path: Path
    action: Action
    reason: str = ""


def require_apart(source: Path, output: Path) -> None:
    """Return if neither folder lies in the other.

    Raises:
        UsageError: they overlap; a repair is never made in place.
    """
    first, second = source.resolve(), output.resolve()
    if not source.is_dir():
        raise UsageError(f"{source}: repairs are made of a folder as a whole; name one")
    if first == second or first in second.parents or second in first.parents:
        raise UsageError(f"{output}: overlaps with {source}; choose a folder apart, repairs are never made in place")


def mend(source: Path, output: Path, files: Iterable[Checked]) -> Iterator[Mended]:
    """Copy what is sound, repair what can be repaired without guessing, and say what is left out.

    Repaired are: label maps of whole floats and scaled label maps, which become integers; ``bitpix``, a ``pixdim`` that
    is no spacing, and a quaternion that is no rotation, where an sform states the geometry; files compressed unlike
    their name; bytes after the voxels. Image voxels keep their type and bits. A file with a fault is left out, and a
    label map whose image is left out, too; of a scan that comes twice the first is kept.

    Args:
        source: the folder that was inspected.
        output: made if missing; files keep their path below ``source``.
        files: what :func:`medfs.io.inspection.inspect` said.

    Raises:
        UsageError: the folders overlap.
        StorageError: ``output`` cannot be written.
    """
    require_apart(source, output)
    left_out: set[Path] = set()
    for checked in files:
        reason = "its image is left out" if checked.image in left_out else _obstacle(checked)
        if reason:
            left_out.add(checked.path)
            yield Mended(checked.path, "left out", reason)
            continue
        target = output.absolute() / checked.path.absolute().relative_to(source.absolute())
        make_folder(target.parent)
        repairable = any(finding.repairable for finding in checked.findings)
        try:
            (_repair if repairable else _copy)(checked, target)
        except InputError as error:
            left_out.add(checked.path)
            yield Mended(checked.path, "left out", str(error))
        else:
            yield Mended(checked.path, "repaired" if repairable else "copied")


def mended_header(header: NiftiHeader) -> NiftiHeader:
    """``header`` with what contradicts itself replaced by what its datatype and its sform say.

    The sform, the codes of valid forms, units and dimensions stay byte for byte.
    """
    header = header.copy()
    header["bitpix"] = 8 * header.get_data_dtype().itemsize
    if int(header["sform_code"]) <= 0:
        return header
    has_fault = int(header["qform_code"]) > 0 and bool(qform_fault(header))
    sform = header.get_sform()
    spacing = np.linalg.norm(sform[:3, :3], axis=0)
    for axis, size in enumerate(header["pixdim"][1:4], start=1):
        if not (math.isfinite(size) and size > 0):
            header["pixdim"][axis] = spacing[axis - 1]
    if has_fault:
        if has_shear(sform):  # which a quaternion cannot state
            header["qform_code"] = 0
        else:
            header.set_qform(sform, int(header["qform_code"]))
    return header


def _obstacle(checked: Checked) -> str:
    fault = next((finding.text for finding in checked.findings if finding.level == "fault"), "")
    if fault:
        return fault
    if checked.role == "dicom":
        return "a DICOM series; copy its folder"
    if volume_suffix(checked.path).lower() in _SEVERAL_FILES:
        return "a header with its data in another file; copy both"
    return ""


def _copy(checked: Checked, target: Path) -> None:
    with atomic_path(target) as temporary:
        try:
            source = open(checked.path, "rb")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"{shown(checked.path)}: cannot be read: {error.strerror or error}") from error
        with source, open(temporary, "wb") as file:
            shutil.copyfileobj(source, file)


def _repair(checked: Checked, target: Path) -> None:
    if checked.role in ("labels", "supervoxels"):
        volume = read_labels(checked.path)
        write_labels(target, volume.array, like=replace(volume, header=mended_header(volume.header)))
        return
    read_image(checked.path)  # the file may have changed since it was inspected
    layout = parse_header(file_head(checked.path, HEADER_BYTES), shown(checked.path))
    payload, _ = file_payload(checked.path, layout.offset, layout.size)
    header = mended_header(layout.header)
    between = file_head(checked.path, layout.offset)[len(header.binaryblock) :]
    write_verified(target, header.binaryblock + between, payload)
