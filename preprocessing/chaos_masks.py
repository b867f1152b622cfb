"""CHAOS: a DICOM series with a mask picture for each slice."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medfs.errors import InputError
from medfs.io.dicom import DicomSeries, dicom_series
from medfs.io.names import shown
from medfs.io.pictures import read_picture
from preprocessing.recipe import Loaded, RawCase

_NUMBER = re.compile(r"(\d+)\D*$")


def chaos_cases(source: Path, modality: str, sequence: str = "") -> list[RawCase]:
    """The cases of ``<modality>/<id>/<sequence>/DICOM_anon``, below ``source`` or below its ``Train_Sets``.

    ``source`` may also be the folder of the modality, or of one case.

    Raises:
        InputError: there is none.
    """
    patterns = [f"{above}*/{sequence}/DICOM_anon" for above in (f"Train_Sets/{modality}/", f"{modality}/", "")]
    patterns.append(f"{sequence}/DICOM_anon")
    folders = next((found for p in patterns if (found := sorted(source.glob(re.sub("/+", "/", p).lstrip("/"))))), [])
    cases = []
    for folder in folders:
        case = (folder.parent.parent if sequence else folder.parent).absolute()
        ground = folder.parent / "Ground"
        masks = sorted(ground.glob("*.png")) if ground.is_dir() else []
        files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        load = partial(_load, folder, masks if ground.is_dir() else None)
        cases.append(RawCase(case.name, case.name, (*files, *masks), load))
    if not cases:
        raise InputError(f"{source}: no {modality}/<id>/{sequence + '/' if sequence else ''}DICOM_anon inside")
    return cases


def masks_on_slices(series: DicomSeries, masks: Sequence[Path]) -> list[Path]:
    """The mask of each slice of a series, in the order of the slices.

    Masks named as their slices belong to them. Otherwise masks are numbered along the series: their numbers in
    sequence go with the InstanceNumbers in sequence, and these must run along the patient in one direction.

    Raises:
        InputError: counts differ, or numbers are missing, doubled, or contradict the positions.
    """
    name = shown(series.path)
    if len(masks) != len(series.files):
        raise InputError(f"{name}: {len(series.files)} slices and {len(masks)} masks; expected one mask per slice")
    by_stem = {mask.stem: mask for mask in masks}
    if by_stem.keys() == {file.stem for file in series.files}:
        return [by_stem[file.stem] for file in series.files]
    numbered = {int(found[1]): mask for mask in masks if (found := _NUMBER.search(mask.stem))}
    first = min(numbered, default=0)
    if sorted(numbered) != list(range(first, first + len(masks))):
        raise InputError(f"{name}: the numbers in the names of the masks do not run without a gap from {first}")
    instances = [item.instance for item in series.slices]
    known = np.array([-1 if instance is None else instance for instance in instances])
    steps = np.diff(known)
    if not (np.all(steps == 1) or np.all(steps == -1)):
        raise InputError(f"{name}: InstanceNumbers do not count along the patient; which mask is whose is unknown")
    by_name = [item.instance for item in sorted(series.slices, key=lambda item: item.path.name)]
    if by_name != sorted(known):
        raise InputError(f"{name}: file names and InstanceNumbers count differently; which mask is whose is unknown")
    return [numbered[first + int(instance - known.min())] for instance in known]


def _load(folder: Path, masks: Sequence[Path] | None) -> Loaded:
    series = dicom_series(folder)
    if masks is None:
        return Loaded(series.read())
    labels = np.empty(series.shape, np.uint8, order="F")
    for k, mask in enumerate(masks_on_slices(series, masks)):
        picture = read_picture(mask)
        if picture.shape != series.shape[:2] or picture.dtype != np.uint8:
            raise InputError(f"{shown(mask)}: {picture.shape} pixels on slices of {series.shape[:2]}")
        labels[..., k] = picture  # row r of the picture is row r of the slice: both are (columns, rows) here
    return Loaded(series.read(), labels)
