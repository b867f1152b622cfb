"""Tables for people: volumes of the organs of a case, as CSV that a spreadsheet cannot mistake for formulas."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medfs.anatomy import Organ
from medfs.errors import UsageError
from medfs.export.labels import label_counts, organs_of
from medfs.io import atomic_path

_STARTS_FORMULA = ("=", "+", "-", "@")
_MM3_PER_ML = 1000.0


def statistics_rows(labels: np.ndarray, affine: np.ndarray, organs: Mapping[int, Organ]) -> list[dict[str, Any]]:
    """One row per organ: ``label``, ``organ``, ``voxels``, ``volume_ml`` and ``touches_border``.

    An organ that touches the border of the scan is probably cut off, and its volume a lower bound.

    Args:
        labels: ``(X, Y, Z)``, integer or boolean.
        affine: ``(4, 4)``, voxel index -> millimetres; sheared grids are measured rightly.
        organs: organ by label value, 0 is left out. One that is absent has 0 voxels; a value that is not in there
            appears as ``label_17``.

    Returns:
        Rows in the order of the label values; none if there is neither organ nor label.

    Raises:
        UsageError: the array is no label map.
        InputError: a label value is negative.

    >>> from medfs.anatomy import find_organ
    >>> statistics_rows(np.ones((10, 10, 10), int), np.diag([1, 1, 2, 1]), {1: find_organ("liver")})
    [{'label': 1, 'organ': 'liver', 'voxels': 1000, 'volume_ml': 2.0, 'touches_border': True}]
    """
    counts = label_counts(labels)
    voxel_ml = abs(float(np.linalg.det(np.asarray(affine, dtype=np.float64)[:3, :3]))) / _MM3_PER_ML
    border = _border_values(labels)
    return [
        {
            "label": value,
            "organ": organ.name,
            "voxels": counts.get(value, 0),
            "volume_ml": round(counts.get(value, 0) * voxel_ml, 4),
            "touches_border": value in border,
        }
        for value, organ in organs_of(sorted({*counts, *organs} - {0}), organs).items()
    ]


def write_table(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV under the names of the first one's columns.

    Text that a spreadsheet would run as a formula gets an apostrophe in front, and control characters become blanks.

    Args:
        path: the file; its folder must exist.
        rows: all with the same columns.

    Raises:
        UsageError: there is no row, so that the columns are not known.
        StorageError: the file cannot be written.
    """
    if not rows:
        raise UsageError(f"{path}: no rows to write")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: _harmless(value) for column, value in row.items()} for row in rows)
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _harmless(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = "".join(c if c.isprintable() else " " for c in value)
    return f"'{text}" if text.lstrip().startswith(_STARTS_FORMULA) else text


def _border_values(labels: np.ndarray) -> set[int]:
    if labels.size == 0:
        return set()
    faces = (np.moveaxis(labels, axis, 0)[end] for axis in range(3) for end in (0, -1))
    return {int(value) for face in faces for value in np.unique(face)}
