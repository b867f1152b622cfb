"""``medfs episodes``: what can be drawn from a folder, counted and shown."""

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medfs.fewshot import EpisodeSampler
    from medfs.fewshot.modes import EpisodeMode


class Mode(StrEnum):
    """How support and query are paired."""

    slice = "slice"
    two_view = "two_view"
    slab = "slab"
    volume = "volume"
    across_patients = "across_patients"


class Policy(StrEnum):
    """Which slices an excluded organ takes with it."""

    any = "any"
    all = "all"


def episodes(
    data: Annotated[Path, typer.Argument(help="Folder with images/, supervoxels/ and perhaps labels/.")],
    supervoxels: Annotated[
        Path | None, typer.Option(help="Folder of the supervoxels, if it is not beside images/.")
    ] = None,
    mode: Annotated[
        Mode,
        typer.Option(
            help="slice: neighbouring slices of a volume; two_view: one slice, augmented twice; slab: neighbouring "
            "slabs; volume: blocks of one volume; across_patients: organs of different patients."
        ),
    ] = Mode.slice,
    depth: Annotated[int | None, typer.Option(help="Slices of a slab or a block.")] = None,
    min_pixels: Annotated[int, typer.Option(help="Pixels that one slice must show of the object.")] = 200,
    exclude: Annotated[str, typer.Option(help="Organs that must not be seen, e.g. liver,spleen.")] = "",
    policy: Annotated[
        Policy, typer.Option(help="Drop slices with any excluded organ, or, as published, only those with all.")
    ] = Policy.any,
    labels: Annotated[str, typer.Option(help="Label set of labels/: its name, or the organs from value 1 on.")] = "",
    seed: Annotated[int, typer.Option(help="Another seed, other episodes.")] = 0,
    preview: Annotated[Path | None, typer.Option(help="Draw the first episodes on this page, *.png.")] = None,
    count: Annotated[int, typer.Option(help="Episodes on the page.")] = 8,
    cache: Annotated[
        Path | None, typer.Option(help="Keep what was prepared in this folder; else nothing is kept.")
    ] = None,
) -> int:
    """Say which few-shot episodes a folder of scans gives, and show some.

    Supervoxels come from `medfs supervoxels`; label maps are needed to exclude organs and for across_patients alone.
    Exit code 0: all cases can be used, 1: some, 3: none.
    """
    from medfs.errors import ExitCode, NothingDoneError, UsageError

    if count < 1 or (preview is not None and preview.suffix.lower() != ".png"):
        raise UsageError(f"--count {count}, --preview {preview}; expected at least 1 episode and a name ending in .png")
    if not labels and (exclude or mode is Mode.across_patients):
        raise UsageError("organs have no names yet: say with --labels what the values in labels/ mean, e.g. chaos")
    names = _names(labels)
    organs = _values(exclude, names)
    from rich.console import Console
    from rich.progress import track

    from medfs.io import find_cases

    cases = find_cases(data)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"{len(cases)} {'case' if len(cases) == 1 else 'cases'}; preparing ...")

    from medfs.fewshot import EpisodeSampler, Exclusion, find_objects
    from medfs.inference.episodes import prepare_folder, supervoxel_folder

    chosen = _mode(mode, depth, min_pixels)
    maps = None if chosen.needs_organs else find_objects(cases, supervoxels or supervoxel_folder(data))
    tracked = track(cases, "preparing", console=console, disable=not console.is_terminal)
    with tempfile.TemporaryDirectory(prefix="medfs-") as temporary:
        folder = prepare_folder(tracked, maps, cache or temporary, needs_labels=bool(organs))
        for failure in folder.failures:
            console.print(f"left out: {failure}", markup=False)
        if not folder.cases:
            raise NothingDoneError(f"{data}: none of {len(cases)} cases can be used")
        sampler = EpisodeSampler(folder.cases, chosen, exclusion=Exclusion(organs, policy.value), seed=seed)
        typer.echo(_summary(sampler))
        if preview is not None:
            _draw(preview, sampler, count, dict(enumerate(names)) if chosen.needs_organs else None)
    return int(ExitCode.SOME_FAILED if folder.failures else ExitCode.OK)


def _draw(path: Path, sampler: "EpisodeSampler", count: int, names: dict[int, str] | None) -> None:
    from medfs.fewshot import EpisodeDataset
    from medfs.inference.episodes import write_episode_page
    from medfs.transforms.episodes import EpisodeAugmentation

    write_episode_page(path, EpisodeDataset(sampler, EpisodeAugmentation(), names=names), count)
    typer.echo(f"{path}: {count} {'episode' if count == 1 else 'episodes'}")


def _mode(mode: Mode, depth: int | None, min_pixels: int) -> "EpisodeMode":
    from medfs.errors import UsageError
    from medfs.fewshot.modes import AcrossPatients, AdjacentSlabs, AdjacentSlices, TwoCrops, TwoViews

    if depth is not None and mode in (Mode.slice, Mode.two_view):
        raise UsageError(f"--depth {depth}: --mode {mode} takes single slices; leave it out or choose slab")
    return {
        Mode.slice: lambda: AdjacentSlices(min_pixels),
        Mode.two_view: lambda: TwoViews(min_pixels),
        Mode.slab: lambda: AdjacentSlabs(depth=3 if depth is None else depth, min_pixels=min_pixels),
        Mode.volume: lambda: TwoCrops(depth=depth, min_pixels=min_pixels),
        Mode.across_patients: lambda: AcrossPatients(depth=depth, min_pixels=min_pixels),
    }[mode]()


def _names(labels: str) -> tuple[str, ...]:
    from medfs.anatomy import resolve_label_set

    return resolve_label_set(labels).names if labels else ()


def _values(organs: str, names: tuple[str, ...]) -> tuple[int, ...]:
    """Label values of organs named by a user."""
    from medfs.anatomy import find_organ
    from medfs.errors import UsageError

    found = [find_organ(name.strip()).name for name in organs.split(",")] if organs else []
    unknown = [name for name in found if name not in names[1:]]
    if unknown:
        raise UsageError(f"--exclude {unknown[0]}: not in the label set; expected some of {', '.join(names[1:])}")
    return tuple(names.index(name) for name in found)


def _summary(sampler: "EpisodeSampler") -> str:
    """A line per case and one for all."""
    tables = {table.case: table for table in sampler.tables}
    width = max(len("case"), *(len(case.name) for case in sampler.cases))
    lines = [f"{'case':{width}}  slices   seen  objects  usable  windows"]
    totals = [0] * 5
    for number, case in enumerate(sampler.cases):
        table = tables.get(number)
        usable = (len(table.ids), table.count) if table else (0, 0)
        seen = int(sampler.exclusion.allowed(case).sum())
        row = [case.index.length, seen, len(case.index.ids), *usable]
        totals = [total + value for total, value in zip(totals, row, strict=True)]
        lines.append(_line(case.name, width, row))
    return "\n".join([*lines, _line("all", width, totals)])


def _line(name: str, width: int, row: list[int]) -> str:
    return f"{name:{width}}  {row[0]:6}  {row[1]:5}  {row[2]:7}  {row[3]:6}  {row[4]:7}"
