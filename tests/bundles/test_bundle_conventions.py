"""The shipped bundle against MONAI's own checks, and its documentation against its configuration."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow, verify_metadata, verify_net_in_out

from medfs.io.bundles import bundle_names, find_bundle

SCHEMA = Path(__file__).parent / "metadata_schema_stand_in.json"


@pytest.mark.parametrize("which", ["bundle", "trained"])
def test_metadata_follow_the_schema(which: str, request: pytest.FixtureRequest):
    folder: Path = request.getfixturevalue(which)
    verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(SCHEMA))


def test_metadata_without_the_network_format_are_refused(bundle: Path, tmp_path: Path):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    del metadata["network_data_format"]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="network_data_format"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(SCHEMA))


@pytest.mark.parametrize("arguments", [{}, {"n": 2}, {"p": 2}, {"any": 48}])
def test_the_network_takes_every_shape_that_the_metadata_allow(bundle: Path, arguments: dict[str, int]):
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        device="cpu",
        **arguments,
    )


@pytest.mark.parametrize(
    ("configs", "kind"),
    [(["train.json"], "train"), (["inference.json"], "infer"), (["inference.json", "evaluate.json"], "infer")],
)
def test_monai_finds_every_property(
    configs: list[str], kind: str, bundle: Path, trained: Path, cohort: Path, small: dict[str, Any], tmp_path: Path
):
    root = bundle if kind == "train" else trained
    values: dict[str, Any] = {"bundle_root": str(root), "output_dir": str(tmp_path)}
    if configs != ["inference.json", "evaluate.json"]:
        values["dataset_dir"] = str(cohort if kind == "train" else cohort / "images")
    workflow = ConfigWorkflow(
        config_file=[str(root / "configs" / name) for name in configs],
        meta_file=str(root / "configs" / "metadata.json"),
        workflow_type=kind,
        logging_file=False,
        **values,
        **(small if kind == "train" else {}),
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_the_documentation_lists_the_parameters_of_training(bundle: Path):
    train = json.loads((bundle / "configs" / "train.json").read_text())
    first_built = list(train).index("label_set")
    parameters = [name for name in list(train)[:first_built] if name != "imports"]
    documented = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", (bundle / "docs" / "README.md").read_text(), re.MULTILINE)
    assert sorted(name for name, _ in documented) == sorted(parameters)
    for name, default in documented:
        if isinstance(train[name], int | float) and not isinstance(train[name], bool):
            assert float(default) == train[name], name


@pytest.mark.parametrize(
    "name", [n for n in bundle_names() if (find_bundle(n) / "configs/multi_gpu_train.json").exists()]
)
def test_several_gpus_begin_with_all_that_one_begins_with(name: str):
    configs = find_bundle(name) / "configs"
    one, several = (json.loads((configs / file).read_text()) for file in ("train.json", "multi_gpu_train.json"))
    assert [entry for entry in several["initialize"] if entry in one["initialize"]] == one["initialize"]
