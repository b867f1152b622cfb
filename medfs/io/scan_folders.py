"""Everything in a folder that looks like a scan, whatever is wrong with it: datasets, loose files, DICOM series."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from medfs.errors import InputError, UsageError
from medfs.io.datasets import DATA_ONLY, DATASET_FOLDERS, match_names, read_datalist, volumes_of
from medfs.io.dicom import DICOM_SUFFIXES
from medfs.io.dicom_slices import is_dicom
from medfs.io.names import case_name, shown, volume_suffix

_LABELS, _SUPERVOXELS = "labels", "supervoxels"  # how the names of folders of label maps and of supervoxels begin
_SEGMENTATIONS = (".seg.nrrd", "_seg.nii.gz", "_seg.nii")  # the latter two are what medfs segment writes


@dataclass(frozen=True, slots=True)
class Target:
    """An image, a label map, or both as a pair.

    Attributes:
        image: a file, or the folder of a DICOM series.
        labels: its label map, or one without an image.
        dicom: ``image`` is a folder of DICOM slices.
        supervoxels: ``labels`` holds supervoxels, whose values mean nothing.
        faults: what the names alone say, e.g. a label map without its image.
    """

    image: Path | None = None
    labels: Path | None = None
    dicom: bool = False
    supervoxels: bool = False
    faults: tuple[str, ...] = ()


def find_targets(path: str | Path) -> list[Target]:
    """Look for scans in ``path`` and all folders below it.

    ``images/`` beside ``labels/`` (or ``imagesTr/``, ``labelsTr/``) are paired by name as
    :func:`medfs.io.find_cases` does, and what does not pair is a fault instead of the end. Any other file of a known
    kind is an image, or a map of labels or supervoxels where its folder's name begins with one of these words; so is
    what ``medfs segment`` writes. A folder of DICOM slices is one series. Hidden files and linked folders are passed
    over.

    Args:
        path: a folder, a file, or a MONAI datalist (JSON).

    Raises:
        UsageError: there is no such path, or no scan in it.
        InputError: a datalist that cannot be used.
    """
    path = Path(path)
    if path.is_dir():
        hidden: list[OSError] = []
        targets = [target for folder in _folders(path, hidden.append) for target in _targets_of(folder)]
        targets += [Target(Path(error.filename), faults=(f"cannot be listed: {error.strerror}",)) for error in hidden]
    elif path.suffix.lower() == ".json":
        cases = [case for section in read_datalist(path).values() for case in section]
        targets = [Target(case.image, case.label) for case in cases]
    elif os.path.lexists(path):
        targets = _loose([path], path.absolute().parent)
    else:
        raise UsageError(f"{path}: no such file or folder")
    if not targets:
        raise UsageError(f"{path}: no scan inside; expected files such as .nii.gz, .nii, .mha, .nrrd, .mgz or .dcm")
    return targets


def _folders(root: Path, on_error: Callable[[OSError], None]) -> Iterable[Path]:
    for folder, inner, _ in os.walk(root, onerror=on_error):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        pair = _pair_in(Path(folder))
        if pair is not None:
            inner[:] = [name for name in inner if name not in pair]
        yield Path(folder)


def _pair_in(folder: Path) -> tuple[str, str] | None:
    return next((pair for pair in DATASET_FOLDERS if all((folder / name).is_dir() for name in pair)), None)


def _targets_of(folder: Path) -> list[Target]:
    targets = []
    pair = _pair_in(folder)
    if pair is not None:
        targets += _dataset(volumes_of(folder / pair[0]), volumes_of(folder / pair[1]))
    targets += _loose([*volumes_of(folder), *_data_without_header(folder)], folder)
    if _has_dicom(folder):
        targets.append(Target(folder, dicom=True))
    return targets


def _dataset(images: list[Path], labels: list[Path]) -> list[Target]:
    faults = _name_faults(images)
    named = [image for image in images if not _nameless(image)]
    usable = {label for label in labels if not _nameless(label)}
    pairs, left = match_names(named, sorted(usable))
    targets = [Target(image, label, faults=faults.get(image, ())) for image, _, label in pairs]
    targets += [Target(image, faults=faults[image]) for image in images if image not in named]
    targets += [Target(labels=label, faults=("a label map without an image of its name",)) for label in left]
    return targets + [Target(labels=label, faults=(_nameless(label),)) for label in labels if label not in usable]


def _loose(paths: list[Path], folder: Path) -> list[Target]:
    pieces = folder.name.lower().startswith(_SUPERVOXELS)
    as_labels = pieces or folder.name.lower().startswith(_LABELS)
    labels = [p for p in paths if as_labels or p.name.lower().endswith(_SEGMENTATIONS)]
    images = [p for p in paths if p not in set(labels)]
    faults = _name_faults(images) | _name_faults(labels)
    found = [Target(image, faults=faults.get(image, ())) for image in images]
    return found + [Target(labels=p, supervoxels=pieces, faults=faults.get(p, ())) for p in labels]


def _nameless(path: Path) -> str:
    try:
        case_name(path)
    except InputError as error:
        return str(error)
    return ""


def _name_faults(paths: list[Path]) -> dict[Path, tuple[str, ...]]:
    """Of files that would share the name of a case, and of those that have none."""
    faults: dict[Path, tuple[str, ...]] = {path: (_nameless(path),) for path in paths if _nameless(path)}
    names = {path: case_name(path).casefold() for path in paths if path not in faults}
    counts = Counter(names.values())
    for path, name in names.items():
        if counts[name] > 1:
            others = ", ".join(shown(p) for p in names if names[p] == name and p != path)
            faults[path] = (f"the same case name as {others}; rename all but one",)
    return faults


def _data_without_header(folder: Path) -> list[Path]:
    """``.img`` files that no ``.hdr`` stands for."""
    data = [path for path in sorted(folder.iterdir()) if volume_suffix(path).lower() in DATA_ONLY]
    headers = {path.name.lower() for path in folder.iterdir()}
    return [
        path.absolute()
        for path in data
        if not any(path.name.lower().rpartition(".img")[0] + end in headers for end in (".hdr", ".hdr.gz"))
    ]


def _has_dicom(folder: Path) -> bool:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix.lower() in DICOM_SUFFIXES:
            return True
        with contextlib.suppress(InputError):
            if not path.suffix and is_dicom(path):
                return True
    return False
