"""The few-shot bundle against MONAI's own checks, and its documentation against its configuration."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow, verify_metadata, verify_net_in_out

from medfs.anatomy import resolve_label_set
from medfs.engines.bundle_check import check_bundle
from medfs.engines.episodic_runs import folder_protocol
from medfs.fewshot import head_classes

SCHEMA = Path(__file__).parent / "metadata_schema_stand_in.json"
CHAOS = [1, 2, 3, 5, 8, 10, 13, 15, 19, 20, 21, 22, 31, 32, 33, 34, 36, 37, 38, 39]
SABS_LAST = [*range(35, 41), 1]


@pytest.mark.parametrize("which", ["fewshot_bundle", "fewshot_trained"])
def test_the_shipped_bundle_and_a_run_have_no_fault(which: str, request: pytest.FixtureRequest):
    folder: Path = request.getfixturevalue(which)
    assert check_bundle(folder) == []
    verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(SCHEMA))


@pytest.mark.parametrize("arguments", [{}, {"n": 2}, {"n": 3}])
def test_the_network_takes_every_shape_that_the_metadata_allow(fewshot_bundle: Path, arguments: dict[str, int]):
    configs = fewshot_bundle / "configs"
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    verify_net_in_out(net_id="network_def", device="cpu", **files, **arguments)


@pytest.mark.parametrize("configs", [["train.json"], ["inference.json"], ["inference.json", "evaluate.json"]])
def test_monai_finds_every_property(
    configs: list[str], fewshot_bundle: Path, fewshot_trained: Path, fewshot_small: dict[str, Any], tmp_path: Path
):
    kind = "train" if configs == ["train.json"] else "infer"
    root = fewshot_bundle if kind == "train" else fewshot_trained
    values: dict[str, Any] = {**fewshot_small} if kind == "train" else {"labels": fewshot_small["labels"]}
    if configs == ["inference.json"]:
        values["dataset_dir"] = fewshot_small["dataset_dir"] + "/images"
        values["support_image"] = fewshot_small["dataset_dir"] + "/images/case_0.nii.gz"
        values["support_labels"] = fewshot_small["dataset_dir"] + "/labels/case_0.nii.gz"
    workflow = ConfigWorkflow(
        config_file=[str(root / "configs" / name) for name in configs],
        meta_file=str(root / "configs" / "metadata.json"),
        workflow_type=kind,
        logging_file=False,
        bundle_root=str(root),
        output_dir=str(tmp_path),
        **values,
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_the_documentation_lists_the_parameters_of_training(fewshot_bundle: Path):
    train = json.loads((fewshot_bundle / "configs" / "train.json").read_text())
    parameters = [name for name in list(train)[: list(train).index("label_set")] if name != "imports"]
    text = (fewshot_bundle / "docs" / "README.md").read_text().split("## Parameters")[1]
    documented = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE)
    assert [name for name, _ in documented] == parameters
    for name, default in documented:
        if isinstance(train[name], int | float) and not isinstance(train[name], bool):
            assert float(default) == train[name], name


def test_every_overlay_changes_what_training_has(fewshot_bundle: Path):
    train = json.loads((fewshot_bundle / "configs" / "train.json").read_text())
    documented = (fewshot_bundle / "docs" / "README.md").read_text()
    whole = {"train", "inference", "evaluate", "multi_gpu_train", "metadata"}
    overlays = [path for path in (fewshot_bundle / "configs").glob("*.json") if path.stem not in whole]
    assert len(overlays) >= 4
    for path in overlays:
        assert set(json.loads(path.read_text())) <= set(train), path.name
        assert f"| `{path.name}` |" in documented


@pytest.mark.parametrize(
    ("overlay", "names", "organs", "last_fold"),
    [
        ("chaos_t2", CHAOS, ["liver", "right_kidney", "left_kidney", "spleen"], [36, 37, 38, 39, 1]),
        ("sabs", [*range(1, 11), *range(21, 41)], ["spleen", "right_kidney", "left_kidney", "liver"], SABS_LAST),
        ("cmr", range(1, 36), None, [*range(29, 36), 1]),
    ],
)
def test_overlays_of_datasets_state_the_published_folds_and_organs(
    overlay: str, names: list[int], organs: list[str] | None, last_fold: list[int], fewshot_bundle: Path, tmp_path: Path
):
    stated = json.loads((fewshot_bundle / "configs" / f"{overlay}.json").read_text())
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        for name in names:
            (tmp_path / part / f"{name}.nii.gz").touch()
    labels = resolve_label_set(stated.pop("labels"))
    protocol = folder_protocol(tmp_path, labels, **stated)
    assert [len(fold) for fold in protocol.folds.members] == 5 * [stated["fold_length"] + 1]
    assert [int(name) for name in protocol.folds.named()[4]] == last_fold
    assert list(protocol.organs.values()) == (organs or list(labels.names[1:]))
    assert all(labels.names[value] == name for value, name in protocol.organs.items())


def test_the_overlay_of_a_head_names_a_head_that_there_is(fewshot_bundle: Path):
    contents = [json.loads(path.read_text()) for path in (fewshot_bundle / "configs").glob("*.json")]
    targets = [content["head"]["_target_"] for content in contents if "head" in content]
    assert targets
    assert {target.rpartition(".")[2] for target in targets} <= set(head_classes())
