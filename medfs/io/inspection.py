"""What is wrong with the files of a folder and with the pairs of images and labels in it, before anything trains."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from medfs.errors import InputError, MedfsError, root_cause
from medfs.io.dicom import read_dicom_series
from medfs.io.hashes import unordered_digest, voxel_digest
from medfs.io.names import shown, volume_suffix
from medfs.io.nifti import read_image, read_labels
from medfs.io.scan_folders import Target
from medfs.io.volume import Volume, require_same_grid

Level = Literal["fault", "note"]

# What the reader survives, and yet is wrong: programs disagree about the place, or there is nothing to see.
_FAULTY = ("qform and sform place the volume", "all voxels are ")
# What mending a file changes: none of these says anything about what the voxels or their places should be.
_REPAIRABLE = (
    "unlike the name; read by content",
    "bytes after the voxels ignored",
    "bytes after the gzip stream ignored",
    "does not fit datatype",
    "the qform is invalid",
    "ignored; the stored integers are used",
)
_NIFTI = (".nii", ".nii.gz")
_FEW_VALUES = 1 << 16


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about one file.

    Attributes:
        level: a ``fault`` stops medfs from using the file or the pair, or makes programs disagree about it; a ``note``
            is peculiar and survived.
        text: one line, without the name of the file.
        repairable: :mod:`medfs.io.mending` can put it right without guessing.
    """

    level: Level
    text: str
    repairable: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """A file, or a DICOM folder, and all that was found about it.

    Attributes:
        path: what was read.
        role: what it was read as: ``image``, ``labels``, ``supervoxels`` or ``dicom``.
        findings: empty where nothing is wrong.
        shape: ``(X, Y, Z)``; empty where it could not be read.
        spacing_mm: as ``shape``.
        values: voxels by label value; empty for images.
        image: the image of a label map.
    """

    path: Path
    role: str
    findings: tuple[Finding, ...]
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    values: Mapping[int, int] = field(default_factory=dict)
    image: Path | None = None

    @property
    def faults(self) -> int:
        """How many findings are faults."""
        return sum(finding.level == "fault" for finding in self.findings)


def inspect(targets: Iterable[Target], known_values: Sequence[int] = ()) -> Iterator[Checked]:
    """Read every file of ``targets`` once and say what is wrong with it, one file at a time.

    Whatever is wrong with a file, the others are read. Images are compared by their voxels: a scan that comes twice,
    also flipped or turned, would sit on both sides of a split.

    Args:
        targets: what :func:`medfs.io.scan_folders.find_targets` found.
        known_values: the label values that may occur, the background included; all from 0 on where none are given.
    """
    seen: dict[tuple, Path] = {}
    for target in targets:
        image = None
        if target.image is not None:
            image, checked = _image(target.image, target.faults, seen, dicom=target.dicom)
            yield checked
        if target.labels is not None:
            faults = target.faults if target.image is None else ()
            known = () if target.supervoxels else known_values
            checked = _labels(target.labels, faults, image, known, seen)
            yield replace(checked, image=target.image, role="supervoxels" if target.supervoxels else "labels")


def _image(
    path: Path, faults: tuple[str, ...], seen: dict[tuple, Path], *, dicom: bool
) -> tuple[Volume | None, Checked]:
    role = "dicom" if dicom else "image"
    findings = [Finding("fault", text) for text in faults]
    try:
        volume = read_dicom_series(path) if dicom else read_image(path)
        findings += _of_warnings(volume)
        if volume.array.min() != volume.array.max():
            findings += _repetition(volume.array, path, seen)
    except Exception as error:  # whatever it is, the other files are read
        return None, Checked(path, role, (*findings, Finding("fault", _cause(error, path))))
    return volume, Checked(path, role, tuple(findings), volume.array.shape, volume.spacing_mm)


def _labels(
    path: Path,
    faults: tuple[str, ...],
    image: Volume | None,
    known_values: Sequence[int],
    seen: dict[tuple, Path],
) -> Checked:
    findings = [Finding("fault", text) for text in faults]
    try:
        volume = read_labels(path)
        values = _counts(volume.array)
        findings += _of_warnings(volume) + _stored_type(volume) + _of_values(values, known_values)
        if set(values) != {0}:
            findings += _repeated_labels(volume.array, path, seen)
        if image is not None:
            findings += _of_pair(image, volume)
    except Exception as error:  # whatever it is, the other files are read
        return Checked(path, "labels", (*findings, Finding("fault", _cause(error, path))))
    return Checked(path, "labels", tuple(findings), volume.array.shape, volume.spacing_mm, values)


