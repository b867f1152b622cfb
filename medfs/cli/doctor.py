"""``medfs doctor``: what is wrong with the files of a folder, before anything trains on them."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from medfs.io.inspection import Checked
    from medfs.io.mending import Mended

Item = TypeVar("Item")


def doctor(
    data: Annotated[Path, typer.Argument(help="Folder of scans, with everything below it; or a file or datalist.")],
    labels: Annotated[
        str, typer.Option(help="Label set, or the organs from value 1 on: other values are faults.")
    ] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for notes, too.")] = False,
    report: Annotated[Path | None, typer.Option("--json", help="Also write what was found as JSON.")] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair into --output what needs no guess; copy the rest.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for --fix, apart from the data.")
    ] = None,
) -> int:
    """Read every file of a folder and say what is wrong with it, and with each pair of image and label map.

    A fault is what medfs refuses or what programs read differently; a note is peculiar and survived. Exit code 0: no
    fault, 1: faults, 2: nothing to look at, 4: --json or --output cannot be written. Nothing is changed in place.
    """
    from rich.console import Console

    from medfs.errors import ExitCode, UsageError
    from medfs.io.inspection import inspect
    from medfs.io.mending import mend, require_apart
    from medfs.io.scan_folders import find_targets

    if fix != (output is not None):
        raise UsageError("--fix and --output go together: --fix -o FOLDER repairs into that folder")
    if output is not None:
        require_apart(data, output)
    targets = find_targets(data)
    known = _known_values(labels)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    total = sum((target.image is not None) + (target.labels is not None) for target in targets)
    root = data if data.is_dir() else data.absolute().parent
    found = _told(inspect(targets, known), total, "reading", console, partial(_finding_lines, root=root))
    if output is not None:
        _told(mend(data, output, found), total, "repairing", console, partial(_mended_lines, root=root))
    if report is not None:
        _write_report(report, data, found, root)
    typer.echo(_summary(found))
    wrong = sum(len(checked.findings) if strict else checked.faults for checked in found)
    return int(ExitCode.SOME_FAILED if wrong else ExitCode.OK)


def _known_values(labels: str) -> Sequence[int]:
    if not labels:
        return ()
    from medfs.anatomy import resolve_label_set

    return range(len(resolve_label_set(labels).names))


def _told(
    items: Iterable[Item], total: int, verb: str, console: "Console", lines: Callable[[Item], list[str]]
) -> list[Item]:
    """All items, with their lines printed as they come, or below the bar once it is gone."""
    from rich.progress import track

    done, held = [], []
    for item in track(items, verb, total=total, console=console, disable=not console.is_terminal, transient=True):
        done.append(item)
        if console.is_terminal:
            held += lines(item)
        else:
            for line in lines(item):
                typer.echo(line)
    for line in held:
        typer.echo(line)
    return done


def _finding_lines(checked: "Checked", root: Path) -> list[str]:
    return [f"{finding.level:5}  {_place(checked.path, root)}: {finding.text}" for finding in checked.findings]


def _mended_lines(mended: "Mended", root: Path) -> list[str]:
    reason = f": {mended.reason}" if mended.reason else ""
    return [] if mended.action == "copied" else [f"{mended.action}  {_place(mended.path, root)}{reason}"]


def _place(path: Path, root: Path) -> str:
    """The path below ``root``, with what could forge a line escaped."""
    from medfs.io.names import shown

    absolute, root = path.absolute(), root.absolute()
    parts = absolute.relative_to(root).parts if absolute.is_relative_to(root) else absolute.parts[-1:]
    return "/".join(shown(part) for part in parts) or "."


def _summary(found: Sequence["Checked"]) -> str:
    nouns = {"image": "image", "labels": "label map", "supervoxels": "supervoxel map", "dicom": "DICOM folder"}
    counts = Counter(checked.role for checked in found)
    parts = [_number(counts[role], noun) for role, noun in nouns.items() if counts[role]]
    faulty = sum(checked.faults > 0 for checked in found)
    faults = sum(checked.faults for checked in found)
    notes = sum(len(checked.findings) for checked in found) - faults
    values = sorted({value for checked in found if checked.role == "labels" for value in checked.values})
    labels = f"; label values {_ranges(values)}" if values else ""
    where = f" in {faulty} of them" if faults else ""
    return f"{', '.join(parts)}: {_number(faults, 'fault')}{where}, {_number(notes, 'note')}{labels}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)


def _ranges(values: Sequence[int]) -> str:
    """Ascending numbers with runs drawn together, at most ten pieces.

    >>> _ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    pieces = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join(pieces[:10]) + (", ..." if len(pieces) > 10 else "")


def _write_report(path: Path, data: Path, found: Sequence["Checked"], root: Path) -> None:
    import json

    import medfs
    from medfs.io import atomic_path

    files = [
        {
            "file": _place(checked.path, root),
            "role": checked.role,
            "shape": list(checked.shape),
            "spacing_mm": [round(size, 6) for size in checked.spacing_mm],
            "voxels_by_label": {str(value): count for value, count in checked.values.items()},
            "findings": [asdict(finding) for finding in checked.findings],
        }
        for checked in found
    ]
    faults = sum(checked.faults for checked in found)
    content = {"medfs": medfs.__version__, "data": str(data), "faults": faults, "files": files}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
