"""A whole training of a tiny network in a forked process, so that it can be killed anywhere and started again."""

import contextlib
import hashlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from marked_cases import write_marked
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, ValidationHandler, from_engine
from monai.transforms import AsDiscreted
from torch import nn

from medfs.engines import SemiSupervisedTrainer
from medfs.engines.checkpoint import load_checkpoint, save_checkpoint
from medfs.engines.handlers import CheckpointKeeper, ProgressLines
from medfs.fewshot import prepare_case
from medfs.io import Case, Split, atomic, claim_folder, release_folder
from medfs.semisup import CropStream, MeanTeacher, TwoStreamBatches
from medfs.semisup.objectives import MeanTeacherObjective
from medfs.transforms import loading

EPOCHS, EPOCH_LENGTH = 3, 4
SPLIT = Split((Case("a", "a", Path("/a.nii"), Path("/al.nii")),), (Case("b", "b", Path("/b.nii")),), (), (), seed=0)


class Noise:
    """A crop that its seed alone decides."""

    def set_random_state(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def __call__(self, case: Any) -> dict[str, np.ndarray]:
        image = self.random.normal(size=(1, 8, 8, 8)).astype(np.float32)
        return {"image": image, "label": (image > 0.5).astype(np.int64)}


def network() -> nn.Module:
    """Two convolutions with batch normalisation and dropout: weights, buffers and random numbers to resume."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.Dropout(0.2), nn.ReLU(), nn.Conv3d(4, 2, 1)
    )


def tiny_trainer(run: Path, workers: int = 0, extra: dict[str, Any] | None = None) -> SemiSupervisedTrainer:
    """Trainer, validation, checkpoints and progress lines as a bundle puts them together."""
    student = network()
    teacher = MeanTeacher(student, decay=0.9)
    noise = Noise()
    noise.set_random_state(99)
    validation = [{key: torch.from_numpy(value) for key, value in noise({}).items()} for _ in range(2)]
    one_hot = AsDiscreted(["pred", "label"], argmax=[True, False], to_onehot=2)
    evaluator = SupervisedEvaluator(
        torch.device("cpu"),
        DataLoader(validation, batch_size=1),
        teacher,
        postprocessing=one_hot,
        key_val_metric={"dice": MeanDice(include_background=False, output_transform=from_engine(["pred", "label"]))},
    )
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda: atomic.reached("in_validation"))
    handlers = [
        ValidationHandler(1, evaluator),
        CheckpointKeeper(run / "checkpoints", evaluator, extra),
        ProgressLines(evaluator),
    ]
    streams = [CropStream([{}, {}], Noise(), seed=seed, files=("first.nii", "second.nii")) for seed in (0, 1)]
    trainer = SemiSupervisedTrainer(
        torch.device("cpu"),
        EPOCHS,
        TwoStreamBatches(*streams, steps=EPOCHS * EPOCH_LENGTH, batch_size=1, unlabelled_batch_size=1, workers=workers),
        student,
        teacher,
        torch.optim.AdamW(student.parameters(), 0.01),
        MeanTeacherObjective(),
        epoch_length=EPOCH_LENGTH,
        train_handlers=handlers,
    )
    trainer.keeper = handlers[1]  # type: ignore[attr-defined]
    return trainer


def train_or_resume(run: Path, data: Path, workers: int = 0) -> None:
    """What ``medfs train --resume`` does: lock, split, cache, training, final weights."""
    claim_folder(run)
    split = run / "split.json"
    if split.exists():
        assert Split.read(split) == SPLIT
    else:
        SPLIT.write(split)
    case = Case("case_0", "patient_0", data / "images" / "case_0.nii.gz", data / "labels" / "case_0.nii.gz")
    prepare_case(case, data / "supervoxels" / "case_0.nii.gz", run / "cache")
    trainer = tiny_trainer(run, workers)
    trainer.keeper.resume(trainer)  # type: ignore[attr-defined]
    trainer.run()
    save_checkpoint(run / "models" / "model.pt", {**trainer.teacher.state_dict()})
    release_folder(run)


def one_case(folder: Path) -> Path:
    """A folder with one scan, its labels and supervoxels."""
    write_marked(folder, 1)
    return folder


def digest(run: Path) -> dict[str, str]:
    """SHA-256 over every tensor and value of the last and best state, of the result and of the split."""
    found = {}
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "models/model.pt"):
        total = hashlib.sha256()
        _add(total, load_checkpoint(run / name))
        found[name] = total.hexdigest()
    found["split.json"] = Split.read(run / "split.json").sha256
    return found


def _add(total: Any, value: Any) -> None:
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            total.update(repr(key).encode())
            _add(total, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _add(total, item)
    elif isinstance(value, torch.Tensor):
        total.update(f"{value.dtype}{tuple(value.shape)}".encode() + value.numpy().tobytes())
    else:
        total.update(repr(value).encode())


def in_child(function: Callable[[], Any], said: Path, kill_after_s: float | None = None) -> int:
    """Fork, call, and wait.

    Args:
        function: called in the child, which ends with its exit status.
        said: file for what the child writes to standard output and standard error.
        kill_after_s: SIGKILL to the child and its workers after so long.

    Returns:
        The exit status; the negative number of the signal that ended the child.
    """
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.setsid()
            descriptor = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            torch.set_num_threads(1)  # the threads of the parent are not there after a fork
            loading.DataLoader = _forking  # a server to fork from would outlive the child that is killed
            function()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os._exit(code)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        try:
            os.killpg(process, signal.SIGKILL)
        except ProcessLookupError:  # not yet in its own group, or done
            os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _forking(*arguments: Any, **options: Any) -> Any:
    context = "fork" if options.get("num_workers") else None
    return torch.utils.data.DataLoader(*arguments, **{**options, "multiprocessing_context": context})


class PointKiller:
    """A fault hook: counts the named points, and kills the process at one of them."""

    def __init__(self, log: Path, kill_at: tuple[str, int] | None = None) -> None:
        self.log, self.kill_at = log, kill_at
        self.counts: dict[str, int] = {}

    def __call__(self, point: str) -> None:
        self.counts[point] = self.counts.get(point, 0) + 1
        with self.log.open("a") as file:
            file.write(f"{point} {self.counts[point]}\n")
        if (point, self.counts[point]) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def points(self) -> list[tuple[str, int]]:
        """The points in the order in which they were reached."""
        return [(point, int(number)) for point, number in map(str.split, self.log.read_text().splitlines())]
