"""What happens at the end of each epoch: a line of progress and a checkpoint."""

import contextlib
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
from medfs.io import atomic
from medfs.io.atomic import keep_previous, remove_stale_temporaries


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
        line = f"step {engine.state.iteration}/{engine.total_steps}  {terms}{scores}  {seconds:.2f} s/step"
        _say(f"{line}  {left / 60:.1f} min left")


class CheckpointKeeper:
    """Keep ``last.pt``, the one before it as ``last.prev.pt``, and by the metric of the evaluator ``best.pt``.

    Attach it after the validation handler. Without a validation the last state counts as the best. ``best.pt`` is
    written first: a run that is killed in between repeats the epoch and finds the same best. A run that SIGINT or
    SIGTERM stops within an epoch is saved there.

    Args:
        folder: where the files go.
        evaluator: engine whose ``best_metric`` decides.
        extra: plain values to store along, e.g. the hash of the split; a run with other values is not continued.
    """

    def __init__(self, folder: str | Path, evaluator: Evaluator | None = None, extra: dict[str, Any] | None = None):
        self.folder, self.evaluator, self.extra = Path(folder), evaluator, extra or {}
        self.best = -1.0
        self._saved_step: int | None = None  # of last.pt, where it is known to be good

    def attach(self, engine: Engine) -> None:
        """Listen to a `StepTrainer`."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)
        engine.add_event_handler(Events.TERMINATE, self._save_stopped)

    def _save(self, engine: StepTrainer) -> None:
        state = None if self.evaluator is None else self.evaluator.state
        validated = state is not None and state.best_metric_epoch != -1
        metric = float(state.best_metric) if state is not None and validated else -1.0
        improved = not validated or metric > self.best
        self.best = max(self.best, metric)
        if engine.state.rank == 0:
            content = self._content(engine)
            if improved:
                atomic.reached("before_best")
                save_checkpoint(self.folder / "best.pt", content)
            atomic.reached("between_best_and_last")
            self._save_last(content)
        if dist.is_initialized():
            dist.barrier()

    def _save_stopped(self, engine: StepTrainer) -> None:
        if not engine.stopping or engine.state.rank:
            return
        if engine.state.iteration != self._saved_step:
            self._save_last(self._content(engine))
        where = f"step {engine.state.iteration} of {engine.total_steps}"
        _say(f"medfs: stopped at {where}, saved in {self.folder / 'last.pt'}; continue with --resume")

    def _content(self, engine: StepTrainer) -> dict[str, Any]:
        return {**engine.state_of_run(), "best_metric": self.best, "extra": self.extra}

    def _save_last(self, content: dict[str, Any]) -> None:
        last = self.folder / "last.pt"
        if self._saved_step is not None:  # a file that may be damaged must not take the place of a good one
            keep_previous(last, self.folder / "last.prev.pt")
        save_checkpoint(last, content)
        self._saved_step = int(content["step"])
        atomic.reached("after_last")

    def resume(self, engine: StepTrainer) -> bool:
        """Load ``last.pt``, or the one before it if it is damaged, into the trainer.

        Returns:
            ``False`` when there is no checkpoint yet; a line says so.

        Raises:
            InputError: both are damaged, or they are of another training.
        """
        if self.folder.is_dir():
            remove_stale_temporaries(self.folder, older_than_s=0)
        state = self._newest()
        if state is None:
            _say(f"medfs: no checkpoint in {self.folder} yet; training starts at step 0")
            return False
        self._require_same_run(state)
        try:
            engine.resume(state)
        except InputError as error:
            raise InputError(f"{self.folder}: {error}") from error
        self.best = float(state["best_metric"])
        if self.evaluator is not None and self.best >= 0:  # below 0 nothing was validated
            self.evaluator.state.best_metric = self.best
            self.evaluator.state.best_metric_epoch = engine.state.epoch
        return True

    def _newest(self) -> dict[str, Any] | None:
        last, previous = self.folder / "last.pt", self.folder / "last.prev.pt"
        if not last.exists() and not previous.exists():
            return None
        try:
            state = load_checkpoint(last)
        except InputError as error:
            if not previous.exists():
                raise
            state = load_checkpoint(previous)
            _say(f"medfs: warning: {error}; going on from {previous.name}, step {state.get('step')}")
        else:
            self._saved_step = int(state["step"])
        return state

    def _require_same_run(self, state: dict[str, Any]) -> None:
        stored = state.get("extra", {})
        differing = [name for name, value in self.extra.items() if name in stored and stored[name] != value]
        if differing:
            raise InputError(
                f"{self.folder}: made with another {' and '.join(differing)}; resume with the configuration that the "
                "run was started with, or train in another folder"
            )


def _say(line: str) -> None:
    """Print to standard error; training does not end because nobody reads it any more."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


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
