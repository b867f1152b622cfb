"""A DICOM series as a volume: ordered by where its slices lie, never by what its files are called."""

import mmap
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from medfs.errors import InputError, UsageError
from medfs.io.confined import confined
from medfs.io.dicom_slices import Slice, differences, is_dicom, read_header, read_voxels, slice_of
from medfs.io.geometry import check_affine, note_shear
from medfs.io.header import check_shape
from medfs.io.names import shown
from medfs.io.volume import Volume, fresh_header
from medfs.io.voxels import intensities

DICOM_SUFFIXES = (".dcm", ".ima", ".dic", ".dicom")
_MEMORY_BYTES = 1 << 30  # for a slice at a time: stored, decompressed, as numbers
_SECONDS, _SECONDS_PER_FILE = 60.0, 1.0
_INDEX_FILE = "DICOMDIR"
_EQUAL_MM = 1e-2  # slices this close are at one place
_EQUAL_DIRECTION = 1e-3
_NOTED_DEVIATION = 0.01  # of the distance between neighbours
_LARGEST_DEVIATION = 0.1
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """One series, its headers checked, its voxels not read yet.

    Attributes:
        slices: ascending along the slice normal (columns x rows); slice ``k`` becomes ``array[:, :, k]``.
        affine: ``(4, 4)``, voxel index -> RAS+ millimetres; the third axis is the mean step from slice to slice, so a
            tilted gantry is a shear in it.
        path: the folder.
        warnings: one line for each peculiarity that was met and survived.
    """

    slices: tuple[Slice, ...]
    affine: np.ndarray
    path: Path
    warnings: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The file of each slice, in their order."""
        return tuple(item.path for item in self.slices)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices: the axes of the volume."""
        return (*self.slices[0].shape, len(self.slices))

    def read(self) -> Volume:
        """Decode the voxels.

        Returns:
            ``array`` is ``(columns, rows, slices)`` float32 with the rescaling of each slice applied.

        Raises:
            InputError: voxels are missing, damaged, not finite or compressed without a decoder; the file is named.
        """
        try:
            shared = mmap.mmap(-1, 4 * prod(self.shape))
        except (MemoryError, OSError) as error:
            raise InputError(f"{shown(self.path)}: {self.shape} voxels do not fit into memory") from error
        array: np.ndarray = np.ndarray(self.shape, np.float32, shared, order="F")

        def fill() -> None:
            for k, item in enumerate(self.slices):
                array[..., k] = intensities(read_voxels(item)[..., None], (1.0, 0.0), shown(item.path))[..., 0]

        _apart(fill, self.path, len(self.slices))
        return Volume(array, self.affine, fresh_header(self.shape, self.affine), self.path, self.warnings)


def read_dicom_series(source: str | Path | Iterable[Path], *, series_uid: str | None = None) -> Volume:
    """Read one series of single-frame slices.

    Slices are ordered by their position along the slice normal and their distance is measured between positions;
    file names, InstanceNumber and SliceThickness play no part. As ITK's reader does, the third axis points along
    columns x rows.

    Args:
        source: a folder (the files directly inside), or files.
        series_uid: SeriesInstanceUID, needed where there are several.

    Returns:
        ``array`` is ``(columns, rows, slices)`` float32, rescaled; ``affine`` is in RAS+ millimetres.

    Raises:
        InputError: no image series or several; slices missing, doubled, uneven, of different shapes or orientations,
            without position; several frames in a file, colours, or a compression that cannot be undone here.
        UsageError: ``series_uid`` is not among the files.
    """
    return dicom_series(source, series_uid=series_uid).read()


def dicom_series(source: str | Path | Iterable[Path], *, series_uid: str | None = None) -> DicomSeries:
    """Find one series and check where its slices lie, as :func:`read_dicom_series` does, without reading voxels.

    Headers and voxels are parsed in child processes with limits on memory and time, see :mod:`medfs.io.confined`.

    Raises:
        InputError: as :func:`read_dicom_series`, apart from what concerns the voxels.
        UsageError: ``series_uid`` is not among the files.
    """
    paths, folder, notes = _candidates(source)

    def parse() -> dict[str, Any]:
        series = _parsed_series(paths, folder, notes, series_uid)
        slices = [item.plain() for item in series.slices]
        return {"slices": slices, "affine": series.affine.tolist(), "warnings": list(series.warnings)}

    found = _apart(parse, folder, len(paths))
    slices = tuple(Slice.of_plain(item) for item in found["slices"])
    return DicomSeries(slices, np.array(found["affine"]), folder, tuple(found["warnings"]))


def _apart(work: Callable[[], Any], path: Path, files: int) -> Any:
    """Do the work in a child process with the limits for so many files."""
    import pydicom.pixels  # noqa: F401 - here once, and not in every child

    seconds = _SECONDS + _SECONDS_PER_FILE * files
    return confined(work, shown(path), memory_bytes=_MEMORY_BYTES, seconds=seconds)


def _parsed_series(paths: list[Path], folder: Path, notes: list[str], series_uid: str | None) -> DicomSeries:
    found = _by_series(paths, notes)
    name = shown(folder)
    if not found:
        detail = f" ({notes[0]})" if notes else ""
        raise InputError(f"{name}: no DICOM image inside{detail}; expected the slices of one series")
    if series_uid is not None:
        if series_uid not in found:
            raise UsageError(f"{name}: no series {series_uid}; found {_listed(found)}")
        found = {series_uid: found[series_uid]}
    if len(found) > 1:
        raise InputError(f"{name}: {len(found)} series mixed; choose one by its UID: {_listed(found)}")
    slices = [slice_of(header, path) for path, header in next(iter(found.values()))]
    _require_one_geometry(slices)
    return _ordered(slices, folder, notes)


