"""What can be expected of labelled scans, kept beside the results so that a run that goes on need not ask again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medfs.errors import InputError
from medfs.io import atomic_path, make_folder
from medfs.io.datasets import read_json
from medfs.metrics import OrganScore

LEAVE_ONE_OUT = "leave_one_out.json"


def expected_scores(
    folder: Path, parameters: Mapping[str, Any], compute: Callable[[], list[OrganScore]]
) -> list[OrganScore]:
    """The scores in ``leave_one_out.json`` if they have the same parameters; else they are computed and written.

    Args:
        folder: of the results, made if missing.
        parameters: all that the scores depend on, plain values.
        compute: makes them.

    Raises:
        StorageError: they cannot be written.
    """
    path = folder / LEAVE_ONE_OUT
    try:
        content = read_json(path)
        if content["parameters"] == parameters:
            return [OrganScore(**row) for row in content["scores"]]
    except (InputError, KeyError, TypeError):
        pass  # none yet, or none that can be used
    make_folder(folder)  # what cannot be written is to be known before the long work
    scores = compute()
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"parameters": parameters, "scores": [asdict(row) for row in scores]}) + "\n")
    return scores
