"""A loader process that fails or dies is told of with the file it was reading, in one line."""

import os
import signal
import threading
import time

import pytest
import torch
from tiny_training import in_child

from medfs.errors import InputError, MedfsError
from medfs.transforms.loading import ReportingLoader

FILES = [f"scan_{place}.nii.gz" for place in range(8)]


class Items(torch.utils.data.Dataset):
    """Numbers; ``fault`` happens at place 5."""

    def __init__(self, fault=None):
        self.fault = fault

    def describe(self, place):
        return FILES[place]

    def __getitem__(self, place):
        if place == 5 and self.fault is not None:
            self.fault()
        return torch.tensor(place)


def fails():
    raise ZeroDivisionError("division\nby zero")


def refuses():
    raise InputError("scan_5.nii.gz: truncated: 7 of 9 bytes")


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


def loaded(fault, workers):
    loader = ReportingLoader(Items(fault), [[0, 1], [2, 3], [4, 5], [6, 7]], workers=workers)
    found = []
    try:
        for batch in loader:
            found += batch.tolist()
            time.sleep(0.05 * workers)
    except (RuntimeError, OSError, EOFError) as error:
        raise (loader.explain(error) or error) from error
    return found


def test_batches_come_in_their_order():
    assert loaded(None, 0) == list(range(8))


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (fails, "scan_5.nii.gz: ZeroDivisionError: division by zero"),
        (refuses, "scan_5.nii.gz: truncated: 7 of 9 bytes"),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_cannot_be_loaded_is_named(tmp_path, fault, line, workers):
    def work():
        try:
            loaded(fault, workers)
        except MedfsError as error:
            os.write(2, str(error).encode())

    assert in_child(work, tmp_path / "said") == 0
    assert (tmp_path / "said").read_text() == line


def test_a_worker_that_is_killed_is_named_with_its_file(tmp_path):
    def work():
        try:
            loaded(dies, 2)
        except MedfsError as error:
            (tmp_path / "line").write_text(str(error))  # the other worker may complain as well

    assert in_child(work, tmp_path / "said") == 0
    said = (tmp_path / "line").read_text()
    assert said.startswith("scan_5.nii.gz: the worker that loaded it ")  # "exited unexpectedly", or by which signal
    assert said.endswith("; out of memory? take fewer workers or more memory")
    assert "\n" not in said


def test_a_batch_that_its_dead_worker_had_ready_names_the_worker_s_file():
    """Shared tensors are fetched from the process that made them; the socket is all that says it is dead."""
    loader = ReportingLoader(Items(), [[0]], workers=2)
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
    loader._reading[0] = torch.tensor([process, 6])
    loader._reading[1] = torch.tensor([os.getpid(), 7])
    said = str(loader.explain(ConnectionResetError(104, "Connection reset by peer")))
    assert said.startswith("scan_6.nii.gz: the worker that loaded it died; out of memory?")


def test_a_worker_whose_connection_ends_before_it_does_is_waited_for():
    loader = ReportingLoader(Items(), [[0]], workers=1)
    process = os.fork()
    if process == 0:
        time.sleep(0.5)
        os._exit(0)
    reaper = threading.Thread(target=os.waitpid, args=(process, 0))
    reaper.start()
    loader._reading[0] = torch.tensor([process, 6])
    said = str(loader.explain(EOFError()))
    reaper.join()
    assert said.startswith("scan_6.nii.gz: the worker that loaded it died; out of memory?")


def test_the_end_of_a_worker_that_torch_reports_while_it_is_waited_for_names_it():
    loader = ReportingLoader(Items(), [[0]], workers=2)
    loader._reading[:] = torch.tensor([[os.getpid(), 6], [os.getppid(), 7]])

    def report(*_):
        raise RuntimeError(f"DataLoader worker (pid {os.getpid()}) is killed by signal: Killed. ")

    before = signal.signal(signal.SIGALRM, report)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        said = str(loader.explain(ConnectionResetError(104, "Connection reset by peer")))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert said.startswith("scan_6.nii.gz: the worker that loaded it is killed by signal: Killed; out of memory?")


def test_another_error_is_not_taken_for_a_death():
    loader = ReportingLoader(Items(), [[0]], workers=0)
    assert loader.explain(RuntimeError("CUDA out of memory")) is None
    assert loader.explain(ConnectionResetError(104, "Connection reset by peer")) is None
    assert loader.explain(RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed. ")) is None
