"""medfs bundle check: one line per fault, none for a good bundle."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medfs.cli.bundle import bundle_app
from medfs.engines.bundle_check import check_bundle
from medfs.errors import ExitCode, InputError

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A run to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def rewrite(path: Path, change: Change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_shipped_bundle_and_a_run_have_no_fault(bundle: Path, trained: Path):
    assert check_bundle(bundle) == []
    assert check_bundle(trained) == []


def test_the_command_says_that_there_is_no_fault(trained: Path):
    result = CliRunner().invoke(bundle_app, ["check", str(trained)], standalone_mode=False)
    assert result.return_value == ExitCode.OK
    assert result.stdout == f"{trained}: no fault found\n"


def test_the_command_prints_a_line_per_fault(tmp_path: Path):
    result = CliRunner().invoke(bundle_app, ["check", str(tmp_path)], standalone_mode=False)
    assert result.return_value == ExitCode.USAGE
    names = ("LICENSE", "configs/metadata.json", "configs/inference.json", "docs/README.md")
    assert result.stdout.splitlines() == [f"{tmp_path}: {name}: missing" for name in names]


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        check_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "change", "fault"),
    [
        ("metadata.json", lambda c: c.pop("numpy_version"), "configs/metadata.json: numpy_version missing"),
        (
            "metadata.json",
            lambda c: c.update(version="9.9.9"),
            "configs/metadata.json: changelog has no entry for version 9.9.9",
        ),
        (
            "metadata.json",
            lambda c: c["network_data_format"]["outputs"]["pred"]["channel_def"].pop("15"),
            "configs/metadata.json: pred has num_channels 16, but channel_def names 15",
        ),
        (
            "metadata.json",
            lambda c: c["network_data_format"].update(inputs={"scan": {}}),
            "configs/metadata.json: network_data_format::inputs begins with scan; expected image",
        ),
        (
            "inference.json",
            lambda c: c.update(labels="liver,spleen"),
            "configs/inference.json: network_def does not do what the metadata say "
            "(output channel number `3` doesn't match: `16`.)",
        ),
        (
            "inference.json",
            lambda c: c.pop("preprocessing"),
            "configs/inference.json: preprocessing or pre_transforms missing; MONAI Label reads it",
        ),
        ("train.json", lambda c: c["train"].pop("inferer"), "configs/train.json: train::inferer missing"),
        (
            "train.json",
            lambda c: c["validate"]["evaluator"].update(inferer="@train::inferer"),
            "configs/train.json: validate::inferer is not what its place in the workflow refers to; "
            "write @validate::inferer there",
        ),
        (
            "train.json",
            lambda c: c["train"]["handlers"].insert(0, "@train::keeper"),
            "configs/train.json: MONAI cannot check it (string indices must be integers, not 'str'); "
            "expected every handler as an object with _target_",
        ),
    ],
)
def test_a_fault_is_one_line(copy: Path, file: str, change: Change, fault: str):
    rewrite(copy / "configs" / file, change)
    assert check_bundle(copy) == [fault]


def test_files_that_are_no_configuration_are_named(copy: Path):
    (copy / "configs" / "metadata.json").write_text("{")
    (copy / "configs" / "evaluate.json").write_text("[]")
    (copy / "LICENSE").unlink()
    assert check_bundle(copy) == [
        "LICENSE: missing",
        "configs/evaluate.json: holds a list; expected an object",
        "configs/metadata.json: not readable as JSON (Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1))",
    ]
