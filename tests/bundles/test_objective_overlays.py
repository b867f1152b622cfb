"""Every overlay that names an objective trains a run that the others of the bundle can use."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medfs.engines.runs import run_bundle
from medfs.inference import Segmenter
from medfs.io import find_cases, read_image
from medfs.io.bundles import find_bundle

CONFIGS = find_bundle("multi_organ_tak_segmentation") / "configs"
OVERLAYS = [path.name for path in sorted(CONFIGS.glob("*.json")) if list(json.loads(path.read_text())) == ["objective"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_trains_and_its_run_segments(
    overlay: str, bundle: Path, cohort: Path, small: dict[str, Any], tmp_path: Path
):
    values = {**small, "dataset_dir": str(cohort), "output_dir": str(tmp_path), "labelled": 1}
    workflow = run_bundle(bundle, ["train.json", overlay], values)
    objective = workflow.parser.get_parsed_content("objective")
    assert type(objective).__name__ in (CONFIGS / overlay).read_text()
    state = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert state["objective"].keys() == objective.state_dict().keys()
    scan = read_image(find_cases(cohort)[0].image)
    assert Segmenter(tmp_path, device="cpu")(scan).shape == scan.array.shape
