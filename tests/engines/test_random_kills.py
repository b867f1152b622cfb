"""Killed at random moments, again and again, training ends with the bits of a run that nothing interrupted."""

import os
import signal
import time

import numpy as np
import pytest
from tiny_training import digest, in_child, one_case, train_or_resume

from medfs.engines.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def campaign(folder, workers, kills):
    """Kill until ``kills`` processes have died; every run that ends is compared. Returns the number of such runs."""
    data, whole = one_case(folder / "data"), folder / "whole"
    start = time.monotonic()
    assert in_child(lambda: train_or_resume(whole, data, workers), folder / "said") == 0, (folder / "said").read_text()
    seconds = time.monotonic() - start
    expected, random, done, runs = digest(whole), np.random.default_rng(workers), 0, 0
    while done < kills:
        run, code = folder / f"run{runs}", None
        while code != 0:
            wait = random.uniform(0.005, 1.2 * seconds)  # beyond the end of a run now and then
            trained = (run / "checkpoints" / "last.pt").exists()
            code = in_child(lambda run=run: train_or_resume(run, data, workers), folder / "said", kill_after_s=wait)
            assert code in (0, -signal.SIGKILL), (folder / "said").read_text()
            done += code != 0
            for name in ("last.pt", "best.pt"):
                path = run / "checkpoints" / name
                assert path.exists() or not trained
                if path.exists():
                    load_checkpoint(path)
        assert digest(run) == expected
        runs += 1
    return done, runs


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills"), [(0, 200), (2, 100)])
def test_random_kills_lose_nothing(tmp_path, workers, kills):
    done, runs = campaign(tmp_path, workers, kills)
    print(f"{workers} workers: {done} kills in {runs} runs, all ended with the same bits")


def test_a_few_random_kills_lose_nothing(tmp_path):
    campaign(tmp_path, 0, 5)
