"""One DICOM file: its header checked, its voxels decoded and rescaled."""

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfs.errors import InputError, MedfsError, root_cause
from medfs.io.names import shown
from medfs.io.stream import open_regular, require_inflated_size

if TYPE_CHECKING:
    from pydicom import Dataset

# What tells two slices of one place apart, for the message that names them.
_DISTINCTIONS = ("EchoTime", "TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber", "ImageType")
_TAGS = [
    *_DISTINCTIONS,
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "InstanceNumber"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
]
_PREAMBLE_BYTES = 128
_MAGIC = b"DICM"
_UNIT_TOLERANCE = 1e-3
_META_GROUP = 2
_MOST_INFLATED = 1 << 28  # bytes of one deflated slice with its header


@dataclass(frozen=True, eq=False)
class Slice:
    """What the header of one file says; lengths in millimetres, directions in DICOM's LPS frame.

    Attributes:
        path: the file.
        series: its SeriesInstanceUID, empty where it has none.
        modality: ``CT``, ``MR``, ...
        instance: its InstanceNumber, if it has one.
        shape: columns and rows.
        position: ``(3,)``, the centre of the first voxel.
        axes: ``(3, 2)``, the unit vectors along which the column index and the row index grow.
        spacing: distance of neighbours along these two.
        frame: the FrameOfReferenceUID, empty where it has none.
        thickness: distance to the next slice as the header states it, for a series of one; 0 where it is silent.
        distinctions: value by attribute, for telling slices of one place apart.
        notes: what was peculiar and survived.
    """

    path: Path
    series: str
    modality: str
    instance: int | None
    shape: tuple[int, int]
    position: np.ndarray
    axes: np.ndarray
    spacing: tuple[float, float]
    frame: str
    thickness: float
    distinctions: dict[str, str]
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The same as values that JSON can hold."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        arrays = {"position": self.position.tolist(), "axes": self.axes.tolist()}
        return values | arrays | {"path": str(self.path)}

    @classmethod
    def of_plain(cls, values: dict[str, Any]) -> "Slice":
        """The slice that :meth:`plain` described."""
        columns, rows = values["shape"]
        along, across = values["spacing"]
        arrays = {"position": np.array(values["position"]), "axes": np.array(values["axes"])}
        tuples = {"shape": (columns, rows), "spacing": (along, across), "notes": tuple(values["notes"])}
        return cls(**values | arrays | tuples | {"path": Path(values["path"])})


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files (part 10) do."""
    with open_regular(path) as file:
        return file.read(_PREAMBLE_BYTES + len(_MAGIC))[_PREAMBLE_BYTES:] == _MAGIC


def read_header(path: Path) -> "Dataset":
    """The attributes of a file that matter here, without its voxels.

    Raises:
        InputError: it cannot be read or is no DICOM file.
    """
    return _parse(path, stop_before_pixels=True, specific_tags=_TAGS)


def slice_of(header: "Dataset", path: Path) -> Slice:
    """Check the header of an image file.

    Raises:
        InputError: it is no single grey slice, or does not say where it lies.
    """
    with _damage_named(path, "damaged DICOM header"):
        return _checked(header, path, shown(path))


def read_voxels(item: Slice) -> np.ndarray:
    """The values of one slice, rescaled as its header says.

    Returns:
        ``(columns, rows)`` float64.

    Raises:
        InputError: the voxels are missing, cut off, or compressed in a way that nothing here can undo.
    """
    from pydicom.pixels import apply_modality_lut

    name = shown(item.path)
    data = _parse(item.path)
    with _damage_named(item.path, "voxels cannot be decoded"):
        _require_decoder(data.file_meta.get("TransferSyntaxUID"), name)
        values = np.asarray(apply_modality_lut(data.pixel_array, data), dtype=np.float64)
    if values.shape != item.shape[::-1]:
        raise InputError(f"{name}: {values.shape} voxels; the header announced {item.shape[::-1]}")
    return values.T


def differences(first: Slice, second: Slice) -> str:
    """The attributes in which two slices of one place differ, for a message; empty where none is known."""
    names = [key for key in _DISTINCTIONS if first.distinctions[key] != second.distinctions[key]]
    return " and ".join(names)


def _checked(header: "Dataset", path: Path, name: str) -> Slice:
    _require_single_grey_slice(header, name)
    rows, columns = int(header.Rows), int(header.Columns)
    position = _numbers(header, "ImagePositionPatient", 3, name)
    orientation = _numbers(header, "ImageOrientationPatient", 6, name)
    axes = orientation.reshape(2, 3).T
    if np.abs(axes.T @ axes - np.eye(2)).max() > _UNIT_TOLERANCE:
        raise InputError(f"{name}: ImageOrientationPatient holds no two perpendicular unit vectors; cannot be placed")
    row_spacing, column_spacing = _numbers(header, "PixelSpacing", 2, name)
    if not min(row_spacing, column_spacing) > 0:
        raise InputError(f"{name}: PixelSpacing {row_spacing:g} x {column_spacing:g} mm; expected > 0")
    number = _plain(header, "InstanceNumber")
    return Slice(
        path=path,
        series=str(header.get("SeriesInstanceUID", "") or ""),
        modality=str(header.get("Modality", "") or ""),
        instance=None if number is None else int(number),
        shape=(columns, rows),
        position=position,
        axes=axes,
        spacing=(float(column_spacing), float(row_spacing)),
        frame=str(header.get("FrameOfReferenceUID", "") or ""),
        thickness=float(_plain(header, "SpacingBetweenSlices") or _plain(header, "SliceThickness") or 0),
        distinctions={key: str(header.get(key, "")) for key in _DISTINCTIONS},
        notes=_notes(header, name),
    )


@contextlib.contextmanager
def _damage_named(path: Path, what: str) -> Iterator[None]:
    """Name the file in whatever a parser or decoder raises, which can be anything, and keep its remarks quiet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except MedfsError:
            raise
        except Exception as error:
            raise InputError(f"{shown(path)}: {what}: {root_cause(error)}") from error


