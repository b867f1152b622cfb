"""Scoring a run or a folder of label maps."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medfs.anatomy import resolve_label_set
from medfs.engines.evaluation import NativeScores
from medfs.errors import InputError, MedfsError
from medfs.inference.folder import FolderRun
from medfs.inference.segmenter import Segmenter
from medfs.io import read_labels
from medfs.metrics import Summary

Item = Mapping[str, str]


def evaluate_run(
    items: Sequence[Item], run: Path, output: Path, *, convention: str = "medfs", device: str = "auto"
) -> Summary:
    """Segment cases with a run, into ``predictions/`` below the output, and score them.

    A case that cannot be segmented is named and not scored.

    Raises:
        NothingDoneError: no case could be scored.
    """
    segmenter = Segmenter(run, device=device)
    cases = {item["case"]: Path(item["image"]) for item in items}
    FolderRun(segmenter, output / "predictions").run(cases, lambda record: _say(record.error))
    scores = NativeScores(output, segmenter.label_set, convention)
    return _score_files(items, output / "predictions", scores)


def evaluate_predictions(
    items: Sequence[Item], predictions: Path, output: Path, labels: str, *, convention: str = "medfs"
) -> Summary:
    """Score label maps named after the cases; a case without one is named and not scored.

    Raises:
        NothingDoneError: no case could be scored.
        UsageError: the label set is unknown.
    """
    return _score_files(items, predictions, NativeScores(output, resolve_label_set(labels), convention))


def _score_files(items: Sequence[Item], folder: Path, scores: NativeScores) -> Summary:
    for item in items:
        try:
            scores.add(_prediction(folder, item["case"]), Path(item["label"]), item["case"])
        except MedfsError as error:
            _say(str(error))
    return scores.write()


def _prediction(folder: Path, case: str) -> np.ndarray:
    for name in (f"{case}_seg.nii.gz", f"{case}.nii.gz", f"{case}.nii"):
        if (folder / name).exists():
            return read_labels(folder / name).array
    raise InputError(f"{case}: no label map in {folder}; expected {case}_seg.nii.gz")


def _say(line: str) -> None:
    if line:
        print(line, file=sys.stderr)
