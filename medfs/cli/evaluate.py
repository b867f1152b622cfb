"""``medfs evaluate``: scores in millimetres on the grid of the files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Convention(StrEnum):
    """Policy for organs that are empty in the prediction or in the reference."""

    medfs = "medfs"
    monai = "monai"
    tak = "tak"
    few_shot = "few_shot"


def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder with images/ and labels/, a datalist, or split.json of a run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tables; made if missing.")],
    bundle: Annotated[Path | None, typer.Option("--bundle", "-b", help="Run that segments the cases first.")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Folder of label maps to score instead, named <case>_seg.nii.gz or <case>.nii.gz."),
    ] = None,
    labels: Annotated[str, typer.Option(help="Label set of --predictions; a run knows its own.")] = "amos",
    convention: Annotated[Convention, typer.Option(help="Policy for empty organs.")] = Convention.medfs,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    trust: Annotated[bool, typer.Option("--trust", help="Run the code of a bundle that is not medfs' own.")] = False,
) -> int:
    """Score a run, or label maps that exist already: Dice, IoU, HD95, ASD and NSD per case and organ.

    Writes scores.csv, summary.json and summary.md; every mean says how many cases it stands on. With a split.json its
    test cases count (its validation cases if it has none), else every case with a label. A case that cannot be scored
    is reported and the others count: exit code 0 all scored, 1 some, 3 none.
    """
    from medfs.errors import UsageError

    if (bundle is None) == (predictions is None):
        raise UsageError("name what to score: either a run with --bundle or label maps with --predictions")
    if not data.exists():
        raise UsageError(f"{data}: no such dataset; expected a folder with images/ and labels/, or split.json")
    from medfs.engines.evaluation import evaluation_items

    items = evaluation_items(data)
    if bundle is not None:
        from medfs.inference.evaluation import evaluate_run

        return int(evaluate_run(items, bundle, output, convention=convention.value, device=device, trust=trust))
    from medfs.inference.evaluation import evaluate_predictions

    assert predictions is not None
    return int(evaluate_predictions(items, predictions, output, labels, convention=convention.value))
