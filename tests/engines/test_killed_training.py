"""Killed at any named point, training leaves a checkpoint that loads, and ends with the same bits when continued."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_training import EPOCH_LENGTH, PointKiller, digest, in_child, one_case, tiny_trainer, train_or_resume

from medfs.engines import handlers
from medfs.engines.checkpoint import load_checkpoint
from medfs.errors import ExitCode
from medfs.io import Split, atomic

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return one_case(tmp_path_factory.mktemp("data"))


def killed_at(run, data, log, point=None, workers=0):
    """Train in a child that dies at a point; the metric log has no point of its own and gets one."""

    def work():
        hook = PointKiller(log, point)
        atomic.reached = hook
        say = handlers._say
        handlers._say = lambda line: (hook("in_metric_log"), say(line))
        train_or_resume(run, data, workers)

    return in_child(work, log.with_suffix(".said"))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The run that nothing interrupts: its folder and the points it passed."""
    folder = tmp_path_factory.mktemp("whole")
    assert killed_at(folder / "run", data, folder / "points.log") == 0, (folder / "points.said").read_text()
    return folder / "run", PointKiller(folder / "points.log").points()


def final_names_are_whole(run: Path) -> None:
    """Every file with a final name can be read."""
    for path in run.rglob("*.pt"):
        if not path.name.startswith(".medfs-"):
            load_checkpoint(path)
    if (run / "split.json").exists():
        Split.read(run / "split.json")


def lost_nothing(whole, data, folder, points):
    """Kill one run at each point and continue it."""
    finished, passed = whole
    for number, point in enumerate(points):
        run, log = folder / str(number) / "run", folder / f"{number}.log"
        assert killed_at(run, data, log, point) == -signal.SIGKILL, point
        final_names_are_whole(run)
        if passed.index(point) > passed.index(("after_last", 1)):
            assert load_checkpoint(run / "checkpoints" / "last.pt")["step"] >= EPOCH_LENGTH, point
        assert killed_at(run, data, log.with_suffix(".again")) == 0, log.with_suffix(".said").read_text()
        assert digest(run) == digest(finished), point
        assert not list((run / "checkpoints").glob(".medfs-*")), point


def test_a_kill_at_each_kind_of_point_loses_nothing(whole, data, tmp_path):
    last_of_each = dict(whole[1])
    assert len(last_of_each) >= 15
    lost_nothing(whole, data, tmp_path, last_of_each.items())


@pytest.mark.slow
def test_a_kill_at_every_point_of_a_run_loses_nothing(whole, data, tmp_path):
    lost_nothing(whole, data, tmp_path, whole[1])
    print(f"killed at {len(whole[1])} points of {len(dict(whole[1]))} kinds: all resumed to the same bits")


@pytest.mark.parametrize("damage", ["empty", "half", "flipped"])
def test_a_damaged_last_state_falls_back_to_the_one_before(whole, data, tmp_path, damage):
    finished, _ = whole
    run = tmp_path / "run"
    assert killed_at(run, data, tmp_path / "log", ("in_validation", 5)) == -signal.SIGKILL  # in the third epoch
    last = run / "checkpoints" / "last.pt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 16
    last.write_bytes({"empty": b"", "half": content[: len(content) // 2], "flipped": content}[damage])
    assert killed_at(run, data, tmp_path / "again") == 0
    warned = [line for line in (tmp_path / "again.said").read_text().splitlines() if "warning" in line]
    assert len(warned) == 1
    assert "last.pt: not a readable checkpoint" in warned[0]
    assert f"going on from last.prev.pt, step {EPOCH_LENGTH}" in warned[0]
    assert digest(run) == digest(finished)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("point", [("after_step", 1), ("before_optimizer", 6), ("after_step", 8), ("in_validation", 3)])
def test_a_signal_finishes_the_step_and_saves_it(whole, data, tmp_path, number, code, point):
    finished, _ = whole
    run = tmp_path / "run"

    def work():
        hook = PointKiller(tmp_path / "log", None)

        def reached(name):
            hook(name)
            if (name, hook.counts[name]) == point:
                os.kill(os.getpid(), number)

        atomic.reached = reached
        train_or_resume(run, data)

    assert in_child(work, tmp_path / "said") == code
    said = (tmp_path / "said").read_text()
    step = {"after_step": point[1], "before_optimizer": point[1], "in_validation": 8}[point[0]]
    assert f"stopped at step {step} of 12, saved in" in said
    assert "Traceback" not in said
    assert load_checkpoint(run / "checkpoints" / "last.pt")["step"] == step
    assert not (run / "models").exists()
    assert killed_at(run, data, tmp_path / "again") == 0
    assert digest(run) == digest(finished)


@pytest.mark.parametrize(
    "point", [("after_step", 6), ("before_replace", 8), ("after_write", 9), ("before_previous", 1)]
)
def test_a_second_interrupt_leaves_at_once_and_spoils_nothing(whole, data, tmp_path, point):
    finished, _ = whole
    run = tmp_path / "run"

    def work():
        hook = PointKiller(tmp_path / "log", None)

        def reached(name):
            hook(name)
            if (name, hook.counts[name]) == point:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

        atomic.reached = reached
        train_or_resume(run, data)

    assert in_child(work, tmp_path / "said") == ExitCode.INTERRUPTED
    final_names_are_whole(run)
    assert not list((run / "checkpoints").glob(".medfs-*"))
    assert killed_at(run, data, tmp_path / "again") == 0
    assert digest(run) == digest(finished)


def test_nobody_reading_the_lines_does_not_end_training(whole, data, tmp_path):
    finished, _ = whole
    run = tmp_path / "run"

    def work():
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        train_or_resume(run, data)

    assert in_child(work, tmp_path / "said") == 0
    assert digest(run) == digest(finished)


def test_resuming_without_a_checkpoint_says_that_it_starts_anew(tmp_path, capsys):
    trainer = tiny_trainer(tmp_path)
    assert trainer.keeper.resume(trainer) is False
    assert (
        capsys.readouterr().err
        == f"medfs: no checkpoint in {tmp_path / 'checkpoints'} yet; training starts at step 0\n"
    )


INTERRUPTED = """
import sys
from pathlib import Path
from tiny_training import one_case, tiny_trainer
import tiny_training
if __name__ == "__main__":
    tiny_training.EPOCHS = 1000
    trainer = tiny_trainer(Path(sys.argv[1]), workers=2)
    print("started", flush=True)
    trainer.run()
"""


@pytest.mark.slow
@pytest.mark.subprocess
def test_an_interrupt_of_the_whole_terminal_leaves_the_workers_to_the_trainer(tmp_path):
    """Ctrl-C reaches the loader processes as well, which are forked from a server here as in earnest."""
    (tmp_path / "script.py").write_text(INTERRUPTED)
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", tmp_path / "run"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stderr:
        if line.startswith("step 8/"):
            break
    time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    said = process.stderr.read()
    assert process.wait(timeout=60) in (130, -signal.SIGINT)
    assert "stopped at step" in said
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["step"] >= 8
