"""A run segments scans as it is evaluated: its slices as large as in training, its volumes whole."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from marked_cases import marked_arrays

from medfs.engines.bundle_check import check_bundle
from medfs.engines.runs import run_bundle
from medfs.engines.trust import foreign_code
from medfs.fewshot import NetworkSegmenter, VolumeSegmenter, load_segmentor, prepare_case
from medfs.fewshot.rules import EP2, WholeSupport
from medfs.io import Volume, find_cases, write_image, write_labels

SIZE = 16


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A support and a query turned as the published slices, of 22 x 18 pixels."""
    for number, name in enumerate(("support", "query")):
        image, labels, _ = marked_arrays(number)
        for part, array in (("images", image), ("labels", labels)):
            (tmp_path / part).mkdir(exist_ok=True)
            volume = Volume.from_array(array, np.diag([-1.0, 1.5, 6.0, 1.0]))
            (write_image if part == "images" else write_labels)(tmp_path / part / f"{name}.nii.gz", array, volume)
    return tmp_path


@pytest.mark.parametrize(
    ("overlay", "steps", "segmenter", "rule"),  # fewer steps and the network finds everything
    [("dmap", 30, NetworkSegmenter, EP2()), ("volumes", 16, VolumeSegmenter, WholeSupport())],
    ids=["slices", "volumes"],
)
def test_a_run_segments_as_it_is_evaluated(
    overlay: str,
    steps: int,
    segmenter: Any,
    rule: Any,
    fewshot_bundle: Path,
    fewshot_small: dict[str, Any],
    scans: Path,
):
    run = scans / "run"
    values = {**fewshot_small, "size": SIZE, "epochs": 1, "epoch_length": steps, "learning_rate": 0.01}
    run_bundle(fewshot_bundle, ["train.json", f"{overlay}.json"], {**values, "output_dir": str(run)})
    assert foreign_code(run) == []
    assert check_bundle(run) == []
    support = {
        "support_image": str(scans / "images" / "support.nii.gz"),
        "support_labels": str(scans / "labels" / "support.nii.gz"),
    }
    where = {"dataset_dir": str(scans / "images"), "output_dir": str(scans / "out"), "device": "cpu"}
    run_bundle(run, ["inference.json"], where | support)
    labels = np.asarray(nib.load(scans / "out" / "query_seg.nii.gz").dataobj).transpose(2, 1, 0)

    told = [prepare_case(case, case.label, scans / "cache") for case in find_cases(scans)]
    query, shown = ({case.name: case for case in told}[name].open() for name in ("query", "support"))
    trained = segmenter(load_segmentor(run / "models" / "model.safetensors"), size=SIZE)
    organs = [shown[1] == value for value in (1, 2, 3)]
    prepared = trained.prepare(query[0])
    found = [trained.segment(prepared, shown[0], mask, rule.guide(mask, len(labels), None)) for mask in organs]
    np.testing.assert_array_equal(labels > 0, np.any(found, axis=0))
    assert all(found[value - 1][labels == value].all() for value in (1, 2, 3))
    assert 0 < (labels > 0).mean() < 1
    assert json.loads((run / "configs" / "inference.json").read_text())["size"] == SIZE
