"""Where nothing more can be written: the earlier checkpoint stays, one line says why, the exit code is 4."""

import os
import resource
import signal

import numpy as np
import pytest
import torch
from tiny_training import in_child, one_case, tiny_trainer, train_or_resume

from medfs.engines.checkpoint import load_checkpoint, save_checkpoint
from medfs.errors import ExitCode, StorageError
from medfs.io import atomic

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
STATE = {"step": 1, "weights": torch.arange(5000.0)}


def limited(size):
    """From here on no file of this process grows beyond so many bytes; writing there is an error."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def ending(function):
    """Call; an error of medfs becomes its line and its exit code, as ``medfs`` makes them."""

    def work():
        try:
            function()
        except StorageError as error:
            os.write(2, f"medfs: {error}\n".encode())
            raise SystemExit(int(error.exit_code)) from None

    return work


def test_twenty_sizes_of_a_full_disk_leave_the_earlier_checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    before = path.read_bytes()
    for size in np.linspace(1, len(before) - 1, 20).astype(int):

        def work(size=int(size)):
            limited(size)
            save_checkpoint(path, {**STATE, "step": 2})

        assert in_child(ending(work), tmp_path / "said") == ExitCode.STORAGE, size
        path.with_name("said").unlink()
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["last.pt"], size


def test_the_line_says_what_the_system_said(tmp_path):
    path = tmp_path / "last.pt"

    def work():
        limited(4000)
        save_checkpoint(path, STATE)

    assert in_child(ending(work), tmp_path / "said") == ExitCode.STORAGE
    (line,) = (tmp_path / "said").read_text().splitlines()
    assert line == f"medfs: {path}: checkpoint not written (File too large); free space or choose another folder"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_device_without_space_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    before = path.read_bytes()

    def on_the_full_device(final):
        link = final.with_name("part")
        link.symlink_to("/dev/full")
        return link

    monkeypatch.setattr(atomic, "_create_beside", on_the_full_device)
    with pytest.raises(StorageError, match="No space left on device"):
        save_checkpoint(path, {**STATE, "step": 2})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["last.pt"]
    assert os.path.exists("/dev/full")


def test_a_folder_that_became_read_only_leaves_the_earlier_checkpoint(tmp_path):
    """As another user where this one is bound by no permissions."""
    folder = tmp_path / "run"
    save_checkpoint(folder / "last.pt", STATE)
    before = (folder / "last.pt").read_bytes()
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)
    folder.chmod(0o555)

    def work():
        if os.geteuid() == 0:
            os.setuid(65534)
        save_checkpoint(folder / "last.pt", {**STATE, "step": 2})

    assert in_child(ending(work), tmp_path / "said") == ExitCode.STORAGE
    (line,) = (tmp_path / "said").read_text().splitlines()
    assert line.startswith(f"medfs: {folder / 'last.pt'}: ")
    assert (folder / "last.pt").read_bytes() == before
    folder.chmod(0o755)


def test_a_training_whose_disk_fills_up_ends_with_code_4_and_can_go_on(tmp_path):
    data, run = one_case(tmp_path / "data"), tmp_path / "run"

    def fills_up():
        def reached(point, seen=[]):  # noqa: B006
            seen.append(point)
            if seen.count("after_last") == 2:
                limited(3000)

        atomic.reached = reached
        train_or_resume(run, data)

    assert in_child(ending(fills_up), tmp_path / "said") == ExitCode.STORAGE
    assert load_checkpoint(run / "checkpoints" / "last.pt")["step"] == 8
    assert load_checkpoint(run / "checkpoints" / "last.prev.pt")["step"] == 4
    assert not [name for name in os.listdir(run / "checkpoints") if name.startswith(".medfs-")]
    assert in_child(lambda: train_or_resume(run, data), tmp_path / "again") == 0
    assert tiny_trainer(run).keeper.resume(tiny_trainer(run))