def _parse(path: Path, **options: Any) -> "Dataset":
    from pydicom import dcmread

    logging.getLogger("pydicom").setLevel(logging.ERROR)
    if not is_dicom(path):
        raise InputError(f"{shown(path)}: no DICOM file; expected DICM after a preamble of {_PREAMBLE_BYTES} bytes")
    with open_regular(path) as file, _damage_named(path, "damaged DICOM file"):
        _require_bounded(file, shown(path))
        data = dcmread(file, **options)
        for element in (*data.file_meta, *data):  # pydicom converts at the first access, and may raise then
            element.value  # noqa: B018
        return data


def _require_bounded(file: io.BufferedReader, name: str) -> None:
    """Return, at the file's beginning, if it does not expand to gigabytes: pydicom inflates a deflated file whole."""
    from pydicom.filereader import read_dataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    file.seek(_PREAMBLE_BYTES + len(_MAGIC))
    meta = read_dataset(file, False, True, stop_when=lambda tag, kind, length: tag >> 16 != _META_GROUP)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        require_inflated_size(file, name, _MOST_INFLATED)
    file.seek(0)


def _require_single_grey_slice(header: "Dataset", name: str) -> None:
    if "Rows" not in header or "Columns" not in header:
        raise InputError(f"{name}: holds no image but {_kind(header)}; expected slices of a scan")
    if int(_plain(header, "NumberOfFrames") or 1) > 1:
        raise InputError(
            f"{name}: {_kind(header)} of {int(header.NumberOfFrames)} frames in one file; expected a file per slice: "
            "convert it to NIfTI first"
        )
    if "MOSAIC" in [str(word) for word in _several(header, "ImageType")]:
        raise InputError(f"{name}: a mosaic of slices in one picture; convert it to NIfTI first")
    if int(_plain(header, "SamplesPerPixel") or 1) != 1:
        colours = header.get("PhotometricInterpretation", "colours")
        raise InputError(f"{name}: {colours} with {int(header.SamplesPerPixel)} values per pixel; expected grey values")
    if min(int(header.Rows), int(header.Columns)) < 1:
        raise InputError(f"{name}: {header.Rows} x {header.Columns} pixels; expected at least one")
    slope = _plain(header, "RescaleSlope")
    if slope is not None and (slope == 0 or not math.isfinite(slope)):
        raise InputError(f"{name}: RescaleSlope {slope:g}; expected a finite number other than 0")


def _notes(header: "Dataset", name: str) -> tuple[str, ...]:
    notes: list[str] = []
    scaled = "RescaleSlope" in header and "RescaleIntercept" in header
    if header.get("Modality") == "CT" and not scaled and "ModalityLUTSequence" not in header:
        notes.append(f"{name}: CT without RescaleSlope and RescaleIntercept; the values may be no Hounsfield units")
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        notes.append(f"{name}: MONOCHROME1, shown with large values dark; the values are kept")
    return tuple(notes)


def _require_decoder(syntax: Any, name: str) -> None:
    from pydicom.pixels import get_decoder

    if syntax is None:
        raise InputError(f"{name}: no TransferSyntaxUID; how the voxels are stored is unknown")
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        kind = f"{getattr(syntax, 'name', syntax)} ({syntax})"
        raise InputError(
            f"{name}: compressed as {kind} and no decoder is installed; decompress the series, e.g. with "
            "gdcmconv --raw, or install pylibjpeg with pylibjpeg-libjpeg and pylibjpeg-openjpeg"
        )


def _numbers(header: "Dataset", key: str, count: int, name: str) -> np.ndarray:
    values = _several(header, key)
    try:
        numbers = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.size != count or not np.isfinite(numbers).all():
        found = "none" if not values else "\\".join(str(value) for value in values)[:80]
        raise InputError(f"{name}: {key} is {found}; expected {count} finite numbers, without them it has no place")
    return numbers


def _several(header: "Dataset", key: str) -> Sequence[Any]:
    value = header.get(key)
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) else list(value)


def _plain(header: "Dataset", key: str) -> float | None:
    """A single number, None where it is missing or no number."""
    try:
        return float(header.get(key))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _kind(header: "Dataset") -> str:
    uid = header.get("SOPClassUID")
    return "an unknown object" if uid is None else str(getattr(uid, "name", uid))
