"""Every head's overlay trains and is tested; the run sheets of the documentation are the published schedules."""

import csv
import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from monai.bundle import ConfigParser

from medfs.engines import EpisodicTrainer
from medfs.engines.runs import run_bundle
from medfs.fewshot import head_classes, load_segmentor

OVERLAYS = {"adnet": "ADNetHead", "alp": "ALPHead", "dmap": "DMAPHead", "hcpm": "HCPMHead", "qnet": "QNetHead"}
# spec: steps, what is left of the learning rate in the last one, and the seed of the release
PUBLISHED = {
    "alp": (100100, 0.006, 1234, "last"),
    "adnet": (50000, 0.081, 2021, "last"),
    "qnet": (30000, 0.557, 2021, "all"),
    "dmap": (33000, 0.817, 2025, "2"),
    "hcpm": (40000, 0.941, 2025, "2"),
}
PUBLISHED_DILATION = {"alp": (False, True, True), "adnet": (False, True, True)}


def schedules(bundle: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Rows of the run sheets and of the values as released, by overlay."""
    text = (bundle / "docs" / "README.md").read_text().split("## Published schedules")[1].split("\n## ")[0]
    sheets, released = text.split("As released:")
    return tuple(
        {name: row for row, name in re.findall(r"^(\|.*`(\w+)\.json`.*)$", part, re.M)} for part in (sheets, released)
    )


def with_values(bundle: Path, overlay: str, text: str) -> ConfigParser:
    """``train.json`` with an overlay and what a text states as ``--name value``."""
    read = ConfigParser()
    read.read_config([str(bundle / "configs" / name) for name in ("train.json", f"{overlay}.json")])
    for name, value in re.findall(r"--([\w:]+) (\w[\w.]*)", text):
        assert read.get(name) is not None, name
        read[name] = value if re.fullmatch("[a-z]+", value) else json.loads(value.lower().replace("none", "null"))
    read.parse()
    return read


def test_the_overlays_of_heads_are_those_tested_here(fewshot_bundle: Path):
    stated = {p.stem: json.loads(p.read_text()) for p in (fewshot_bundle / "configs").glob("*.json")}
    whole = {"train", "inference", "volumes"}  # the last is for volumes, of which any head may be
    named = {n: c["head"]["_target_"].rpartition(".")[2] for n, c in stated.items() if "head" in c and n not in whole}
    assert named == OVERLAYS
    assert set(named.values()) <= set(head_classes())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_head_trains_and_is_tested(
    overlay: str, fewshot_bundle: Path, fewshot_small: dict[str, Any], tmp_path: Path
):
    values = {**fewshot_small, "epochs": 1, "output_dir": str(tmp_path / "run")}
    run_bundle(fewshot_bundle, ["train.json", f"{overlay}.json"], values)
    trained = load_segmentor(tmp_path / "run" / "models" / "model.safetensors")
    assert type(trained.head).__name__ == OVERLAYS[overlay]
    assert trained.encoder.dilate == PUBLISHED_DILATION.get(overlay, (True, True, False))
    tested = {"output_dir": str(tmp_path / "scores"), "cache_dir": fewshot_small["cache_dir"], "device": "cpu"}
    run_bundle(tmp_path / "run", ["inference.json", "evaluate.json"], tested)
    scores = list(csv.DictReader((tmp_path / "scores" / "scores.csv").open()))
    assert {row["organ"] for row in scores} == {"liver", "spleen", "right_kidney"}
    assert len(scores) == 3 * 2 * 3  # rules, queries, organs


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_run_sheets_state_the_published_schedules(overlay: str, fewshot_bundle: Path):
    sheets, _ = schedules(fewshot_bundle)
    steps, rest_of_rate, seed, support = PUBLISHED[overlay]
    assert f"| {steps} |" in sheets[overlay]
    stated = with_values(fewshot_bundle, overlay, sheets[overlay].partition("tested is")[0])
    assert stated["epochs"] * stated["epoch_length"] == steps
    rate = EpisodicTrainer.rate
    assert rate(SimpleNamespace(decay=stated["decay"], decay_steps=stated["decay_steps"]), steps - 1) == pytest.approx(
        rest_of_rate, abs=5e-4
    )
    assert stated["seed"] == seed
    assert f"`--support {support}`" in sheets[overlay]
    alone = with_values(fewshot_bundle, overlay, "")
    assert (alone["decay"], alone["decay_steps"]) == (stated["decay"], stated["decay_steps"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_values_as_released_leave_the_defaults_of_the_head(overlay: str, fewshot_bundle: Path):
    _, released = schedules(fewshot_bundle)
    head_class = head_classes()[OVERLAYS[overlay]]
    defaults = {name: each.default for name, each in inspect.signature(head_class).parameters.items()}
    built = with_values(fewshot_bundle, overlay, released[overlay] + " --depth 101").get_parsed_content("head")
    assert {name: getattr(built, name) for name in defaults} == defaults
