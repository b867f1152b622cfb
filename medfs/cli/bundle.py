"""``medfs bundle``: the bundles that come with medfs."""

from pathlib import Path
from typing import Annotated

import typer

bundle_app = typer.Typer(help="The MONAI bundles that come with medfs.", no_args_is_help=True)


@bundle_app.command("list")
def list_bundles() -> None:
    """List the bundles with what they do and where they are."""
    import json

    from medfs.io.bundles import bundle_names, find_bundle

    for name in bundle_names():
        folder = find_bundle(name)
        metadata = json.loads((folder / "configs" / "metadata.json").read_text())
        typer.echo(f"{name} {metadata['version']}: {metadata['description']}\n    {folder}")


@bundle_app.command("export")
def export_bundle(
    name: Annotated[str, typer.Argument(help="Name of the bundle; see medfs bundle list.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the copy.")],
) -> None:
    """Copy a bundle to a folder of your own, to change it or to run it with python -m monai.bundle."""
    import shutil

    from medfs.errors import UsageError
    from medfs.io.bundles import find_bundle

    folder = find_bundle(name)
    if output.exists():
        raise UsageError(f"{output}: exists already; name a new folder")
    shutil.copytree(folder, output)
    typer.echo(f"{output}: {name}")


@bundle_app.command("check")
def check(
    bundle: Annotated[str, typer.Argument(metavar="NAME|FOLDER", help="A bundle of medfs, or any bundle's folder.")],
    trust: Annotated[bool, typer.Option("--trust", help="Run the code of a bundle that is not medfs' own.")] = False,
) -> int:
    """Check a bundle offline: its files, metadata, the ids that MONAI and MONAI Label read, and its network.

    Prints a line per fault and leaves with 2, or says that there is none. The configuration is code, and checking runs
    it: a bundle with code that medfs does not ship is refused without --trust.
    """
    import logging

    from medfs.errors import ExitCode
    from medfs.io.bundles import find_bundle

    folder = Path(bundle) if Path(bundle).is_dir() else find_bundle(bundle)
    from medfs.engines.trust import require_trusted

    if not trust:
        require_trusted(folder)
    from medfs.engines.bundle_check import check_bundle

    logging.disable(logging.WARNING)  # MONAI logs what it does
    try:
        faults = check_bundle(folder)
    finally:
        logging.disable(logging.NOTSET)
    for fault in faults:
        typer.echo(f"{folder}: {fault}")
    if not faults:
        typer.echo(f"{folder}: no fault found")
    return int(ExitCode.USAGE if faults else ExitCode.OK)
