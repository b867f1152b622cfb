"""``medfs demo``: the whole way on data it makes itself."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything the demo makes.")] = Path(
        "demo"
    ),
    steps: Annotated[int | None, typer.Option(min=6, help="Training steps, a multiple of 6; more is better.")] = None,
    seed: Annotated[int, typer.Option(help="Other torsos, other weights.")] = 0,
) -> None:
    """Make synthetic torsos, train on 3 labels and 12 unlabelled ones, segment 6 others, score and show them.

    Needs neither network nor GPU; about five minutes on two cores.
    """
    typer.echo("loading torch and MONAI ...")

    import time

    from medfs.inference.demo import DemoPlan, run_demo

    start = time.monotonic()
    plan = DemoPlan(seed=seed) if steps is None else DemoPlan(seed=seed, epoch_length=steps // DemoPlan().epochs)
    run_demo(output, plan, typer.echo)
    typer.echo(f"done in {(time.monotonic() - start) / 60:.1f} minutes")
