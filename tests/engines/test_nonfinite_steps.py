"""Steps without a finite loss: skipped one by one, fatal in a row."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import nn

from medfs.engines import SemiSupervisedTrainer
from medfs.errors import DivergedError, ExitCode
from medfs.semisup import CropStream, MeanTeacher, TwoStreamBatches
from medfs.semisup.objectives import SupervisedObjective


class Counted:
    """A transform that gives the crop a place's number decides: broken where the list says so."""

    def __init__(self, broken: list[bool]) -> None:
        self.broken, self.place = broken, 0

    def set_random_state(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, case: Any) -> dict[str, np.ndarray]:
        image = self.rng.normal(size=(1, 6, 6)).astype(np.float32)
        if self.broken[self.place]:
            image[0, 2, 3] = np.nan
        self.place += 1
        return {"image": image, "label": (image > 0).astype(np.int64)}


def trainer_of(broken: list[bool], patience: int) -> SemiSupervisedTrainer:
    """A trainer of a 3 x 3 convolution whose step ``i`` sees a NaN if ``broken[i]``."""
    torch.manual_seed(0)
    network = nn.Conv2d(1, 2, 3, padding=1)
    batches = TwoStreamBatches(CropStream([{}], Counted(broken), seed=0), steps=len(broken), batch_size=1)
    return SemiSupervisedTrainer(
        torch.device("cpu"),
        1,
        batches,
        network,
        MeanTeacher(network),
        torch.optim.AdamW(network.parameters(), lr=0.1),
        SupervisedObjective(),
        epoch_length=len(broken),
        patience=patience,
    )


def states_of(broken: list[bool], patience: int = 20) -> list[dict[str, Any]]:
    """The state of the run before its first and after each step."""
    trainer = trainer_of(broken, patience)
    states = [copy.deepcopy(trainer.state_of_run())]
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: states.append(copy.deepcopy(engine.state_of_run()))
    )
    trainer.run()
    return states


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first)


def test_a_broken_batch_changes_nothing_and_training_goes_on():
    _, first, before, after, last = states_of([False, False, True, False])  # the teacher leaves the student in step 1
    for part in ("network", "teacher"):
        assert not same(first[part], before[part])
        assert same(before[part], after[part])
        assert not same(after[part], last[part])
    assert same(before["optimizer"]["state"][0], after["optimizer"]["state"][0])
    assert all(torch.isfinite(value).all() for value in last["network"].values())


def test_broken_batches_apart_do_not_end_training():
    states = states_of([True, False] * 4, patience=2)
    assert len(states) == 9
    assert all(torch.isfinite(value).all() for value in states[-1]["teacher"].values())


def test_broken_batches_in_a_row_end_training():
    trainer = trainer_of([False, True, True, True, False], patience=3)
    with pytest.raises(DivergedError, match="step 4: loss or gradient not finite in 3 steps running") as caught:
        trainer.run()
    assert caught.value.exit_code == ExitCode.DIVERGED
    assert trainer.state.iteration == 4
