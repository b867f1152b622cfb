"""The overlay for volumes: it trains, and its run is scored under the rules for volumes."""

import csv
from pathlib import Path
from typing import Any

from monai.bundle import run

from medfs.engines.runs import run_bundle
from medfs.fewshot import load_segmentor


def test_the_bundle_trains_and_scores_volumes(
    fewshot_bundle: Path, fewshot_small: dict[str, Any], marked: Path, tmp_path: Path
):
    folder = tmp_path / "run"
    values = {**fewshot_small, "epoch_length": 1, "output_dir": str(folder)}
    run_bundle(fewshot_bundle, ["train.json", "volumes.json"], values)
    segmentor = load_segmentor(folder / "models" / "model.safetensors")
    assert segmentor.encoder.spatial_dims == 3
    assert segmentor.encoder.norm == "instance"
    run(
        config_file=[str(folder / "configs" / name) for name in ("inference.json", "evaluate.json")],
        meta_file=str(folder / "configs" / "metadata.json"),
        logging_file=False,
        bundle_root=str(folder),
        output_dir=str(tmp_path / "scores"),
        cache_dir=str(marked / "cache"),
        device="cpu",
    )
    with (tmp_path / "scores" / "scores.csv").open() as file:
        assert {row["rule"] for row in csv.DictReader(file)} == {"volume", "volume, z-range known"}