def _candidates(source: str | Path | Iterable[Path]) -> tuple[list[Path], Path, list[str]]:
    """Files to open, the folder they are in, and a note for each file of a folder that is no DICOM."""
    if not isinstance(source, str | Path):
        paths = [Path(path) for path in source]
        return paths, paths[0].parent if paths else Path(), []
    folder = Path(source)
    if folder.is_file():
        return [folder], folder, []
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{shown(folder)}: cannot be read: {error.strerror or error}") from error
    paths, notes = [], []
    for path in inside:
        named = path.suffix.lower() in DICOM_SUFFIXES
        if not named and path.stat().st_size == 0:
            notes.append(f"{shown(path)}: empty file; ignored")
        elif named or is_dicom(path):
            paths += [path] if path.name.upper() != _INDEX_FILE else []
        else:
            notes.append(f"{shown(path)}: no DICOM file; ignored")
    return paths, folder, notes


def _by_series(paths: list[Path], notes: list[str]) -> dict[str, list]:
    """Path and header of the images of each series; objects that hold no image are noted."""
    found = defaultdict(list)
    for path in paths:
        header = read_header(path)
        if "Rows" in header:
            found[str(header.get("SeriesInstanceUID", "") or "")].append((path, header))
        else:
            notes.append(f"{shown(path)}: holds no image; ignored")
    return dict(found)


def _listed(found: dict[str, list]) -> str:
    return ", ".join(f"{uid or 'no UID'} ({len(items)} files)" for uid, items in sorted(found.items()))


def _require_one_geometry(slices: list[Slice]) -> None:
    first = slices[0]
    for other in slices[1:]:
        names = f"{shown(first.path)} and {shown(other.path)}"
        if other.shape != first.shape:
            raise InputError(f"{names}: {first.shape} and {other.shape} pixels in one series; expected equal ones")
        if not np.allclose(other.spacing, first.spacing, rtol=_EQUAL_DIRECTION, atol=0):
            raise InputError(f"{names}: pixel spacings {first.spacing} and {other.spacing} mm; expected equal ones")
        if np.abs(other.axes - first.axes).max() > _EQUAL_DIRECTION:
            raise InputError(f"{names}: different orientations in one series (a localiser?); expected parallel slices")
        if other.frame != first.frame:
            raise InputError(f"{names}: different frames of reference in one series; their places cannot be compared")


def _ordered(slices: list[Slice], folder: Path, notes: list[str]) -> DicomSeries:
    """Sort the slices, check their distances and place the volume."""
    name = shown(folder)
    first = slices[0]
    check_shape((*first.shape, len(slices)), name)
    normal = np.cross(*first.axes.T)
    slices = sorted(slices, key=lambda item: float(item.position @ normal))
    positions = np.array([item.position for item in slices])
    notes = notes + [note for item in slices for note in item.notes][:1]
    if len(slices) == 1:
        if not first.thickness > 0:
            notes.append(f"{name}: a single slice without thickness; 1 mm assumed")
        step = normal * (first.thickness if first.thickness > 0 else 1.0)
    else:
        _require_even_steps(slices, positions @ normal, name)
        step = (positions[-1] - positions[0]) / (len(slices) - 1)
        _check_line(slices, positions, step, name, notes)
    lps = np.eye(4)
    lps[:3, :2] = first.axes * first.spacing
    lps[:3, 2] = step
    lps[:3, 3] = positions[0]
    affine = _LPS_TO_RAS @ lps
    check_affine(affine, name, "the affine")
    note_shear(affine, name, notes)
    return DicomSeries(tuple(slices), affine, folder, tuple(notes))


def _require_even_steps(slices: list[Slice], heights: np.ndarray, name: str) -> None:
    steps = np.diff(heights)
    for k in np.flatnonzero(steps < _EQUAL_MM):
        pair = slices[k], slices[k + 1]
        cause = differences(*pair)
        cause = f", different {cause}: several scans in one series" if cause else ", copies of one slice"
        names = " and ".join(shown(item.path) for item in pair)
        raise InputError(f"{name}: {names} lie at one place ({heights[k]:g} mm){cause}; expected a slice per place")
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])  # the lower median: of two steps the one without a gap
    for k in np.flatnonzero(np.abs(steps - usual) > _LARGEST_DEVIATION * usual):
        names = f"{shown(slices[k].path)} and {shown(slices[k + 1].path)}"
        missing = round(steps[k] / usual) - 1
        guess = f"; {missing} missing" if missing > 0 else ""
        raise InputError(f"{name}: {steps[k]:g} mm between {names}, {usual:g} mm between the others{guess}")


def _check_line(slices: list[Slice], positions: np.ndarray, step: np.ndarray, name: str, notes: list[str]) -> None:
    """All slices must lie on the line of equal steps from the first to the last."""
    expected = positions[0] + np.arange(len(slices))[:, None] * step
    distance = np.linalg.norm(positions - expected, axis=1)
    worst, length = int(distance.argmax()), float(np.linalg.norm(step))
    if distance[worst] > _LARGEST_DEVIATION * length:
        raise InputError(
            f"{name}: {shown(slices[worst].path)} lies {distance[worst]:.3g} mm off the line of equal steps; "
            "expected slices stacked straight"
        )
    if distance[worst] > _NOTED_DEVIATION * length:
        notes.append(f"{name}: slices up to {distance[worst]:.2g} mm off equal steps of {length:.4g} mm; evened out")