def _cause(error: Exception, path: Path) -> str:
    text = str(error) if isinstance(error, MedfsError) else f"could not be read: {root_cause(error)}"
    return _without_name(text, path)


def _without_name(text: str, path: Path) -> str:
    return text.removeprefix(f"{shown(path)}: ")


def _of_warnings(volume: Volume) -> list[Finding]:
    texts = [_without_name(text, volume.path) for text in volume.warnings]
    repairable: tuple[str, ...] = _REPAIRABLE if volume_suffix(volume.path).lower() in _NIFTI else ()
    if not (volume.header["pixdim"][1:4] > 0).all():  # also where one is NaN
        repairable += ("pixdim states a spacing",)
    return [
        Finding("fault", text)
        if any(part in text for part in _FAULTY)
        else Finding("note", text, any(part in text for part in repairable))
        for text in texts
    ]


def _stored_type(labels: Volume) -> list[Finding]:
    """Label maps are integers; floats that are all whole and scaled integers become so without a guess."""
    if volume_suffix(labels.path).lower() not in _NIFTI:
        return []
    header = labels.header
    stored = header.get_data_dtype()
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if stored.kind == "f":
        return [Finding("note", f"label values are stored as {stored.name}; expected integers", repairable=True)]
    if np.isfinite([slope, inter]).all() and slope and (slope, inter) != (1.0, 0.0):
        return [
            Finding("note", f"label values are scaled by {slope:g} and {inter:g}; expected as stored", repairable=True)
        ]
    return []


def _of_values(values: Mapping[int, int], known: Sequence[int]) -> list[Finding]:
    wrong = {value: count for value, count in values.items() if (value not in known if known else value < 0)}
    findings = []
    if wrong:
        listed = ", ".join(f"{value} ({count} voxels)" for value, count in list(wrong.items())[:5])
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        expected = f"0 to {max(known)}" if known else "0 and above"
        findings.append(Finding("fault", f"label values {listed}{more}; expected {expected}"))
    if set(values) == {0}:
        findings.append(Finding("note", "no voxel is labelled"))
    return findings


def _of_pair(image: Volume, labels: Volume) -> list[Finding]:
    try:
        require_same_grid(image, labels)
    except InputError as error:
        return [Finding("fault", str(error).partition(": ")[2] + f" (image {shown(image.path)})")]
    return []


def _counts(array: np.ndarray) -> dict[int, int]:
    """Voxels by value; slice by slice, as ``bincount`` takes 8 bytes a voxel."""
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= _FEW_VALUES:
        values, counts = np.unique(array, return_counts=True)
        return {int(value): int(count) for value, count in zip(values, counts, strict=True)}
    total = np.zeros(high + 1, np.int64)
    for z in range(array.shape[2]):
        total += np.bincount(array[..., z].ravel(), minlength=high + 1)
    return {int(value): int(total[value]) for value in np.flatnonzero(total)}


def _repetition(array: np.ndarray, path: Path, seen: dict[tuple, Path]) -> list[Finding]:
    exact = ("image", array.shape, voxel_digest(array))
    turned = ("turned", tuple(sorted(array.shape)), unordered_digest(array))
    same, alike = seen.get(exact), seen.get(turned)
    seen.setdefault(exact, path)
    seen.setdefault(turned, path)
    if same:
        return [Finding("fault", f"the same voxels as {_beside(same, path)}; expected each scan once")]
    if alike:
        return [Finding("fault", f"the voxels of {_beside(alike, path)}, flipped or turned; expected each scan once")]
    return []


def _repeated_labels(array: np.ndarray, path: Path, seen: dict[tuple, Path]) -> list[Finding]:
    """A note only: two sequences of one examination may share a label map."""
    first = seen.setdefault(("labels", array.shape, voxel_digest(array)), path)
    return [] if first is path else [Finding("note", f"the same labels as {_beside(first, path)}")]


def _beside(other: Path, path: Path) -> str:
    """What ``other`` is called in a line about ``path``: with its folder where that is another one."""
    folder = "" if other.parent == path.parent else f"{shown(other.parent)}/"
    return folder + shown(other)
