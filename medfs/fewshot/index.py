"""Where every object of a label map lies, found once: what episodes are drawn from."""

import json
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfs.errors import InputError, UsageError
from medfs.io import atomic_path, file_sha256, make_folder, read_labels
from medfs.io.names import shown, stem

_FORMAT = 1
_DENSE_PER_VOXEL = 4  # counters per voxel up to which label values are counted without renumbering them


@dataclass(frozen=True, eq=False)
class CaseIndex:
    """The objects of one label map: supervoxels or organs, 0 being none.

    Attributes:
        ids: (N,) label values, ascending, without 0.
        offsets: (N + 1,) object ``i`` has the entries ``offsets[i]:offsets[i + 1]`` of ``slices`` and ``areas``.
        slices: (M,) positions along ``axis`` where the object is seen, ascending.
        areas: (M,) its pixels there.
        boxes: (N, 2, 3) first voxel and one past the last, in the axes of the file.
        shape: of the map.
        axis: the through-plane axis.
    """

    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    slices: NDArray[np.int64]
    areas: NDArray[np.int64]
    boxes: NDArray[np.int64]
    shape: tuple[int, int, int]
    axis: int = 2

    @classmethod
    def from_labels(cls, labels: np.ndarray, axis: int = 2) -> "CaseIndex":
        """Find the objects of a map.

        Args:
            labels: (X, Y, Z) integers, 0 outside; a map of zeros gives an index of no objects.
            axis: the through-plane axis.

        Raises:
            UsageError: the map has other than three axes or is not of whole numbers.
            InputError: a value is negative.

        >>> index = CaseIndex.from_labels(np.array([[[5, 5, 0, 5]]]))
        >>> index.ids, index.slices, index.areas
        (array([5]), array([0, 1, 3]), array([1, 1, 1]))
        """
        if labels.ndim != 3 or labels.dtype.kind not in "biu" or axis not in (0, 1, 2):
            raise UsageError(
                f"label map of shape {labels.shape} and type {labels.dtype}, through-plane axis {axis}; "
                "expected whole numbers on three axes, and one of them"
            )
        if labels.size and labels.min() < 0:
            raise InputError(f"label map holds {labels.min()}; expected 0 outside and positive values")
        values, numbered = _numbered(labels)
        planes = np.moveaxis(numbered, axis, 0)
        counts = [np.bincount(plane.ravel(order="K"), minlength=len(values)) for plane in planes]
        table = np.array(counts, np.int64).reshape(len(planes), len(values)).T
        table[0] = 0
        present = np.flatnonzero(table.any(axis=1))
        rows, slices = np.nonzero(table[present])
        boxes = ndimage.find_objects(numbered) if len(present) else []
        return cls(
            ids=values[present],
            offsets=np.searchsorted(rows, np.arange(len(present) + 1)).astype(np.int64),
            slices=slices.astype(np.int64),
            areas=table[present][rows, slices],
            boxes=np.array([_corners(boxes[value - 1]) for value in present], np.int64).reshape(-1, 2, 3),
            shape=(labels.shape[0], labels.shape[1], labels.shape[2]),
            axis=axis,
        )

    @property
    def length(self) -> int:
        """Number of slices."""
        return self.shape[self.axis]

    @property
    def volumes(self) -> NDArray[np.int64]:
        """(N,) voxels of each object."""
        return np.add.reduceat(self.areas, self.offsets[:-1]) if len(self.ids) else np.zeros(0, np.int64)

    def area_table(self) -> NDArray[np.int64]:
        """(N, length) pixels of every object in every slice."""
        table = np.zeros((len(self.ids), self.length), np.int64)
        table[np.repeat(np.arange(len(self.ids)), np.diff(self.offsets)), self.slices] = self.areas
        return table

    def areas_of(self, value: int) -> NDArray[np.int64]:
        """(length,) pixels of label ``value`` in every slice, none if it is absent; of 0, those outside all objects."""
        areas = np.zeros(self.length, np.int64)
        if value == 0:
            areas += int(np.prod(self.shape)) // max(self.length, 1)
            np.subtract.at(areas, self.slices, self.areas)
            return areas
        place = int(np.searchsorted(self.ids, value))
        if place < len(self.ids) and self.ids[place] == value:
            entries = slice(self.offsets[place], self.offsets[place + 1])
            areas[self.slices[entries]] = self.areas[entries]
        return areas

    def runs(self, value: int) -> NDArray[np.int64]:
        """(R, 2) first slice and one past the last of each stretch of adjacent slices that show ``value``.

        >>> CaseIndex.from_labels(np.array([[[5, 5, 0, 5]]])).runs(5).tolist()
        [[0, 2], [3, 4]]
        """
        return runs(self.areas_of(value) > 0)

    def save(self, path: str | Path, source_sha256: str) -> None:
        """Write the index, with the hash of the file it was made from.

        Raises:
            StorageError: it cannot be written.
        """
        content: dict[str, Any] = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez(file, format=_FORMAT, source=source_sha256, **content)

    @classmethod
    def load(cls, path: str | Path, source_sha256: str, axis: int = 2) -> "CaseIndex | None":
        """Read what :meth:`save` wrote; None if there is none of this source and axis, or it is damaged."""
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                if [stored[key].item() for key in ("format", "source", "axis")] != [_FORMAT, source_sha256, axis]:
                    return None
                arrays = {field.name: stored[field.name] for field in fields(cls)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        x, y, z = (int(n) for n in arrays.pop("shape"))
        return cls(**{**arrays, "axis": axis}, shape=(x, y, z))


def index_case(path: str | Path, cache_dir: str | Path | None = None, *, axis: int = 2) -> CaseIndex:
    """The index of a label map file, from the cache if the file is still the one that was indexed.

    Args:
        path: label map in a format of :func:`~medfs.io.read_labels`; it may lack an orientation.
        cache_dir: folder where indices are kept, made if missing; None keeps nothing.
        axis: the through-plane axis.

    Raises:
        InputError: the file is damaged or no label map.
        StorageError: the cache cannot be written.
    """
    path = Path(path)
    if cache_dir is None:
        return _read_index(path, axis)
    sha256 = file_sha256(path)
    cached = Path(cache_dir) / f"{stem(path)}-{sha256[:16]}.index{axis}.npz"
    index = CaseIndex.load(cached, sha256, axis)
    if index is None:
        if cached.exists():
            warnings.warn(f"{shown(cached)}: damaged in the cache; made again", stacklevel=2)
        index = _read_index(path, axis)
        make_folder(cache_dir)
        index.save(cached, sha256)
    return index


def write_class_slices(
    path: str | Path, labels: Mapping[str, str | Path], names: Mapping[int, str], *, min_pixels: int = 1, axis: int = 2
) -> None:
    """Write the class-slice index of the published code: ``{class name: {case: [z, ...]}}`` as JSON.

    A class that a case does not show has an empty list there.

    Args:
        path: the JSON file.
        labels: label map by case name.
        names: class name by label value; 0 for the background.
        min_pixels: fewest pixels of the class that make a slice count.
        axis: the through-plane axis.

    Raises:
        InputError: a label map is damaged, or two label values have one name.
        StorageError: the file cannot be written.

    **Differs from the paper**: the published script compares ``min_pixels`` with the sum of all label values of the
    slice, whatever the class; here the pixels of the class are counted. For 1 both agree.
    """
    if len(set(names.values())) < len(names):
        raise InputError(f"{shown(path)}: two label values have one class name; expected names of their own")
    indices = {case: index_case(file, axis=axis) for case, file in labels.items()}
    content = {
        name: {case: np.flatnonzero(index.areas_of(value) >= min_pixels).tolist() for case, index in indices.items()}
        for value, name in names.items()
    }
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(json.dumps(content) + "\n", "utf-8")


def runs(present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(R, 2) first position and one past the last of each stretch of true values.

    >>> runs(np.array([True, True, False, True])).tolist()
    [[0, 2], [3, 4]]
    """
    edges = np.diff(present.astype(np.int8), prepend=0, append=0)
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def _read_index(path: Path, axis: int) -> CaseIndex:
    try:
        return CaseIndex.from_labels(read_labels(path, assume_orientation=True).array, axis)
    except InputError as error:
        named = str(error).startswith(shown(path))
        raise error if named else InputError(f"{shown(path)}: {error}") from error


def _corners(box: tuple[slice, ...]) -> list[list[int]]:
    return [[side.start for side in box], [side.stop for side in box]]


def _numbered(labels: np.ndarray) -> tuple[NDArray[np.int64], np.ndarray]:
    """Label values, 0 first, and the map with the place of each value instead; unchanged where values are few."""
    highest = int(labels.max(initial=0))
    if (highest + 1) * max(labels.shape) <= _DENSE_PER_VOXEL * labels.size:
        return np.arange(highest + 1), labels.view(np.uint8) if labels.dtype == bool else _signed(labels)
    values, places = np.unique(np.append(labels.ravel(), labels.dtype.type(0)), return_inverse=True)
    return values.astype(np.int64), places[:-1].reshape(labels.shape)


def _signed(labels: np.ndarray) -> np.ndarray:
    """The same values in a type that can be counted: bincount refuses uint64."""
    return labels.astype(np.int64) if labels.dtype == np.uint64 else labels
