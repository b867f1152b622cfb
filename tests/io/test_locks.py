"""One process at a time in a folder; the lock of a dead one is nobody's."""

import os
import signal
import socket

import pytest

from medfs.errors import ExitCode, StorageError, UsageError
from medfs.io import claim_folder, release_folder
from medfs.io.locks import LOCK_FILE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder until it is killed."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            claim_folder(tmp_path)
            os.write(writer, b"!")
            signal.pause()
        finally:
            os._exit(0)
    assert os.read(reader, 1) == b"!"
    yield process
    if os.waitpid(process, os.WNOHANG) == (0, 0):
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def test_the_second_is_told_who_is_first(holder, tmp_path):
    with pytest.raises(UsageError) as caught:
        claim_folder(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: in use by process {holder} on {socket.gethostname()}; wait for it or choose another folder"
    )
    assert caught.value.exit_code == ExitCode.USAGE


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    process = os.fork()
    if process == 0:
        try:
            claim_folder(tmp_path)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert (tmp_path / LOCK_FILE).exists()
    claim_folder(tmp_path)
    assert str(os.getpid()) in (tmp_path / LOCK_FILE).read_text()
    release_folder(tmp_path)


def test_a_folder_that_is_held_is_held_on_and_a_released_one_is_clean(tmp_path):
    claim_folder(tmp_path / "new")
    claim_folder(tmp_path / "new")
    release_folder(tmp_path / "new")
    release_folder(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_in_the_way_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        claim_folder(tmp_path / "file")
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        claim_folder(tmp_path)


def test_many_at_once_take_turns(tmp_path):
    """Each of 8 processes adds 1 to a number 5 times under the lock; no addition is lost."""
    count = tmp_path / "count"
    count.write_text("0")
    children = []
    for _ in range(8):
        process = os.fork()
        if process == 0:
            try:
                for _ in range(5):
                    while True:
                        try:
                            claim_folder(tmp_path / "shared")
                            break
                        except UsageError:
                            continue
                    count.write_text(str(int(count.read_text()) + 1))
                    release_folder(tmp_path / "shared")
            finally:
                os._exit(0)
        children.append(process)
    for process in children:
        os.waitpid(process, 0)
    assert count.read_text() == "40"


def test_children_do_not_keep_the_lock_of_a_killed_process(tmp_path):
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            claim_folder(tmp_path)
            child = os.fork()
            if child == 0:
                signal.pause()
            os.write(writer, f"{child}\n".encode())
            signal.pause()
        finally:
            os._exit(0)
    child = int(os.read(reader, 20))
    try:
        with pytest.raises(UsageError):
            claim_folder(tmp_path)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        claim_folder(tmp_path)
        release_folder(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
