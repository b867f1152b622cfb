"""``medfs supervoxels``: pieces of scans, from which few-shot methods learn without labels."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medfs.cli.progress import in_part, parse_part, say
from medfs.cli.supervision import supervise


class Mask(StrEnum):
    """What is cut into supervoxels."""

    body = "body"
    published = "published"
    none = "none"


def supervoxels(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="Scans, folders of scans or patterns.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; made if missing.")],
    min_size: Annotated[int, typer.Option(help="Smallest supervoxel in voxels; not the number of supervoxels.")] = 5000,
    scale: Annotated[float, typer.Option(help="Larger ones give larger supervoxels; at 1, --min-size decides.")] = 1.0,
    sigma_mm: Annotated[float, typer.Option(help="Smooth the scan by so much beforehand; 0 for not at all.")] = 0.0,
    mask: Annotated[
        Mask, typer.Option(help="Cut up the body alone, the body as the published code finds it, or everything.")
    ] = Mask.body,
    preview: Annotated[bool, typer.Option("--preview", help="Also write a PNG of three planes.")] = False,
    workers: Annotated[int, typer.Option(help="Scans at a time.")] = 1,
    part: Annotated[
        str, typer.Option(help="Do one part of the cases only, e.g. 2/8 on the second of 8 machines.")
    ] = "1/1",
    timeout_min: Annotated[
        float | None, typer.Option(help="End a case that takes longer, in minutes; with one worker.")
    ] = None,
) -> int:
    """Cut scans into supervoxels, the pseudo-organs of self-supervised few-shot training.

    Writes <case>.nii.gz on the grid of each scan, 0 outside the mask and ids from 1, and report.jsonl, report.json and
    report.csv. Called again, it goes on where it was stopped; called several times at once, the calls share the work. A
    case that fails is reported and the others go on: exit code 0 all done, 1 some failed, 3 none could be done, 4 the
    output cannot be written.
    """
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import track

    from medfs.errors import UsageError
    from medfs.inference.supervoxels import SupervoxelRecord, SupervoxelRun, expected_bytes
    from medfs.io import find_images

    run = SupervoxelRun(output, min_size, scale, sigma_mm, mask.value, preview, workers, parse_part(part))
    if workers > 1 and timeout_min is not None:
        raise UsageError("--timeout-min: ends one case at a time; expected --workers 1, call the command several times")
    cases = find_images(inputs)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    at_a_time = min(workers, len(cases))
    memory = expected_bytes(cases.values(), at_a_time) / 1e9
    console.print(
        f"{len(cases)} {'case' if len(cases) == 1 else 'cases'}, {at_a_time} at a time"
        + (f"; up to about {memory:.2g} GB of memory" if memory else "")
    )
    if workers == 1:  # a crash of several at once would have no name
        run = replace(run, since=supervise(output, timeout_min))
    total = in_part(len(cases), run.part)
    count = iter(track(range(total), "cutting", console=console, disable=not console.is_terminal))

    def report(record: SupervoxelRecord) -> None:
        place = next(count) + 1
        pieces = "supervoxel" if record.supervoxels == 1 else "supervoxels"
        found = f"{record.supervoxels} {pieces} in {record.seconds:.1f} s"
        outcome = record.error or ("as before" if record.status == "skipped" else found)
        outcome += "".join(f"; {line}" for line in record.warnings)
        say(console, f"[{place}/{total}] {record.case}: {record.status}, {outcome}")

    return int(run.run(cases, report))
