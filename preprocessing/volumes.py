"""Raw cases whose image and label map are files that the one reader knows."""

import re
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from medfs.errors import InputError
from medfs.io import Volume, read_image, read_labels, require_same_grid
from medfs.io.names import volume_suffix
from preprocessing.recipe import Loaded, RawCase

_TOLERANCE = 0.1  # of a voxel, between the places of image and label map


def volume_case(name: str, image: Path, label: Path | None, patient: str = "") -> RawCase:
    """A case of one image and, unless ``label`` is None, one label map, both of which have to be there."""
    sources = (image,) if label is None else (image, label)
    return RawCase(name, patient or name, sources, partial(_load, image, label))


def numbered(paths: Iterable[Path], pattern: str) -> dict[str, Path]:
    """Volumes by the first group of a pattern that their whole names, without suffix, fit.

    Raises:
        InputError: two files have one number.

    >>> list(numbered([Path("img07.nii.gz"), Path("notes.txt")], "img([0-9]+)"))
    ['07']
    """
    found: dict[str, Path] = {}
    for path in sorted(paths):
        suffix = volume_suffix(path)
        match = re.fullmatch(pattern, path.name.removesuffix(suffix))
        if not (suffix and match):
            continue
        other = found.setdefault(match[1], path)
        if other is not path:
            raise InputError(f"{other} and {path}: two files of number {match[1]}; remove one")
    return found


def paired(images: dict[str, Path], labels: dict[str, Path], unlabelled: Collection[str] = ()) -> list[RawCase]:
    """Cases of images and label maps of equal numbers.

    Args:
        images: file by number.
        labels: file by number.
        unlabelled: numbers for which no label map is expected.

    Returns:
        A case for every number; one that lacks a file fails with a line that says so.
    """
    cases = []
    for number in images.keys() | labels.keys():
        image, label = images.get(number), labels.get(number)
        if image is None:
            cases.append(failing_case(number, f"{labels[number].name} has no image"))
        elif label is None and number not in unlabelled:
            cases.append(failing_case(number, f"{image.name} has no label map"))
        else:
            cases.append(volume_case(number, image, label))
    return cases


def folder_of(source: Path, *choices: str) -> Path:
    """The first of several folders below ``source`` that exists.

    Raises:
        InputError: none does.
    """
    for choice in choices:
        if (source / choice).is_dir():
            return source / choice
    raise InputError(f"{source}: has none of the folders {', '.join(choices)}; see preprocessing/README.md")


def failing_case(name: str, message: str) -> RawCase:
    """A case of which only a name and a fault are known; it fails with that line."""

    def fail() -> Loaded:
        raise InputError(message)

    return RawCase(name, name, (), fail)


def labels_on(scan: Volume, path: Path) -> np.ndarray:
    """The label map in a file, which has to lie on the grid of its scan.

    Raises:
        InputError: it is none, or lies more than a tenth of a voxel elsewhere.
    """
    labels = read_labels(path)
    require_same_grid(scan, labels, tolerance_mm=_TOLERANCE * min(scan.spacing_mm))
    return labels.array


def _load(image: Path, label: Path | None) -> Loaded:
    scan = read_image(image)
    return Loaded(scan, None if label is None else labels_on(scan, label))
