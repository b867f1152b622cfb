"""Scores on the grid of the file, in millimetres, as an evaluation engine runs."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

from medfs.anatomy import LabelSet
from medfs.errors import NothingDoneError
from medfs.io import Split, atomic_path, find_cases, make_folder, read_labels
from medfs.metrics import OrganScore, Summary, format_table, score_case, score_rows, summarise, summary_rows


def evaluation_items(data: str | Path) -> list[dict[str, str]]:
    """Cases to evaluate: the test cases of a split (its validation cases if it has none), else every labelled case.

    Args:
        data: folder with ``images/`` and ``labels/``, a MONAI datalist, or the ``split.json`` of a run.

    Raises:
        NothingDoneError: there is no labelled case.
    """
    if Path(data).name == "split.json":
        split = Split.read(data)
        items = split.items("test") or split.items("validation")
    else:
        items = [case.item() for case in find_cases(data) if case.label is not None]
    if not items:
        raise NothingDoneError(f"{data}: no labelled case to evaluate; expected labels/")
    return items


class NativeScores:
    """Score each predicted label map against its reference and write the tables at the end.

    Expects decollated batches with ``label`` (path of the reference) and ``case``, and outputs whose ``pred``
    (1, *S) lies on the grid of the file. Writes ``scores.csv`` (a row per case and organ), ``summary.json`` and
    ``summary.md``.

    Args:
        output_dir: where the tables go.
        label_set: the organs.
        convention: policy for empty organs; see `medfs.metrics.score_case`.
        nsd_tolerance_mm: tolerance of the surface Dice.
    """

    def __init__(
        self,
        output_dir: str | Path,
        label_set: LabelSet,
        convention: str = "medfs",
        nsd_tolerance_mm: float = 2.0,
    ) -> None:
        self.output_dir, self.label_set = Path(output_dir), label_set
        self.convention, self.nsd_tolerance_mm = convention, nsd_tolerance_mm
        self.scores: list[OrganScore] = []

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        engine.add_event_handler(Events.STARTED, lambda engine: self.scores.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.COMPLETED, lambda engine: self.write())

    def _score(self, engine: Any) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            self.add(torch.as_tensor(output["pred"][0]).numpy(force=True), Path(item["label"]), str(item["case"]))

    def add(self, prediction: np.ndarray, reference: Path, case: str) -> None:
        """Score one label map (*S) against a reference file of the same grid."""
        truth = read_labels(reference)
        self.scores += score_case(
            prediction,
            truth.array,
            truth.spacing_mm,
            {value: name for value, name in enumerate(self.label_set.names) if value > 0},
            case=case,
            nsd_tolerance_mm=self.nsd_tolerance_mm,
            convention=self.convention,  # type: ignore[arg-type]
        )

    def write(self) -> Summary:
        """Write the tables, print the summary and return it."""
        if not self.scores:
            raise NothingDoneError("no case was scored; expected predictions with references")
        summary = summarise(self.scores)
        table = format_table(summary)
        rows: list[dict[str, Any]] = score_rows(self.scores)
        make_folder(self.output_dir)
        with atomic_path(self.output_dir / "scores.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        with atomic_path(self.output_dir / "summary.json") as temporary:
            temporary.write_text(json.dumps(summary_rows(summary), indent=2) + "\n")
        with atomic_path(self.output_dir / "summary.md") as temporary:
            temporary.write_text(table + "\n")
        print(table)
        return summary
