"""Scans made ready for episodes: standardised once, kept as memory-mapped arrays, indexed."""

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfs.errors import InputError
from medfs.fewshot.index import CaseIndex, index_case
from medfs.io import (
    Case,
    Volume,
    atomic,
    atomic_path,
    file_sha256,
    make_folder,
    read_image,
    read_labels,
    require_same_grid,
)
from medfs.io.hashes import HashedWriter
from medfs.io.names import shown, stem, volume_suffix
from medfs.io.volume import slice_axis
from medfs.transforms import StandardizeVolume

_FORMAT = 1  # to be raised when what is done to a scan changes: files made otherwise are not found then
_DIGEST_BYTES = 32
_BLOCK = 1 << 20
_PREFIX = re.compile(r"^(image|label|superpix-[A-Za-z]+|supervoxels?)_(?=.)")


@dataclass(frozen=True, eq=False, slots=True)
class EpisodeCase:
    """One scan from which episodes are drawn.

    Attributes:
        name: of the case.
        patient: whom it shows.
        index: its objects, supervoxels or organs.
        organs: its organs, by which slices are excluded; None if it has no label map.
        image_file: ``.npy``, (slices, rows, columns) float32 of mean 0 and deviation 1 over the whole volume.
        objects_file: ``.npy``, the label map that ``index`` is of, on the same grid.
        affine: 4 x 4 of the image file, in the axes of that file.
    """

    name: str
    patient: str
    index: CaseIndex
    organs: CaseIndex | None
    image_file: Path
    objects_file: Path
    affine: NDArray[np.float64]

    @property
    def of_organs(self) -> bool:
        """Whether the objects are the organs themselves."""
        return self.index is self.organs

    def open(self) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
        """Image and label map, memory-mapped and read-only: slices are read from the disk when they are used."""
        return np.load(self.image_file, mmap_mode="r"), np.load(self.objects_file, mmap_mode="r")


def prepare_case(case: Case, objects: str | Path, cache_dir: str | Path, *, axis: int | None = None) -> EpisodeCase:
    """Make a scan ready, or find it so: a file is read again only when its content has changed or its array is damaged.

    The image is standardised over the whole volume, air included, as published; a constant one becomes 0. Arrays have
    the through-plane axis first and the other axes in reverse, (Z, Y, X) of an axial file, so that a slice is an image
    as the published code has it. Orientation is not touched here.

    Args:
        case: the scan; its label map, if any, gives the organs for exclusion.
        objects: label map of what episodes are drawn from: supervoxels, or ``case.label`` itself.
        cache_dir: folder for the arrays, made if missing; it can be deleted at any time.
        axis: the through-plane axis of the files; None for that of :func:`~medfs.io.volume.slice_axis`.

    Raises:
        InputError: a file is damaged, or the grids differ. A map without any geometry, as the published supervoxels
            are, only needs the shape of its image.
        StorageError: the cache cannot be written.
    """
    cache, objects = Path(cache_dir), Path(objects)
    make_folder(cache)
    # Named by all files of the case: where it exists, these very files were found to lie on one grid.
    grid_file = cache / f"{_content_name(case.image, objects, *filter(None, [case.label]))}.grid{_FORMAT}.npy"
    image = None
    if not _is_kept(grid_file):
        image = read_image(case.image)
        _require_grid(image, objects, case.label)
        _save(grid_file, image.affine)
    affine = np.load(grid_file)
    axis = slice_axis(affine) if axis is None else axis
    image_file = cache / f"{_content_name(case.image)}.image{axis}.{_FORMAT}.npy"
    if not _is_kept(image_file):
        image = image or read_image(case.image)
        _save(image_file, _slices_first(StandardizeVolume()(image.array).numpy(), axis))
    objects_file = cache / f"{_content_name(objects)}.objects{axis}.{_FORMAT}.npy"
    if not _is_kept(objects_file):
        _save(objects_file, _slices_first(read_labels(objects, assume_orientation=True).array, axis))
    index, organs = index_case(objects, cache, axis=axis), None
    if case.label is not None:
        same = objects.absolute() == case.label.absolute()
        organs = index if same else index_case(case.label, cache, axis=axis)
    return EpisodeCase(case.name, case.patient, index, organs, image_file, objects_file, affine)


def find_objects(cases: Sequence[Case], folder: str | Path) -> dict[str, Path]:
    """The supervoxel map of each case, by case name; cases without one are left out.

    ``<case>.nii.gz`` fits the case of that name; so does the published ``superpix-MIDDLE_7`` beside ``image_7``.

    Raises:
        InputError: there is no such folder, two files fit one case, or no file fits any case.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected supervoxels, as `medfs supervoxels` makes them")
    files = sorted(path for path in folder.iterdir() if volume_suffix(path) and not path.name.startswith("."))
    found: dict[str, Path] = {}
    by_key: dict[str, list[Path]] = {}
    for path in files:
        by_key.setdefault(_PREFIX.sub("", stem(path)), []).append(path)
    for case in cases:
        fitting = by_key.get(_PREFIX.sub("", case.name), [])
        exact = [path for path in fitting if stem(path) == case.name] or fitting
        if len(exact) > 1:
            raise InputError(f"{case.name}: {' and '.join(map(shown, exact))} both fit; expected one supervoxel map")
        if exact:
            found[case.name] = exact[0].absolute()
    if not found:
        raise InputError(f"{folder}: no file is called like a case; expected e.g. {cases[0].name}.nii.gz")
    return found


def _content_name(path: Path, *others: Path) -> str:
    """The file's name with a hash of the content of all files."""
    hashes = [file_sha256(file) for file in (path, *others)]
    return f"{stem(path)}-{(hashes[0] if not others else sha256(' '.join(hashes).encode()).hexdigest())[:16]}"


def _require_grid(image: Volume, *maps: Path | None) -> None:
    """Return if the maps lie on the grid of the image; one that says nothing of its place needs the shape alone."""
    for path in maps:
        if path is None:
            continue
        labels = read_labels(path, assume_orientation=True)
        placed = np.abs(labels.affine) != np.eye(4)
        require_same_grid(image, replace(labels, affine=labels.affine if placed.any() else image.affine))


def _slices_first(array: np.ndarray, axis: int) -> np.ndarray:
    """(X, Y, Z) of the file as (slices, rows, columns): (Z, Y, X) for axis 2; integers in the smallest type."""
    if array.dtype.kind in "iu":
        array = array.astype(np.min_scalar_type(int(array.max(initial=0))))
    return np.ascontiguousarray(array.transpose(axis, *sorted({0, 1, 2} - {axis}, reverse=True)))


def _save(path: Path, array: np.ndarray) -> None:
    """Write an array and, behind what numpy reads, the hash of that."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        atomic.reached("in_cache_write")
        hashed = HashedWriter(file)
        np.save(hashed, array)  # type: ignore[call-overload]  # a writer is all it needs
        file.write(bytes.fromhex(hashed.hexdigest()))


def _is_kept(path: Path) -> bool:
    """Whether an array is there and is what was written; a damaged one is told of and made again."""
    try:
        with path.open("rb") as file:
            left, total = os.fstat(file.fileno()).st_size - _DIGEST_BYTES, sha256()
            while block := file.read(max(0, min(_BLOCK, left))):
                total.update(block)
                left -= len(block)
            if left == 0 and file.read() == total.digest():
                return True
    except FileNotFoundError:
        return False
    except OSError:
        pass
    warnings.warn(f"{shown(path)}: damaged in the cache; made again", stacklevel=3)
    return False
