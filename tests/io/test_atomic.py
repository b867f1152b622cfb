"""A final name means a complete file: under exceptions, full disks and kills."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

from medfs.errors import StorageError
from medfs.io import atomic
from medfs.io.atomic import atomic_path, remove_stale_temporaries

NEW, OLD = b"new" * 1000, b"old"


def test_the_file_appears_only_at_the_end(tmp_path):
    final = tmp_path / "labels.nii.gz"
    with atomic_path(final) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(NEW)
        assert not final.exists()
    assert final.read_bytes() == NEW
    assert os.listdir(tmp_path) == ["labels.nii.gz"]


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path):
    final = tmp_path / "model.pt"
    final.write_bytes(OLD)
    with pytest.raises(ZeroDivisionError), atomic_path(final) as temporary:  # noqa: PT012
        temporary.write_bytes(NEW)
        raise ZeroDivisionError
    assert final.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["model.pt"]


def test_the_permissions_are_those_of_any_new_file(tmp_path):
    mask = os.umask(0o022)
    try:
        with atomic_path(tmp_path / "a.json") as temporary:
            temporary.write_text("{}")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o644


@pytest.mark.parametrize("obstacle", ["missing folder", "file as folder", "folder as file", "long name", "link"])
def test_what_the_system_refuses_is_a_storage_error(tmp_path, obstacle):
    final = tmp_path / "a.nii.gz"
    if obstacle == "missing folder":
        final = tmp_path / "none" / "a.nii.gz"
    elif obstacle == "file as folder":
        (tmp_path / "b").write_bytes(OLD)
        final = tmp_path / "b" / "a.nii.gz"
    elif obstacle == "folder as file":
        final.mkdir()
    elif obstacle == "long name":
        final = tmp_path / ("a" * 300)
    else:
        final.symlink_to(tmp_path / "elsewhere")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(StorageError) as caught, atomic_path(final) as temporary:
        temporary.write_bytes(NEW)
    assert str(final) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_read_only_folder_is_a_storage_error(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="Permission denied"), atomic_path(tmp_path / "a") as temporary:
            temporary.write_bytes(NEW)
    finally:
        tmp_path.chmod(0o700)


def test_a_read_only_file_system_is_a_storage_error(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(atomic.os, "open", refuse)
    with pytest.raises(StorageError, match="Read-only file system"), atomic_path(tmp_path / "a"):
        pytest.fail("the block must not run")


CHILD = """
import os, resource, signal, sys
from pathlib import Path
from medfs.errors import StorageError
from medfs.io import atomic
if sys.argv[2] == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
else:
    atomic.reached = lambda point: os.kill(os.getpid(), signal.SIGKILL) if point == sys.argv[2] else None
try:
    with atomic.atomic_path(Path(sys.argv[1])) as temporary:
        temporary.write_bytes(b"new" * 1000)
except StorageError as error:
    sys.exit(f"{int(error.exit_code)} {error}")
"""


def run_child(final, point):
    return subprocess.run([sys.executable, "-c", CHILD, str(final), point], capture_output=True, text=True, check=False)


@pytest.mark.subprocess
@pytest.mark.parametrize(("point", "content"), [("after_write", OLD), ("before_replace", OLD), ("after_replace", NEW)])
def test_a_kill_at_any_point_leaves_one_complete_file(tmp_path, point, content):
    final = tmp_path / "a.nii.gz"
    final.write_bytes(OLD)
    assert run_child(final, point).returncode == -signal.SIGKILL
    assert final.read_bytes() == content
    left = set(os.listdir(tmp_path)) - {"a.nii.gz"}
    assert len(left) == (1 if content == OLD else 0)
    assert {path.name for path in remove_stale_temporaries(tmp_path, older_than_s=0)} == left
    assert os.listdir(tmp_path) == ["a.nii.gz"]


@pytest.mark.subprocess
def test_a_full_disk_keeps_the_old_file_and_leaves_with_code_4(tmp_path):
    final = tmp_path / "a.nii.gz"
    final.write_bytes(OLD)
    done = run_child(final, "full")
    assert done.stderr.strip().splitlines()[-1].startswith(f"4 {final}: cannot be written: File too large")
    assert final.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["a.nii.gz"]


def test_only_stale_temporaries_of_dead_local_processes_are_removed(tmp_path):
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    host = atomic._host()
    dead = f".medfs-{host}-{finished.pid}-0123abcd.tmp.nii.gz"
    kept = [
        f".medfs-{host}-{os.getpid()}-0123abcd.tmp.nii.gz",
        f".medfs-elsewhere-{finished.pid}-0123abcd.tmp.nii.gz",
        f".medfs-{host}-{finished.pid}-0123abcd.nii.gz",
        "a.tmp.nii.gz",
    ]
    for name in [dead, *kept]:
        (tmp_path / name).write_bytes(OLD)
    assert remove_stale_temporaries(tmp_path) == []
    yesterday = time.time() - 90_000
    for name in [dead, *kept]:
        os.utime(tmp_path / name, (yesterday, yesterday))
    assert remove_stale_temporaries(tmp_path) == [tmp_path / dead]
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_the_host_name_is_safe_in_a_file_name(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "../a-b/" + "c" * 300)
    assert set(atomic._host()) <= set("abc._")
    assert len(atomic._host()) == 40
