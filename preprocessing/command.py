"""The command line that all recipes share."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from medfs.errors import ExitCode, InputError, MedfsError
from preprocessing.pipeline import OnCase, RecipeRun
from preprocessing.recipe import RawDataset, Recipe
from preprocessing.records import RecipeRecord
from preprocessing.splits import Lists, write_datalist


def main(recipe: Recipe, arguments: Sequence[str] | None = None) -> int:
    """Run a recipe with the arguments of the command line; returns a code of :class:`~medfs.errors.ExitCode`."""
    signal.signal(signal.SIGTERM, _terminated)
    options = _parser(recipe).parse_args(arguments)
    if getattr(options, "published_sizes", False):
        recipe = recipe.with_published_sizes()
    try:
        wanted = getattr(options, "split", None) or ""
        lists = recipe.splits.lists(wanted, options.validation) if recipe.splits and wanted else None
        run = RecipeRun(recipe, options.source, options.output, options.seed)
        dataset = run.find()
        code = run.run(dataset, _reporter(len(dataset.cases)))
        min_size = getattr(options, "supervoxels", None)
        if min_size is not None and code != ExitCode.NOTHING_DONE:
            code = max(code, min(_cut(run.output, min_size), ExitCode.SOME_FAILED))
        if lists is not None and code != ExitCode.NOTHING_DONE:
            code = max(code, _split(recipe, dataset, lists, run.output / f"datalist_{Path(wanted).stem}.json"))
    except MedfsError as error:
        print(f"medfs: {error}", file=sys.stderr)
        # what a single case meets never comes this far
        return int(ExitCode.NOTHING_DONE if isinstance(error, InputError) else error.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    return int(code)


def _parser(recipe: Recipe) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"python -m preprocessing.{recipe.name}", description=recipe.about)
    parser.add_argument("source", metavar="SRC", type=Path, help="folder of the raw dataset; it is only read")
    parser.add_argument("output", metavar="DST", type=Path, help="folder of the results; a second call resumes")
    parser.add_argument("--seed", type=int, default=0, help="of the folds, where the dataset has no published ones")
    if recipe.has_published_sizes():
        text = "sizes of the published files: an exact fit has one more sample, outside the field"
        parser.add_argument("--published-sizes", action="store_true", help=text)
    if recipe.splits:
        known = ", ".join(recipe.splits.names())
        text = f"also write datalist_NAME.json for medfs train: {known} as published, or a JSON file of case lists"
        parser.add_argument("--split", metavar="NAME", help=text)
        text = "with --split: text file of the validation cases, one a line, in place of the split's own"
        parser.add_argument("--validation", metavar="FILE", type=Path, help=text)
    if not recipe.pictures:
        text = "also write supervoxels of at least so many voxels, as medfs supervoxels does"
        parser.add_argument("--supervoxels", metavar="MIN_SIZE", type=int, help=text)
    return parser


def _reporter(total: int) -> OnCase:
    """A line for each case, and a bar below them on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    places = iter(track(range(total), "preprocessing", console=console, disable=not console.is_terminal))

    def report(record: RecipeRecord, kept: bool) -> None:
        place = next(places) + 1
        outcome = record.error or ("unchanged" if kept else f"{record.seconds:.1f} s")
        outcome += "; no labels" if record.status == "done" and record.labels is None else ""
        notes = "".join(f"; {line}" for line in record.warnings)
        console.print(f"[{place}/{total}] {record.case}: {record.status}, {outcome}{notes}", markup=False)

    return report


def _cut(output: Path, min_size: int) -> ExitCode:
    """Write ``supervoxels/`` for all images of a dataset."""
    from medfs.inference.supervoxels import SupervoxelRecord, SupervoxelRun
    from medfs.io import find_images

    def report(record: SupervoxelRecord) -> None:
        outcome = record.error or ("unchanged" if record.status == "skipped" else f"{record.supervoxels} supervoxels")
        print(f"{record.case}: {outcome}", file=sys.stderr)

    return SupervoxelRun(output / "supervoxels", min_size).run(find_images([output / "images"]), report)


def _split(recipe: Recipe, dataset: RawDataset, lists: Lists, path: Path) -> ExitCode:
    """Write the datalist of a split, say what it holds and what it leaves open."""
    assert recipe.splits is not None
    folders = {case.name: case.sources[0].parent.name if case.sources else "" for case in dataset.cases}
    sections = recipe.splits.sections(lists, folders)
    try:
        write_datalist(path, sections)
    except InputError as error:
        print(f"medfs: {error}", file=sys.stderr)
        return ExitCode.SOME_FAILED
    print(f"{path}: {', '.join(f'{len(cases)} {part}' for part, cases in sections.items())}", file=sys.stderr)
    if not sections["validation"] and recipe.splits.without_validation:
        print(recipe.splits.without_validation, file=sys.stderr)
    return ExitCode.OK


def _terminated(number: int, frame: object) -> NoReturn:
    raise SystemExit(int(ExitCode.TERMINATED))
