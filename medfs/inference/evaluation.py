"""Scoring a run or a folder of label maps."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from medfs.anatomy import resolve_label_set
from medfs.engines.evaluation import NativeScores
from medfs.errors import ExitCode, InputError, MedfsError
from medfs.inference.folder import CaseRecord, FolderRun
from medfs.inference.segmenter import Segmenter
from medfs.io import Volume, read_labels, require_same_grid

Item = Mapping[str, str]


def evaluate_run(
    items: Sequence[Item],
    run: Path,
    output: Path,
    *,
    convention: str = "medfs",
    device: str = "auto",
    trust: bool = False,
) -> ExitCode:
    """Segment cases with a run, into ``predictions/`` below the output, and score them.

    A case that cannot be segmented is named and not scored; one that is segmented already is not segmented again.

    Returns:
        Whether all cases were scored.

    Raises:
        NothingDoneError: no case could be scored.
    """
    segmenter = Segmenter(run, device=device, trust=trust)
    cases = {item["case"]: Path(item["image"]) for item in items}
    done: set[str] = set()

    def note(record: CaseRecord) -> None:
        if record.error:
            _say(record.error)
        else:
            done.add(record.case)

    folder = FolderRun(
        segmenter, output / "predictions", parameters=segmenter.parameters, rung=lambda: segmenter.ladder.rung
    )
    folder.run(cases, note)
    scores = NativeScores(output, segmenter.label_set, convention)
    scored = _score_files([item for item in items if item["case"] in done], output / "predictions", scores)
    return scored if len(done) == len(cases) else ExitCode.SOME_FAILED


def evaluate_predictions(
    items: Sequence[Item], predictions: Path, output: Path, labels: str, *, convention: str = "medfs"
) -> ExitCode:
    """Score label maps named after the cases; a case without one, or with one elsewhere, is named and not scored.

    Returns:
        Whether all cases were scored.

    Raises:
        NothingDoneError: no case could be scored.
        UsageError: the label set is unknown.
    """
    return _score_files(items, predictions, NativeScores(output, resolve_label_set(labels), convention))


def _score_files(items: Sequence[Item], folder: Path, scores: NativeScores) -> ExitCode:
    code = ExitCode.OK
    for item in items:
        try:
            prediction, reference = _prediction(folder, item["case"]), Path(item["label"])
            truth = read_labels(reference)
            require_same_grid(truth, prediction, tolerance_mm=min(truth.spacing_mm) / 2)
            scores.add(prediction.array, reference, item["case"])
        except MedfsError as error:
            _say(str(error))
            code = ExitCode.SOME_FAILED
    scores.write()
    return code


def _prediction(folder: Path, case: str) -> Volume:
    for name in (f"{case}_seg.nii.gz", f"{case}.nii.gz", f"{case}.nii"):
        if (folder / name).exists():
            return read_labels(folder / name)
    raise InputError(f"{case}: no label map in {folder}; expected {case}_seg.nii.gz")


def _say(line: str) -> None:
    print(f"medfs: {line}", file=sys.stderr)
