"""``medfs bench``: methods side by side on your own data."""

from pathlib import Path
from typing import Annotated, Any

import typer

bench_app = typer.Typer(help="Compare methods on your own data, with equal cases and steps.", no_args_is_help=True)


@bench_app.callback()
def bench() -> None:
    """Compare methods on your own data, with equal cases and steps."""


@bench_app.command("semi-supervised")
def semi_supervised(
    data: Annotated[Path, typer.Argument(help="Folder with images/ and labels/; all labels are needed.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the runs and table.md.")],
    objectives: Annotated[
        str, typer.Option(help="Overlays of the bundle, the first one being what others are tested against.")
    ] = "supervised,mean_teacher,tak",
    arms: Annotated[
        Path | None, typer.Option(help="JSON with arms of your own in place of --objectives; see docs/bench.md.")
    ] = None,
    labelled: Annotated[str, typer.Option(help="Numbers of labelled cases, e.g. 4,10.")] = "4",
    seeds: Annotated[int, typer.Option(help="Trainings of each arm, with labelled cases of their own.")] = 3,
    steps: Annotated[int, typer.Option(help="Steps of each training, a multiple of 10.")] = 400,
    labels: Annotated[str, typer.Option(help="Label set, or the organs from value 1 on.")] = "amos",
    validation: Annotated[int, typer.Option(help="Cases on which a run chooses its checkpoint.")] = 8,
    test: Annotated[int, typer.Option(help="Cases that are scored, the same for all.")] = 40,
    nsd_tolerance_mm: Annotated[float, typer.Option(help="Tolerance of the surface Dice.")] = 1.0,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="A value of train.json for all arms, e.g. --set filters=8.")
    ] = None,
) -> int:
    """Train each objective with the same cases and steps, score the same test cases, and test the differences.

    What is done is kept: the same command goes on after an interruption. An arm that fails stops no other.
    """
    from rich.console import Console

    from medfs.cli.train import assignments
    from medfs.errors import ExitCode, UsageError
    from medfs.io.bundles import find_bundle

    numbers = [int(part) for part in labelled.split(",") if part.strip().isdecimal()]
    if (
        not numbers
        or len(numbers) != len(labelled.split(","))
        or min(*numbers, seeds, test) < 1
        or steps % 10
        or steps < 10
    ):
        raise UsageError(
            f"--labelled {labelled}, --seeds {seeds}, --test {test}, --steps {steps}; "
            "expected whole numbers from 1, e.g. 4,10, and a multiple of 10 for the steps"
        )
    config = find_bundle("multi_organ_tak_segmentation") / "configs" / "train.json"
    values: dict[str, Any] = assignments(overrides or [], config)
    from medfs.inference.comparison import Arms, Comparison

    chosen = Arms.read(arms) if arms else Arms.of_overlays([name.strip() for name in objectives.split(",")])
    comparison = Comparison(
        data, output, labels, chosen, tuple(numbers), seeds, steps, validation, test, nsd_tolerance_mm, values
    )
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    table, failed = comparison.run(lambda line: console.print(line, markup=False))
    typer.echo(table)
    return int(ExitCode.SOME_FAILED if failed else ExitCode.OK)
