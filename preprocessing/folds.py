"""Folds by patient: the published ones where all their cases are there, else seeded ones."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medfs.io import atomic_path
from preprocessing.recipe import PublishedFolds

_COUNT = 5


def write_folds(path: Path, patients: Mapping[str, str], published: PublishedFolds | None, seed: int = 0) -> None:
    """Write ``folds.json``.

    ``folds`` holds a list of case names for each fold, ``scheme`` says which ones they are. In published folds
    (``support`` is ``"last"``) the last case of a fold supports the others, which are queries; it is a query of another
    fold. In folds by patient (``support`` is ``"any"``) every case is in one fold.

    Args:
        path: the JSON file.
        patients: patient by name of a labelled case.
        published: folds of the dataset in the literature.
        seed: another seed, other folds.

    Raises:
        StorageError: it cannot be written.
    """
    content: dict[str, Any]
    missing = [] if published is None else [name for name in published.cases if name not in patients]
    if published is not None and not missing:
        content = {"scheme": "published", "support": "last", "folds": published.named()}
    else:
        content = {"scheme": "by patient", "support": "any", "seed": seed, "folds": patient_folds(patients, seed)}
        if missing:
            content["not_published_because_missing"] = missing
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def patient_folds(patients: Mapping[str, str], seed: int = 0, count: int = _COUNT) -> list[list[str]]:
    """Case names in ``count`` folds, fewer where there are fewer patients, with all cases of a patient in one.

    Patients are ordered by a hash of seed and patient, so that the order depends neither on the machine nor on the
    order of the cases.

    >>> patient_folds({"a1": "a", "a2": "a", "b": "b"}, count=2)
    [['a1', 'a2'], ['b']]
    """
    groups = defaultdict(list)
    for case, patient in patients.items():
        groups[patient].append(case)
    order = sorted(groups, key=lambda patient: hashlib.sha256(f"{seed}\0{patient}".encode()).digest())
    folds = [[case for patient in order[k::count] for case in groups[patient]] for k in range(count)]
    return [sorted(fold) for fold in folds if fold]
