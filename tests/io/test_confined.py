"""A parser in a child process: what it may take, what it may say, and what its end does to this process."""

import os
import signal
import time

import numpy as np
import pytest
from dicom_files import write_series

from medfs.errors import InputError, MedfsError, UsageError
from medfs.io import dicom
from medfs.io.confined import confined

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


def apart(work, **limits):
    return confined(work, "a.dcm", **{"memory_bytes": 1 << 28, "seconds": 60} | limits)


def test_plain_values_come_back_from_another_process():
    value = apart(lambda: {"pid": os.getpid(), "numbers": [1, 2.5, None], "text": "ä" * 100_000})
    assert value.pop("pid") != os.getpid()
    assert value == {"numbers": [1, 2.5, None], "text": "ä" * 100_000}


def raising(error):
    raise error


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (InputError("a.dcm: odd\n thing"), InputError, "a.dcm: odd thing"),
        (UsageError("no such series"), UsageError, "no such series"),
        (KeyError("surprise"), InputError, "a.dcm: KeyError: 'surprise'"),
        (MemoryError(), InputError, "takes more than 0.27 GB of memory"),
    ],
)
def test_what_is_raised_there_is_raised_here(error, kind, said):
    with pytest.raises(MedfsError, match=said) as caught:
        apart(lambda: raising(error))
    assert type(caught.value) is kind


def test_memory_beyond_the_limit_is_refused_and_that_within_is_not():
    assert apart(lambda: int(np.ones(1 << 26, np.uint8).sum())) == 1 << 26
    with pytest.raises(InputError, match=r"takes more than 0\.27 GB"):
        apart(lambda: np.empty(1 << 33, np.uint8).size)  # more than freed memory that this process may still hold


def test_a_parser_that_hangs_is_ended():
    start = time.monotonic()
    with pytest.raises(InputError, match="took longer than 1 s"):
        apart(lambda: time.sleep(300), seconds=1)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_parser_that_crashes_is_an_input_error(number):
    def crash():
        import faulthandler

        faulthandler.disable()
        os.kill(os.getpid(), number)

    with pytest.raises(InputError, match=f"ended with signal {number.value}"):
        apart(crash)


def test_no_process_and_no_descriptor_is_left_behind(monkeypatch):
    children, fork = [], os.fork
    monkeypatch.setattr(os, "fork", lambda: children.append(fork()) or children[-1])
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        apart(lambda: 1)
    assert len(os.listdir("/dev/fd")) == before
    assert len(children) == 5
    for child in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)


def test_a_series_whose_parser_eats_memory_or_time_is_refused(tmp_path, monkeypatch):
    write_series(tmp_path, np.zeros((4, 4, 3), np.uint16), np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert dicom.read_dicom_series(tmp_path).array.shape == (4, 4, 3)
    monkeypatch.setattr(dicom, "read_voxels", lambda item: np.ones(1 << 32, np.uint8))
    with pytest.raises(InputError, match=r"takes more than 1\.1 GB"):
        dicom.read_dicom_series(tmp_path)
    monkeypatch.setattr(dicom, "_SECONDS", -2.0)
    monkeypatch.setattr(dicom, "read_header", lambda path: time.sleep(60))
    with pytest.raises(InputError, match="took longer than 1 s"):
        dicom.read_dicom_series(tmp_path)
