"""Overlays with cubes train, and the documentation names every overlay."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from medfs.engines.checkpoint import load_checkpoint
from medfs.engines.runs import run_bundle
from medfs.errors import UsageError
from medfs.inference import Segmenter
from medfs.io import read_image
from medfs.io.bundles import find_bundle
from medfs.networks import PlainVNet

WHOLE = {"train", "inference", "evaluate", "multi_gpu_train", "metadata", "published_inference"}
CONFIGS = find_bundle("multi_organ_tak_segmentation") / "configs"
OVERLAYS = sorted(path.stem for path in CONFIGS.glob("*.json") if path.stem not in WHOLE)


def has_cubes(overlay: str) -> bool:
    return "cubes" in json.loads((CONFIGS / f"{overlay}.json").read_text())


def trained_with(overlay: str, bundle: Path, values: dict[str, Any]) -> Any:
    """A run of two steps, in cubes of eight voxels."""
    changes = {"epochs": 1, "epoch_length": 2}
    if has_cubes(overlay):
        changes |= {"cubes": 2, "objective::hidden_channels": 32}
    return run_bundle(bundle, ["train.json", f"{overlay}.json"], {**values, **changes})


@pytest.mark.parametrize("overlay", [overlay for overlay in OVERLAYS if has_cubes(overlay)])
def test_an_overlay_with_cubes_trains_two_steps(
    overlay: str, bundle: Path, cohort: Path, small: dict[str, Any], tmp_path: Path
):
    values = {**small, "dataset_dir": str(cohort), "output_dir": str(tmp_path)}
    workflow = trained_with(overlay, bundle, values)
    stated = json.loads((CONFIGS / f"{overlay}.json").read_text())["objective"]["_target_"]
    assert type(workflow.trainer.objective).__name__ == stated.rpartition(".")[2]
    state = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert state["step"] == 2
    assert state["objective"].keys() == workflow.trainer.objective.state_dict().keys()
    assert all(torch.isfinite(value).all() for value in load_checkpoint(tmp_path / "models" / "model.pt").values())


def test_every_overlay_changes_what_training_has_and_is_documented(bundle: Path):
    train = json.loads((CONFIGS / "train.json").read_text())
    documented = re.findall(r"^\| `(\w+)\.json` \|", (bundle / "docs" / "README.md").read_text(), re.MULTILINE)
    assert sorted(documented) == OVERLAYS
    for name in OVERLAYS:
        stated = json.loads((CONFIGS / f"{name}.json").read_text())
        assert {key.partition("::")[0] for key in stated} <= set(train), name


@pytest.mark.parametrize(
    ("protocol", "objective", "steps"), [("amos", "tak", 161 * 212), ("synapse", "magicnet_ga", 17_000)]
)
def test_a_published_protocol_crops_at_random_and_trains_with_sgd(
    protocol: str, objective: str, steps: int, bundle: Path, cohort: Path, small: dict[str, Any], tmp_path: Path
):
    stated = json.loads((CONFIGS / f"{protocol}.json").read_text())
    assert stated["epochs"] * stated["epoch_length"] == steps
    changes = {"labels": "amos", "spacing_mm": None, "epochs": 1, "epoch_length": 2, "cubes": 2}
    values = {**small, **changes, "dataset_dir": str(cohort), "output_dir": str(tmp_path)}
    trainer = run_bundle(bundle, ["train.json", f"{objective}.json", f"{protocol}.json"], values).trainer
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    assert trainer.rate(0) == 1
    assert trainer.rate(1) == pytest.approx((1 - 1 / 70_000) ** 0.9, abs=1e-9)  # however long the run is
    assert (tmp_path / "models" / "model.pt").exists()


def test_fault_20_nothing_turns_left_into_right():
    assert "flip" not in (CONFIGS / "train.json").read_text().lower()


def test_the_student_may_be_deployed(bundle: Path, cohort: Path, small: dict[str, Any], tmp_path: Path):
    values = {**small, "dataset_dir": str(cohort), "output_dir": str(tmp_path), "deployed": "student"}
    workflow = trained_with("supervised", bundle, values)
    assert workflow.evaluator.network is workflow.trainer.network
    deployed = load_checkpoint(tmp_path / "models" / "model.pt")
    best = load_checkpoint(tmp_path / "checkpoints" / "best.pt")
    name = "backbone.encoder.0.0.weight"
    assert torch.equal(deployed[name], best["network"][name])
    assert not torch.equal(deployed[name], best["teacher"][f"network.{name}"])


def test_an_ordinary_output_layer_makes_a_run_as_well(
    bundle: Path, cohort: Path, small: dict[str, Any], tmp_path: Path
):
    """The row *GA* of the papers: MagicNet and gradient-aware losses on a V-Net that knows no texts."""
    changes = {"epochs": 1, "epoch_length": 2, "cubes": 2, "objective::hidden_channels": 32}
    values = {**small, **changes, "dataset_dir": str(cohort), "output_dir": str(tmp_path)}
    run_bundle(bundle, ["train.json", "magicnet_ga.json", "plain_output.json"], values)
    assert not (tmp_path / "text_prior.safetensors").exists()
    segmenter = Segmenter(tmp_path, device="cpu")
    assert type(segmenter.network) is PlainVNet
    volume = read_image(next((cohort / "images").iterdir()))
    assert segmenter(volume).shape == volume.array.shape


def test_a_network_of_another_kind_is_refused_before_it_is_trained(
    bundle: Path, cohort: Path, small: dict[str, Any], tmp_path: Path
):
    network = {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 16, "channels": [4, 8]}
    values = {"network_def": {**network, "strides": [2]}, "dataset_dir": str(cohort), "output_dir": str(tmp_path)}
    with pytest.raises(UsageError, match=r"network_def: UNet; expected medfs\.networks\.TextVNet or PlainVNet"):
        run_bundle(bundle, ["train.json", "supervised.json"], {**small, **values})
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deployed": "peer"}, "expected teacher or student"),
        ({"cubes": 3}, "16x16x16 with 3 levels and 3 cubes"),
    ],
)
def test_an_unusable_value_is_named_in_one_line(
    changes: dict[str, Any], message: str, bundle: Path, cohort: Path, small: dict[str, Any], tmp_path: Path
):
    values = {**small, "dataset_dir": str(cohort), "output_dir": str(tmp_path), **changes}
    with pytest.raises(UsageError, match=message):
        run_bundle(bundle, ["train.json"], values)
