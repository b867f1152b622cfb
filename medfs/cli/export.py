"""``medfs export``: label maps for 3D Slicer, spreadsheets and eyes."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    source: Annotated[Path, typer.Argument(metavar="LABELS", help="A label map (NIfTI and others), or a folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A file *.seg.nrrd, or a folder; made if missing.")],
    labels: Annotated[
        str | None,
        typer.Option(help="What the values mean: a label set (amos), or names from value 1 on (liver,spleen)."),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="The scan, or the folder of scans, for --preview.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Also write a PNG of three planes.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Also write Slicer's colour table, <case>_seg.csv.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Also write statistics.csv with volumes.")] = False,
) -> int:
    """Turn label maps into segmentations that 3D Slicer opens with names, colours and SNOMED CT codes.

    A label map that fails is reported and the others go on: exit code 0 all done, 1 some failed, 3 none could be done,
    4 the output cannot be written.
    """
    from medfs.anatomy import resolve_label_set
    from medfs.errors import ExitCode, MedfsError, StorageError, UsageError

    if preview != (image is not None):
        raise UsageError("--preview and --image go together: a preview shows the scan below the outlines")
    if csv and labels is None:
        raise UsageError("--csv needs --labels, which says what the values mean")
    label_set = None if labels is None else resolve_label_set(labels)

    import warnings

    from rich.console import Console
    from rich.progress import track

    from medfs.export import plan_export, write_table

    jobs = plan_export(source, output, image)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    rows, failed = [], 0
    for job in track(jobs, "exporting", console=console, disable=not console.is_terminal, transient=True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                rows += job.run(label_set, color_table=csv)
            except StorageError:
                raise
            except MedfsError as error:
                failed += 1
                console.print(f"medfs: {error}", markup=False)
        for warning in caught:
            if issubclass(warning.category, UserWarning):
                console.print(f"medfs: warning: {warning.message}", markup=False)
    if stats and rows:
        write_table(_statistics_path(output), rows)
    console.print(f"{len(jobs) - failed} of {len(jobs)} exported to {output}", markup=False)
    return int(ExitCode.OK if not failed else ExitCode.SOME_FAILED if failed < len(jobs) else ExitCode.NOTHING_DONE)


def _statistics_path(output: Path) -> Path:
    """``statistics.csv`` in a folder; ``<name>_statistics.csv`` beside a single file."""
    if not output.name.lower().endswith(".seg.nrrd"):
        return output / "statistics.csv"
    return output.with_name(output.name[: -len(".seg.nrrd")] + "_statistics.csv")
