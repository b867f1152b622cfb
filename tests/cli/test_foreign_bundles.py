"""Bundles and checkpoints that hold code: none of it runs, and what is wrong is said in one line."""

import io
import json
import os
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from tiny_run import NAMES, make_run

from medfs.engines.trust import foreign_code
from medfs.errors import ExitCode
from medfs.io import Volume, read_image, read_labels, write_image
from medfs.io.bundles import bundle_names, find_bundle
from medfs.phantom import phantom_case
from medfs.text import TextPrior


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    case = phantom_case(0, spacing_mm=16.0)
    path = tmp_path_factory.mktemp("scans") / "a.nii.gz"
    write_image(path, case.image, Volume.from_array(case.image, case.affine))
    return path


@pytest.fixture
def bundle(run, tmp_path):
    return shutil.copytree(run, tmp_path / "bundle")


CALL = "$__import__('os').system('touch CANARY')"
SYSTEM = {"_target_": "os.system", "command": "touch CANARY"}
# file in the bundle, and what is put into it: entries of a JSON object, or the whole text
CONFIGS = {
    "expression_in_imports": ("inference", {"imports": [CALL]}),
    "expression_as_value": ("inference", {"modality": CALL}),
    "expression_in_a_list": ("inference", {"spacing_mm": [1.0, CALL, 1.0]}),
    "expression_for_labels": ("inference", {"label_set": CALL}),
    "expression_after_a_blank": ("inference", {"label_set": " " + CALL}),
    "expression_in_run": ("inference", {"run": [CALL]}),
    "expression_in_initialize": ("inference", {"initialize": [CALL]}),
    "new_expression": ("inference", {"helper": CALL, "label_set": "@helper"}),
    "target_system": ("inference", {"network_def": SYSTEM}),
    "target_subprocess": ("inference", {"inferer": {"_target_": "subprocess.run", "args": ["touch", "CANARY"]}}),
    "target_eval": ("inference", {"label_set": {"_target_": "builtins.eval", "_args_": [CALL[1:]]}}),
    "target_torch_load": ("inference", {"network_def": {"_target_": "torch.load", "f": "evil", "weights_only": False}}),
    "target_hub": (
        "inference",
        {"network_def": {"_target_": "torch.hub.load", "repo_or_dir": ".", "source": "local", "model": "evil"}},
    ),
    "target_run_path": ("inference", {"preprocessing": {"_target_": "runpy.run_path", "path_name": "evil.py"}}),
    "target_by_expression": ("inference", {"network_def": {"_target_": "$__import__('os').system", "command": "x"}}),
    "nested_target": ("inference", {"preprocessing": {"_target_": "Compose", "transforms": [SYSTEM]}}),
    "deeply_nested": (
        "inference",
        {"network_def": {"_target_": "medfs.networks.TextVNet", "a": {"b": [{"c": SYSTEM}]}}},
    ),
    "lambda": (
        "inference",
        {"preprocessing": {"_target_": "Lambda", "func": "$lambda x: __import__('os').system('touch CANARY')"}},
    ),
    "requires": ("inference", {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": 8, "_requires_": [CALL]}}),
    "disabled": ("inference", {"network_def": {"_target_": "medfs.networks.TextVNet", "_disabled_": CALL}}),
    "mode": ("inference", {"network_def": {"_target_": "medfs.networks.TextVNet", "_mode_": "debug"}}),
    "key_that_reaches_in": ("inference", {"network_def::_target_": "os.system"}),
    "key_that_adds": ("inference", {"+imports": [CALL]}),
    "target_at_the_top": ("inference", SYSTEM),
    "macro": ("inference", {"network_def": "%configs/evil.json::x"}),
    "yaml": ("inference.yaml", "!!python/object/apply:os.system ['touch CANARY']\n"),
    "metadata": ("metadata", {"description": CALL}),
    "training": ("train", {"imports": [CALL]}),
    "overlay": ("mine.json", json.dumps({"objective": SYSTEM})),
    "logging": ("logging.conf", "[handler_console]\nargs=(__import__('os').system('touch CANARY'),)\n"),
    "python": ("evil.py", "import os; os.system('touch CANARY')\n"),
}
VALUES = {
    "expression": {"modality": CALL},
    "expression_in_a_list": {"labels": ["liver", CALL]},
    "object": {"labels": SYSTEM},
    "reference": {"spacing_mm": "@network"},
    "another_folder": {"bundle": "../bundle"},
    "absolute_folder": {"bundle": "/tmp"},
}


def change(bundle, place, content, canary):
    text = json.dumps(content).replace("CANARY", str(canary))
    if isinstance(content, str):
        (bundle / "configs" / place).write_text(content.replace("CANARY", str(canary)))
        return
    path = bundle / "configs" / f"{place}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | json.loads(text)))


def refused(outcome, canary):
    assert not canary.exists()
    assert outcome.code in (ExitCode.SOME_FAILED, ExitCode.USAGE, ExitCode.NOTHING_DONE)
    lines = [line for line in outcome.err.splitlines() if line.startswith("medfs: ")]
    assert len(lines) == 1, outcome.err
    assert "Traceback" not in outcome.err
    return lines[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_with_code_of_its_own_is_not_run(medfs, bundle, scan, tmp_path, name):
    place, content = CONFIGS[name]
    canary = tmp_path / "ran"
    change(bundle, place, content, canary)
    checked = refused(medfs("bundle", "check", bundle), canary)
    assert "holds code that this version of medfs does not ship: configs/" in checked
    outcome = medfs("segment", scan, "-o", tmp_path / "out", "-b", bundle)
    if place.startswith("inference"):
        assert "--trust runs it" in refused(outcome, canary)
        refused(medfs("evaluate", bundle / "split.json", "-o", tmp_path / "out", "-b", bundle), canary)
        assert not (tmp_path / "out").exists()
    else:  # segmenting has no use for the file
        assert outcome.code == ExitCode.OK
        assert not canary.exists()


@pytest.mark.parametrize("name", ["expression_in_imports", "target_system", "nested_target", "expression_as_value"])
def test_the_same_configuration_does_harm_when_it_is_run(bundle, tmp_path, name):
    """What the test above is worth: MONAI runs what medfs refuses."""
    place, content = CONFIGS[name]
    change(bundle, place, content, tmp_path / "ran")
    parser = ConfigParser(json.loads((bundle / "configs" / "inference.json").read_text()))
    for part in ("imports", "network_def", "preprocessing", "modality"):
        try:
            parser.get_parsed_content(part)
        except Exception:  # the harm is done by then
            continue
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", VALUES)
def test_values_with_code_are_not_run(medfs, bundle, scan, tmp_path, name):
    canary = tmp_path / "ran"
    values = json.loads((bundle / "medfs.json").read_text())
    changed = json.loads(json.dumps(VALUES[name]).replace("CANARY", str(canary)))
    (bundle / "medfs.json").write_text(json.dumps(values | changed))
    refused(medfs("segment", scan, "-o", tmp_path / "out", "-b", bundle), canary)


class Payload:
    """Creates a file when it is unpickled without care."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def zipped(payload):
    """A checkpoint of torch whose pickle was exchanged."""
    whole = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, whole)
    evil = io.BytesIO()
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            target.writestr(name, pickle.dumps(payload) if name.endswith("data.pkl") else source.read(name))
    return evil.getvalue()


def saved(payload, **options):
    content = io.BytesIO()
    torch.save({"weight": payload}, content, **options)
    return content.getvalue()


CHECKPOINTS = {
    "pickle": pickle.dumps,
    "old_pickle": lambda payload: pickle.dumps(payload, protocol=0),
    "torch": saved,
    "torch_legacy": lambda payload: saved(payload, _use_new_zipfile_serialization=False),
    "zip": zipped,
    "module": lambda payload: (
        saved(torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(1))])) + pickle.dumps(payload)
    ),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_with_code_are_not_unpickled(medfs, bundle, scan, tmp_path, kind):
    canary, out = tmp_path / "ran", ("-o", tmp_path / "out")
    content = CHECKPOINTS[kind](Payload(canary))
    (bundle / "models" / "model.pt").write_bytes(content)
    refused(medfs("segment", scan, *out, "-b", bundle), canary)
    for name in ("network.pt", "network.safetensors", "prior.safetensors"):
        (tmp_path / name).write_bytes(content)
    few = ("fewshot", "--support", scan, "--support-mask", mask(scan, tmp_path), "--query", scan, *out)
    refused(medfs(*few, "--checkpoint", tmp_path / "network.safetensors"), canary)
    refused(
        medfs("convert-checkpoint", tmp_path / "network.pt", "--from", "adnet", "-o", tmp_path / "c.safetensors"),
        canary,
    )
    refused(medfs("segment", scan, *out, "-b", bundle, "--text-prior", tmp_path / "prior.safetensors"), canary)
    TextPrior.embedded(NAMES).save(tmp_path / "prior.safetensors")
    (bundle / "checkpoints" / "best.pt").write_bytes(content)
    refused(medfs("segment", scan, *out, "-b", bundle, "--text-prior", tmp_path / "prior.safetensors"), canary)


def test_the_payload_of_these_checkpoints_is_alive(tmp_path):
    with pytest.raises(AttributeError):
        torch.load(io.BytesIO(saved(Payload(tmp_path / "ran"))), weights_only=False)["weight"].shape  # noqa: B018
    assert (tmp_path / "ran").exists()


def mask(scan, folder):
    volume = read_image(scan)
    write_image(folder / "mask.nii.gz", (volume.array > np.median(volume.array)).astype(np.uint8), volume)
    return folder / "mask.nii.gz"


def test_with_trust_the_code_runs_after_it_was_named(medfs, bundle, scan, tmp_path):
    canary = tmp_path / "ran"
    change(bundle, "inference", {"overlap": "$[open('CANARY', 'w').close(), 0.5][1]"}, canary)
    outcome = medfs("segment", scan, "-o", tmp_path / "out", "-b", bundle, "--trust")
    assert "runs its own configs/inference.json: overlap = $[open(" in outcome.err.replace("\n", "")
    assert outcome.code == ExitCode.OK
    assert canary.exists()


def test_a_bundle_of_another_kind_is_run_with_trust_alone(medfs, run, bundle, scan, tmp_path):
    (bundle / "medfs.json").unlink()
    values = json.loads((run / "medfs.json").read_text())
    change(bundle, "inference", {"label_set": None}, tmp_path)
    content = json.loads((bundle / "configs" / "inference.json").read_text())
    del content["label_set"]
    content["network_def"]["classes"] = len(NAMES)
    assert content["spacing_mm"] == values["spacing_mm"]
    (bundle / "configs" / "inference.json").write_text(json.dumps(content))
    without = medfs("segment", scan, "-o", tmp_path / "out", "-b", bundle)
    assert without.code == ExitCode.SOME_FAILED
    assert medfs("segment", scan, "-o", tmp_path / "out", "-b", bundle, "--trust").code == ExitCode.OK
    medfs("segment", scan, "-o", tmp_path / "own", "-b", run)
    expected, found = (read_labels(tmp_path / folder / "a_seg.nii.gz").array for folder in ("own", "out"))
    np.testing.assert_array_equal(found, expected)


def test_runs_and_copies_of_shipped_bundles_hold_no_foreign_code(run):
    assert foreign_code(run) == []
    for name in bundle_names():
        assert foreign_code(find_bundle(name), name) == []
