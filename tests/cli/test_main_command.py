"""The command line as a whole: help, usage errors, exit codes, and how little it loads."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import typer

from medfs import errors
from medfs.cli import main
from medfs.cli.main import app
from medfs.errors import ExitCode, MedfsError


def commands(group, path=()):
    """The path of every command, groups included."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


ALL = list(commands(typer.main.get_command(app)))


def test_the_commands_are_these():
    few_shot = {"fewshot", "supervoxels", "episodes", "convert-checkpoint"}
    others = {"train", "segment", "evaluate", "export", "demo", "doctor", "text", "bench", "bundle"}
    assert {path[0] for path in ALL if path} == few_shot | others


@pytest.mark.parametrize("path", ALL, ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself(medfs, path, option):
    code, out, err = medfs(*path, option)
    assert code == ExitCode.OK
    assert f"Usage: medfs {' '.join(path)}".strip() in " ".join(out.split())
    assert err == ""


def test_the_version_is_that_of_the_package(medfs):
    import medfs as package

    assert medfs("--version") == (0, f"medfs {package.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bogus"], "No such option: --bogus"),
        (["segmnt"], "Did you mean 'segment'?"),
        (["bundle", "lst"], "No such command 'lst'"),
        (["segment", "a.nii", "--nope"], "No such option: --nope"),
        (["segment"], "Missing argument 'INPUT'"),
        (["segment", "a.nii"], "Missing option '--output'"),
        (["demo", "--steps", "many"], "Invalid value for '--steps'"),
        (["demo", "--steps", "0"], "Invalid value for '--steps'"),
        (["evaluate", "x", "-o", "y", "--convention", "mine"], "Invalid value for '--convention'"),
        (["train", "x", "-o", "y", "--epochs", "many"], "Invalid value for '--epochs'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_is_explained_without_a_traceback(medfs, arguments, said):
    code, out, err = medfs(*arguments)
    assert code == ExitCode.USAGE
    assert out == ""
    assert said in err
    assert "Usage: medfs" in err
    assert "Traceback" not in err
    assert len(err.splitlines()) < 10


@pytest.mark.parametrize("group", [[], ["text"], ["bundle"]])
def test_a_group_alone_shows_its_help(medfs, group):
    code, out, err = medfs(*group)
    assert code == ExitCode.USAGE
    assert "Usage: medfs" in out + err
    assert "Traceback" not in err


FAMILY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MedfsError)]


@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_of_ours_is_one_line_and_the_code_of_its_class(medfs, monkeypatch, kind):
    def fail():
        raise kind("a.nii.gz: spacing 0 mm\nalong z")

    monkeypatch.setattr("medfs.io.bundles.bundle_names", fail)
    code, out, err = medfs("bundle", "list")
    assert (code, out, err) == (kind.exit_code, "", "medfs: a.nii.gz: spacing 0 mm along z\n")


def test_exit_codes_are_distinct_and_as_documented():
    codes = {kind.__name__: int(kind.exit_code) for kind in FAMILY}
    assert codes == {
        "MedfsError": 1,
        "InputError": 1,
        "UsageError": 2,
        "NothingDoneError": 3,
        "StorageError": 4,
        "DivergedError": 5,
    }


def test_an_interrupted_command_ends_with_130(medfs, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("medfs.io.bundles.bundle_names", interrupted)
    code, _, err = medfs("bundle", "list")
    assert code == ExitCode.INTERRUPTED
    assert "Traceback" not in err


def test_a_fault_of_medfs_keeps_its_traceback(monkeypatch, medfs):
    def broken():
        raise ZeroDivisionError

    monkeypatch.setattr("medfs.io.bundles.bundle_names", broken)
    monkeypatch.setattr("sys.argv", ["medfs", "bundle", "list"])
    from medfs.cli.main import main

    with pytest.raises(ZeroDivisionError):
        main()


HEAVY = ("torch", "monai", "ignite", "matplotlib", "SimpleITK", "transformers", "scipy", "nibabel", "numpy", "pandas")
CALLS = [
    ["--help"],
    ["segment", "--help"],
    ["train", "--help"],
    ["--bogus"],
    ["segment", "missing.nii.gz", "-o", "out"],
    ["segment", "missing.nii.gz", "-o", "out", "--bundle", "run"],
    ["train", "missing", "-o", "out"],
    ["evaluate", "missing", "-o", "out"],
    ["bundle", "list"],
]
PROBE = """
import json, sys
from medfs.cli.main import main
found, (calls, heavy) = [], map(json.loads, sys.argv[1:])
for call in calls:
    sys.argv = ["medfs", *call]
    try:
        main()
    except SystemExit as end:
        found.append([end.code, [name for name in heavy if name in sys.modules]])
print("RESULT" + json.dumps(found))
"""


def with_medfs():
    """An environment in which a process in any folder finds the package under test."""
    package = str(Path(errors.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}


@pytest.mark.subprocess
def test_help_and_usage_errors_load_neither_torch_nor_monai(tmp_path):
    call = [sys.executable, "-c", PROBE, json.dumps(CALLS), json.dumps(HEAVY)]
    done = subprocess.run(call, cwd=tmp_path, env=with_medfs(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.partition("RESULT")[2])
    assert [code for code, _ in found] == [0, 0, 0, 2, 2, 2, 2, 2, 0]
    torch_like = set(HEAVY) - {"numpy", "nibabel", "scipy"}
    for call, (_, loaded) in zip(CALLS, found, strict=True):
        assert not torch_like & set(loaded), call
    assert found[3][1] == []


@pytest.mark.subprocess
def test_python_m_medfs_is_the_command_and_sigterm_ends_it_with_143():
    script = (
        "import time\nimport medfs.io.bundles as bundles\n"
        "def slow():\n    print('started', flush=True)\n    time.sleep(60)\n"
        "bundles.bundle_names = slow\n"
        "import runpy, sys\nsys.argv = ['medfs', 'bundle', 'list']\nrunpy.run_module('medfs', run_name='__main__')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=with_medfs(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "started\n"
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == ExitCode.TERMINATED
    assert "Traceback" not in err


def test_a_warning_is_one_line_without_a_place_in_the_code(capsys, monkeypatch):
    def warns(**_):
        warnings.warn("cache.npz: damaged;\n  made again", stacklevel=1)

    monkeypatch.setattr(sys, "argv", ["medfs"])
    monkeypatch.setattr(main, "app", warns)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit):
        main.main()
    assert capsys.readouterr().err == "medfs: warning: cache.npz: damaged; made again\n"
