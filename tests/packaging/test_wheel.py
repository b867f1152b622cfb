"""The source archive builds, the wheel built from it is complete, and what it installs works away from a checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ["medfs", "bundles", "csrc", "tests", "benchmarks", "preprocessing"]
SOURCES += ["LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg", "setup.py"]

pytestmark = [pytest.mark.slow, pytest.mark.subprocess]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The wheel, built from the source archive, and that archive."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    built = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=built)
        else:
            shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", output, source]
    # Away from the checkout, which would shadow what is being built.
    subprocess.run(build, check=True, cwd=output, env=plain_environment())
    return next(output.glob("*.whl")), next(output.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """Folder of the programs of an environment with the wheel and, by a path file, the dependencies from here."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=True)
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    install = [programs / "python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", archives[0]]
    subprocess.run(install, check=True, env=plain_environment())
    target = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
    # Path files inside the added folder are not followed, so an editable medfs there stays out of sight.
    Path(target, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def plain_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_", "VIRTUAL_ENV"))}


def answer_of(programs, folder, *command):
    command = [programs / command[0], *command[1:]]
    return subprocess.run(
        command, cwd=folder, env=plain_environment(), check=True, capture_output=True, text=True
    ).stdout


def test_the_wheel_holds_the_package_with_its_data_and_nothing_else(archives):
    names = set(zipfile.ZipFile(archives[0]).namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"medfs"}
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "medfs").rglob("*.py")}
    for path in (ROOT / "bundles").rglob("*"):
        expected |= {f"medfs/{path.relative_to(ROOT).as_posix()}"} if path.is_file() else set()
    expected |= {"medfs/anatomy/organs.csv", "medfs/text/priors/minilm.safetensors", "medfs/py.typed"}
    assert not expected - names
    assert any(name.startswith("medfs/_supervoxel.") and name.endswith((".so", ".pyd")) for name in names)


def test_the_source_archive_holds_the_core_and_no_generated_code(archives):
    with tarfile.open(archives[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "csrc").iterdir()} <= names
    assert not [name for name in names if name.endswith("_supervoxel.cpp")]


def test_the_command_answers_in_an_empty_folder(installed, tmp_path):
    assert "Segment 3D medical images" in answer_of(installed, tmp_path, "medfs", "--help")
    assert list(tmp_path.iterdir()) == []


def test_the_installed_bundles_are_listed(installed, tmp_path):
    listed = answer_of(installed, tmp_path, "medfs", "bundle", "list")
    for path in (ROOT / "bundles").iterdir():
        assert f"{path.name} " in listed
    assert str(ROOT) not in listed


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("from medfs.text import TextPrior; print(len(TextPrior.embedded('amos').names))", "16"),
        ("from medfs.anatomy import find_organ; print(find_organ('Liver').name)", "liver"),
        (
            "import numpy; from medfs.supervoxels import felzenszwalb_3d;"
            "print(felzenszwalb_3d(numpy.zeros((4, 4, 4)), spacing_mm=(1, 1, 1), min_size=1).max())",
            "0",
        ),
    ],
)
def test_what_ships_is_found_in_an_empty_folder(installed, tmp_path, statement, expected):
    assert answer_of(installed, tmp_path, "python", "-c", statement).strip() == expected
