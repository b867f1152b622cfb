"""Segmentations as 3D Slicer opens them: ``.seg.nrrd``, and the colour table beside a NIfTI label map.

References:
    3D Slicer developer guide, Segmentations and Colors,
    https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html
    ``vtkMRMLSegmentationStorageNode.cxx``, the reader whose habits are met here.
"""

import csv
import io
import unicodedata
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicerio

from medfs.anatomy import COLOR_TABLE_COLUMNS, Code, LabelSet, Organ, color_table_rows
from medfs.errors import InputError, StorageError, UsageError
from medfs.export.labels import label_counts, organs_of
from medfs.io import atomic_path
from medfs.io.names import shown

_TERMINOLOGY = "Segmentation category and type - 3D Slicer General Anatomy list"
_ANATOMIC_CODES = "Anatomic codes - DICOM master list"
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_LARGEST_VALUE = 2**31 - 1  # Slicer keeps label values in a signed int
_COMPRESSION = 6
_GEOMETRY_PARAMETER = "Reference image geometry|{}|Grid of the label map and of segments drawn later.&"


def write_seg_nrrd(path: str | Path, labels: np.ndarray, affine: np.ndarray, organs: Mapping[int, Organ]) -> None:
    """Write a label map as a 3D Slicer segmentation with names, colours and SNOMED CT terminology.

    There is one segment per organ of ``organs`` (0, the background, is left out), in the order of the label values,
    whether or not it has voxels: an empty one says "looked for, not found" and is ready to be drawn by hand. Its status
    in Slicer is *not started*, that of the others *in progress*. The segment's name is the organ's title, its ID the
    organ's name. A label value without organ becomes *Label 17*, and a warning says so.

    All segments share one layer and carry the extent of the whole grid, because Slicer crops a layer to the extent of
    its first segment. A sheared grid (gantry tilt) is stored as it is. Equal inputs give equal bytes.

    Args:
        path: the file, ``*.seg.nrrd``; its folder must exist.
        labels: ``(X, Y, Z)``, integer or boolean. Slicer takes a grid of a single voxel for an empty file.
        affine: ``(4, 4)``, voxel index -> RAS+ millimetres.
        organs: organ by label value.

    Raises:
        UsageError: the name has another suffix, the array is no label map, or the affine is not usable.
        InputError: a label value is negative or above 2**31 - 1.
        StorageError: the file cannot be written.
    """
    path, name = Path(path), shown(path)
    if not path.name.lower().endswith(".seg.nrrd"):
        raise UsageError(f"{name}: expected a name that ends in .seg.nrrd")
    affine = _checked_affine(affine, name)
    counts = label_counts(labels, name)
    values = sorted({*counts, *organs} - {0})
    if values and not 0 < values[0] <= values[-1] <= _LARGEST_VALUE:
        raise InputError(f"{name}: label values {values[0]} to {values[-1]}; expected 1 to {_LARGEST_VALUE}")
    _warn_of_unnamed([value for value in values if value not in organs], name)
    segmentation: dict[str, Any] = {
        "voxels": labels.astype(np.min_scalar_type(max(values, default=0)), copy=False),
        "ijkToLPS": _RAS_TO_LPS @ affine,
        "containedRepresentationNames": ["Binary labelmap"],
        # slicerio writes parameters without the closing "&" that Slicer's parser waits for
        "Segmentation_ConversionParameters": _GEOMETRY_PARAMETER.format(_geometry(affine, labels.shape)),
        "segments": _segments(organs_of(values, organs), counts, labels.shape),
    }
    _store(path, _without_date(_encoded(segmentation)))


def write_color_table(path: str | Path, labels: LabelSet) -> None:
    """Write a label set as 3D Slicer's CSV colour table: label value, name, colour and codes.

    Slicer takes names and colours from it when it opens the NIfTI label map; the background is left out, as Slicer
    advises.

    Args:
        path: the file, ``*.csv``; its folder must exist.
        labels: structures by label value; a set with the background alone gives the head line alone.

    Raises:
        UsageError: the name has another suffix.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise UsageError(f"{shown(path)}: expected a name that ends in .csv")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLOR_TABLE_COLUMNS, *color_table_rows(labels)])
    _store(path, text.getvalue().encode())


def _checked_affine(affine: np.ndarray, name: str) -> np.ndarray:
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise UsageError(f"{name}: an affine of shape {affine.shape} that gives no grid; expected 4 x 4, invertible")
    return affine


def _warn_of_unnamed(values: list[int], name: str) -> None:
    if values:
        listed = ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")
        warnings.warn(f"{name}: no organ is known for label value {listed}; given made-up names", stacklevel=3)


def _segments(organs: Mapping[int, Organ], counts: Mapping[int, int], shape: tuple[int, ...]) -> list[dict[str, Any]]:
    extent = [bound for length in shape for bound in (0, length - 1)]
    repeated = Counter(organ.name for organ in organs.values())
    return [
        {
            "id": _plain(organ.name if repeated[organ.name] == 1 else f"{organ.name}_{value}"),
            "name": _plain(organ.title),
            "nameAutoGenerated": False,
            "color": [round(channel / 255, 6) for channel in organ.color],
            "colorAutoGenerated": False,
            "labelValue": value,
            "layer": 0,
            "extent": extent,
            "status": "inprogress" if value in counts else "notstarted",
            "terminology": _terminology(organ),
        }
        for value, organ in organs.items()
    ]


def _terminology(organ: Organ) -> dict[str, Any]:
    coded = {
        "category": organ.category,
        "type": organ.type,
        "typeModifier": organ.type_modifier,
        "anatomicRegion": organ.region,
    }
    return {
        "contextName": _TERMINOLOGY,
        "anatomicContextName": _ANATOMIC_CODES,
        **{key: _code(code) for key, code in coded.items() if code is not None},
    }


def _code(code: Code) -> list[str]:
    return [_plain(part) for part in (code.scheme, code.value, code.meaning)]


def _plain(text: str) -> str:
    """ASCII without the characters that end a line, a tag or a code in the header."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "".join(c if c.isprintable() and c not in "|~^&:\\" else "_" for c in ascii_text)


def _geometry(affine: np.ndarray, shape: tuple[int, ...]) -> str:
    """The grid as ``vtkSegmentationConverter`` serialises it: the matrix by rows, then the extent."""
    extent = (bound for length in shape for bound in (0, length - 1))
    return "".join(f"{float(number):.17g};" for number in affine.flat) + "".join(f"{bound};" for bound in extent)


def _encoded(segmentation: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    slicerio.write_segmentation(buffer, segmentation, compression_level=_COMPRESSION)
    return buffer.getvalue()


def _without_date(content: bytes) -> bytes:
    """The file without the comment that says when pynrrd made it."""
    head, separator, voxels = content.partition(b"\n\n")
    return b"\n".join(line for line in head.split(b"\n") if not line.startswith(b"# on ")) + separator + voxels


def _store(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
        if temporary.read_bytes() != content:
            raise StorageError(f"{path}: reads back other than it was written; check the storage")
