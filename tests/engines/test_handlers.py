"""What happens at the end of each epoch."""

from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events

from medfs.engines.checkpoint import load_checkpoint
from medfs.engines.handlers import CheckpointKeeper, ProgressLines


class FakeTrainer(Engine):
    """An engine with what the handlers ask of a trainer; its state of a run is its step."""

    def __init__(self, total_steps=6):
        super().__init__(lambda engine, batch: {"loss": torch.tensor(2.0), "dice": torch.tensor(0.5)})
        self.total_steps = total_steps
        self.state.rank = 0
        self.resumed = None

    def state_of_run(self):
        return {"step": self.state.iteration}

    def resume(self, state):
        self.resumed = state["step"]
        self.state.epoch = 2


def fake_evaluator(metric=-1.0, epoch=-1, metrics=None):
    return SimpleNamespace(state=SimpleNamespace(best_metric=metric, best_metric_epoch=epoch, metrics=metrics or {}))


def trained(keeper, epochs=3, evaluator=None, metrics=()):
    """Run a trainer whose evaluator reaches ``metrics``, epoch by epoch."""
    trainer = FakeTrainer()
    if metrics:

        def validate(engine):
            best = max(metrics[: engine.state.epoch])
            evaluator.state.best_metric, evaluator.state.best_metric_epoch = best, metrics.index(best) + 1

        trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
    keeper.attach(trainer)
    trainer.run([0, 1], max_epochs=epochs)
    return trainer


def step(folder, name):
    return load_checkpoint(folder / name)["step"]


def test_without_validation_the_last_state_is_the_best(tmp_path):
    trained(CheckpointKeeper(tmp_path, fake_evaluator()))
    assert step(tmp_path, "last.pt") == step(tmp_path, "best.pt") == 6
    trained(CheckpointKeeper(tmp_path / "none"))
    assert step(tmp_path / "none", "best.pt") == 6


@pytest.mark.parametrize(
    ("metrics", "best"), [([0.2, 0.5, 0.4], 4), ([0.6, 0.5, 0.4], 2), ([0.1, 0.2, 0.3], 6), ([0.0, 0.0, 0.0], 2)]
)
def test_the_best_validation_keeps_its_weights(tmp_path, metrics, best):
    evaluator = fake_evaluator()
    trained(CheckpointKeeper(tmp_path, evaluator), evaluator=evaluator, metrics=metrics)
    assert step(tmp_path, "best.pt") == best
    assert step(tmp_path, "last.pt") == 6
    assert load_checkpoint(tmp_path / "last.pt")["best_metric"] == max(metrics)


def test_extra_values_are_stored(tmp_path):
    trained(CheckpointKeeper(tmp_path, extra={"names": ["liver"]}))
    assert load_checkpoint(tmp_path / "last.pt")["extra"] == {"names": ["liver"]}


def test_other_ranks_write_nothing(tmp_path):
    trainer = FakeTrainer()
    trainer.state.rank = 1
    CheckpointKeeper(tmp_path / "run").attach(trainer)
    trainer.run([0], max_epochs=1)
    assert not (tmp_path / "run").exists()


def test_there_is_nothing_to_resume_at_first(tmp_path):
    trainer = FakeTrainer()
    assert CheckpointKeeper(tmp_path).resume(trainer) is False
    assert trainer.resumed is None


def test_a_resumed_run_must_beat_the_best_of_before(tmp_path):
    evaluator = fake_evaluator()
    trained(CheckpointKeeper(tmp_path, evaluator), evaluator=evaluator, metrics=[0.2, 0.7, 0.4])
    after = fake_evaluator()
    keeper = CheckpointKeeper(tmp_path, after)
    trainer = FakeTrainer()
    assert keeper.resume(trainer) is True
    assert trainer.resumed == 6
    assert after.state.best_metric == keeper.best == 0.7
    trained(keeper, epochs=1, evaluator=after, metrics=[0.7])
    assert step(tmp_path, "best.pt") == 4
    trained(keeper, epochs=1, evaluator=after, metrics=[0.8])
    assert step(tmp_path, "best.pt") == 2


def test_a_run_resumed_without_validation_still_ends_with_its_last_weights(tmp_path):
    trained(CheckpointKeeper(tmp_path, fake_evaluator()), epochs=1)
    keeper = CheckpointKeeper(tmp_path, fake_evaluator())
    keeper.resume(FakeTrainer())
    trained(keeper, epochs=3)
    assert step(tmp_path, "best.pt") == 6


def test_an_epoch_is_one_line_with_means_and_scores(capsys):
    trainer = FakeTrainer()
    evaluator = fake_evaluator(metrics={"val_mean_dice": 0.25, "confusion": [1, 2]})
    ProgressLines(evaluator).attach(trainer)
    trainer.run([0, 1, 2], max_epochs=2)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 2
    assert lines[0].startswith("step 3/6  loss 2.000  dice 0.500  val_mean_dice 0.250  ")
    assert lines[1].startswith("step 6/6  ")
    assert lines[1].endswith("0.0 min left")


def test_other_ranks_say_nothing(capsys):
    trainer = FakeTrainer()
    trainer.state.rank = 1
    ProgressLines().attach(trainer)
    trainer.run([0], max_epochs=1)
    assert capsys.readouterr().err == ""
