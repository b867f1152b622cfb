"""What happens at the end of each epoch: a line of progress and a checkpoint."""

import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.engines import Evaluator

from medfs.engines.checkpoint import load_checkpoint, save_checkpoint
from medfs.engines.trainer import StepTrainer
from medfs.errors import InputError, UsageError


class ProgressLines:
    """One line per epoch: steps done, each term of the loss, speed, time left, validation.

    Args:
        evaluator: the validation engine whose key metric is shown, if any.
    """

    def __init__(self, evaluator: Evaluator | None = None) -> None:
        self.evaluator = evaluator
        self._sums: dict[str, float] = {}
        self._steps, self._since = 0, 0.0

    def attach(self, engine: Engine) -> None:
        """Listen to a `StepTrainer`."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._show)

    def _begin(self, engine: Engine) -> None:
        self._sums, self._steps, self._since = {}, 0, time.monotonic()

    def _add(self, engine: Any) -> None:
        self._steps += 1
        if not math.isfinite(engine.state.output["loss"]):  # the step was skipped; it would hide the others
            return
        for name, value in engine.state.output.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def _show(self, engine: StepTrainer) -> None:
        if engine.state.rank:
            return
        seconds = (time.monotonic() - self._since) / max(1, self._steps)
        left = seconds * (engine.total_steps - engine.state.iteration)
        terms = "  ".join(f"{name} {total / max(1, self._steps):.3f}" for name, total in self._sums.items())
        metrics = dict(self.evaluator.state.metrics) if self.evaluator else {}
        scores = "".join(f"  {name} {value:.3f}" for name, value in metrics.items() if isinstance(value, float))
        print(
            f"step {engine.state.iteration}/{engine.total_steps}  {terms}{scores}  "
            f"{seconds:.2f} s/step  {left / 60:.1f} min left",
            file=sys.stderr,
            flush=True,
        )


class CheckpointKeeper:
    """Keep ``last.pt`` and, by the validation metric of the evaluator, ``best.pt``.

    Attach it after the validation handler. Without a validation the last state counts as the best.

    Args:
        folder: where the two files go.
        evaluator: engine whose ``best_metric`` decides.
        extra: plain values to store along, e.g. the class names and the hash of the split.
    """

    def __init__(self, folder: str | Path, evaluator: Evaluator | None = None, extra: dict[str, Any] | None = None):
        self.folder, self.evaluator, self.extra = Path(folder), evaluator, extra or {}
        self.best = -1.0

    def attach(self, engine: Engine) -> None:
        """Listen to a `StepTrainer`."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _save(self, engine: StepTrainer) -> None:
        state = None if self.evaluator is None else self.evaluator.state
        validated = state is not None and state.best_metric_epoch != -1
        metric = float(state.best_metric) if state is not None and validated else -1.0
        improved = not validated or metric > self.best
        self.best = max(self.best, metric)
        if engine.state.rank == 0:
            content = {**engine.state_of_run(), "best_metric": self.best, "extra": self.extra}
            save_checkpoint(self.folder / "last.pt", content)
            if improved:
                save_checkpoint(self.folder / "best.pt", content)
        if dist.is_initialized():
            dist.barrier()

    def resume(self, engine: StepTrainer) -> bool:
        """Load ``last.pt`` into the trainer; ``False`` when there is none yet."""
        path = self.folder / "last.pt"
        if not path.exists():
            return False
        state = load_checkpoint(path)
        engine.resume(state)
        self.best = float(state["best_metric"])
        if self.evaluator is not None and self.best >= 0:  # below 0 nothing was validated
            self.evaluator.state.best_metric = self.best
            self.evaluator.state.best_metric_epoch = engine.state.epoch
        return True


def best_network(folder: str | Path, network: torch.nn.Module, which: str = "teacher") -> torch.nn.Module:
    """Load the best checkpoint of a run into a network and return it.

    Args:
        folder: folder of a `CheckpointKeeper`.
        network: a network built as in training.
        which: ``teacher`` for the moving average, ``student`` for the trained weights themselves.

    Raises:
        InputError: the checkpoint is missing, damaged or that of another network.
        UsageError: another ``which``.
    """
    if which not in ("teacher", "student"):
        raise UsageError(f"weights of {which!r}; expected teacher or student")
    path = Path(folder) / "best.pt"
    state = load_checkpoint(path)
    try:
        weights = state["network"]
        if which == "teacher":
            weights = {key.removeprefix("network."): value for key, value in state["teacher"].items()}
        network.load_state_dict(weights)
    except (KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise InputError(f"{path}: no checkpoint of this network; name the run that it belongs to") from error
    return network
