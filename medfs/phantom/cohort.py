"""Folders of phantoms that look like a dataset."""

import json
import re
from pathlib import Path

import numpy as np

from medfs.errors import StorageError, UsageError
from medfs.io import Volume, atomic_path, write_image, write_labels
from medfs.io.datasets import Case
from medfs.phantom.case import checked_spacing_mm, phantom_case
from medfs.phantom.tissues import Modality

_MARKER = "phantom_cohort.json"
_OWN_FILE = re.compile(r"phantom_\d{3,}\.nii\.gz")


def write_cohort(
    folder: str | Path,
    cases: int,
    *,
    seed: int = 0,
    modality: Modality = "ct",
    labelled: int | None = None,
    spacing_mm: float | tuple[float, float, float] = 6.0,
    oblique: bool = True,
) -> list[Case]:
    """Write phantoms as ``images/phantom_000.nii.gz`` and so on, with their label maps in ``labels/``.

    A cohort that is already there is replaced. Cohorts of different seeds share no patient, and those that differ in
    the number of cases alone begin with the same ones.

    Args:
        folder: a new or an empty folder, or one that this function wrote before.
        cases: how many.
        seed: the cohort; not negative.
        modality: as for :func:`phantom_case`.
        labelled: how many of the first cases get a label map; all if not given.
        spacing_mm: as for :func:`phantom_case`.
        oblique: as for :func:`phantom_case`.

    Returns:
        The cases in the order of their names.

    Raises:
        UsageError: a number cannot be used, or the folder holds something else.
        StorageError: the folder cannot be written.
    """
    folder = Path(folder)
    labelled = cases if labelled is None else labelled
    if cases < 1 or not 0 <= labelled <= cases or seed < 0:
        raise UsageError(
            f"phantom cohort of {cases} cases, {labelled} labelled, seed {seed}; "
            "expected at least one case, at most all of them labelled and no negative number"
        )
    spacing = checked_spacing_mm(seed, spacing_mm, modality)
    parameters = {"cases": cases, "labelled": labelled, "seed": int(seed), "modality": modality}
    _prepare(folder, {**parameters, "spacing_mm": spacing, "oblique": oblique})
    written = []
    for number in range(cases):
        case = phantom_case(_case_seed(seed, number), spacing_mm=spacing, modality=modality, oblique=oblique)
        name = f"phantom_{number:03d}"
        image = folder / "images" / f"{name}.nii.gz"
        write_image(image, case.image, Volume.from_array(case.image, case.affine, image))
        label = None
        if number < labelled:
            label = folder / "labels" / f"{name}.nii.gz"
            write_labels(label, case.labels, Volume.from_array(case.labels, case.affine, label))
        written.append(Case(name, name, image, label))
    return written


def _case_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1, np.uint64)[0])


def _prepare(folder: Path, parameters: dict[str, object]) -> None:
    """Make the folders, remove an earlier cohort's files and leave the mark by which this one will be known."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / _MARKER).is_file():
            raise UsageError(f"{folder}: holds files that are no phantom cohort; expected a new or empty folder")
        for part in ("images", "labels"):
            (folder / part).mkdir(exist_ok=True)
            for path in (folder / part).iterdir():
                if _OWN_FILE.fullmatch(path.name):
                    path.unlink()
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}") from error
    with atomic_path(folder / _MARKER) as temporary:
        temporary.write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")
