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
