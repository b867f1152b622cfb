"""The ``medfs`` command: assembles the commands and turns errors into one line and an exit code."""

import signal
import sys
import warnings
from types import FrameType
from typing import NoReturn, TextIO

import typer

import medfs
from medfs.cli.bench import bench_app
from medfs.cli.bundle import bundle_app
from medfs.cli.convert_checkpoint import convert_checkpoint
from medfs.cli.demo import demo
from medfs.cli.doctor import doctor
from medfs.cli.episodes import episodes
from medfs.cli.evaluate import evaluate
from medfs.cli.export import export
from medfs.cli.fewshot import fewshot
from medfs.cli.segment import segment
from medfs.cli.supervoxels import supervoxels
from medfs.cli.text import text_app
from medfs.cli.train import train
from medfs.errors import ExitCode, MedfsError


def _leave(code: int | None, **options: object) -> NoReturn:
    """End with what a command returned; commands that return nothing went well."""
    raise typer.Exit(int(code or ExitCode.OK))


app = typer.Typer(
    name="medfs",
    help="Segment 3D medical images from few labels: train, segment a folder, evaluate, export.",
    no_args_is_help=True,
    result_callback=_leave,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"medfs {medfs.__version__}")
        raise typer.Exit


@app.callback()
def medfs_command(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Segment 3D medical images from few labels: train, segment a folder, evaluate, export."""


for command in (train, segment, fewshot, evaluate, export, supervoxels, episodes, convert_checkpoint, demo, doctor):
    app.command()(command)
app.add_typer(text_app, name="text")
app.add_typer(bench_app, name="bench")
app.add_typer(bundle_app, name="bundle")


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as one line, without the place in the code."""
    print(f"medfs: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(int(ExitCode.TERMINATED))


def main() -> NoReturn:
    """Run the command line and leave with a code of `medfs.errors.ExitCode`."""
    signal.signal(signal.SIGTERM, _terminated)
    warnings.showwarning = _warned
    warnings.filterwarnings("ignore", "Detected pickle protocol")  # torch says it before it refuses
    try:
        app(prog_name="medfs")
    except MedfsError as error:
        print(f"medfs: {error}", file=sys.stderr)
        sys.exit(int(error.exit_code))
    sys.exit(int(ExitCode.OK))
