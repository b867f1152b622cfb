"""Training through MONAI's command line, on one process and on two, resumed and diverging."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from medfs.engines.runs import run_bundle
from medfs.errors import DivergedError, MedfsError

REPOSITORY = Path(__file__).parents[2]
WRITE_WEIGHTS = "$torch.save([@train::trainer.network.state_dict(), @train::trainer.teacher.state_dict()], {path})"


def files_of(run: Path) -> set[str]:
    """Names below a run folder; those of TensorBoard hold time and process, so its folder stands for them."""
    found = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    return {"tensorboard" if name.startswith("tensorboard/") else name for name in found}


def start(module: list[str], configs: list[Path | str], bundle: Path, values: dict[str, Any]) -> str:
    """Run ``python -m ... monai.bundle run`` in the folder of the bundle, as its documentation says; what it said."""
    config_file = str(configs[0]) if len(configs) == 1 else str([str(config) for config in configs])
    options = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    done = subprocess.run(
        [
            sys.executable,
            *module,
            "run",
            "--config_file",
            config_file,
            "--meta_file",
            "configs/metadata.json",
            *options,
        ],
        cwd=bundle,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def weights(run: Path, name: str = "checkpoints/last.pt") -> dict[str, Any]:
    return torch.load(run / name, weights_only=True)


def tensors_of(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        return [tensor for item in tree for tensor in tensors_of(item)]
    return [tree] if isinstance(tree, torch.Tensor) else []


def same(first: Any, second: Any) -> bool:
    pairs = list(zip(tensors_of(first), tensors_of(second), strict=True))
    assert pairs
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.subprocess
def test_the_command_line_trains_the_same_weights_as_the_function(
    bundle: Path, cohort: Path, trained: Path, small: dict[str, Any], tmp_path: Path
):
    values = {**small, "dataset_dir": cohort, "output_dir": tmp_path / "run"}
    said = start(["-m", "monai.bundle"], ["configs/train.json"], bundle, values)
    assert "NvImgCodec" not in said, "MONAI's warning of a reader that nobody asked for"
    assert files_of(tmp_path / "run") == files_of(trained)
    assert same(weights(tmp_path / "run", "models/model.pt"), weights(trained, "models/model.pt"))


@pytest.mark.subprocess
def test_two_processes_end_with_one_set_of_weights_and_files(
    bundle: Path, cohort: Path, trained: Path, small: dict[str, Any], tmp_path: Path
):
    first, *rest = json.loads((bundle / "configs" / "train.json").read_text())["run"]
    path = f"{str(tmp_path / 'rank')!r} + str(@rank)"
    (tmp_path / "watch.json").write_text(json.dumps({"run": [first, WRITE_WEIGHTS.format(path=path), *rest]}))
    configs = ["configs/train.json", "configs/multi_gpu_train.json", tmp_path / "watch.json"]
    values = {**small, "dataset_dir": cohort, "output_dir": tmp_path / "run"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle"]
    start(launcher, configs, bundle, {name: value for name, value in values.items() if name != "device"})
    ranks = [torch.load(tmp_path / f"rank{rank}", weights_only=True) for rank in (0, 1)]
    assert same(*ranks)
    assert not same(ranks[0][0], weights(trained)["network"]), "the second process added nothing"
    assert files_of(tmp_path / "run") == files_of(trained)
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    bundle: Path, cohort: Path, trained: Path, small: dict[str, Any], tmp_path: Path
):
    values = {**small, "dataset_dir": str(cohort), "output_dir": str(tmp_path)}
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "train.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        bundle_root=str(bundle),
        **values,
    )
    workflow.initialize()

    def interrupt() -> None:
        raise KeyboardInterrupt

    workflow.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), interrupt)  # within the second epoch
    with pytest.raises(KeyboardInterrupt):
        workflow.run()
    assert weights(tmp_path)["step"] == 2
    assert not (tmp_path / "models").exists()
    run_bundle(bundle, ["train.json"], {**values, "resume": True})
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "models/model.pt"):
        assert same(weights(tmp_path, name), weights(trained, name)), name
    assert weights(tmp_path)["step"] == weights(trained)["step"] == 4


def test_training_changes_the_weights(trained: Path):
    state = weights(trained)
    assert not same(state["network"], {key.removeprefix("network."): value for key, value in state["teacher"].items()})


def test_a_run_that_diverges_says_so_itself(bundle: Path, cohort: Path, small: dict[str, Any], tmp_path: Path):
    values = {**small, "dataset_dir": str(cohort), "output_dir": str(tmp_path), "learning_rate": 1e30}
    with pytest.raises(DivergedError, match="not finite in 2 steps running"):
        run_bundle(bundle, ["train.json"], {**values, "epoch_length": 8, "train::trainer::patience": 2})


@pytest.mark.parametrize("changes", [{"dataset_dir": "nowhere"}, {"labels": "liver,unicorn"}, {"validation": 9}])
def test_an_unusable_value_is_named_in_one_line(
    changes: dict[str, Any], bundle: Path, cohort: Path, small: dict[str, Any], tmp_path: Path
):
    values = {**small, "dataset_dir": str(cohort), "output_dir": str(tmp_path / "run"), **changes}
    with pytest.raises(MedfsError) as caught:
        run_bundle(bundle, ["train.json"], values)
    assert "instantiate" not in str(caught.value)
    assert not (tmp_path / "run" / "models").exists()
