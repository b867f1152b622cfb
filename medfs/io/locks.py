"""One process at a time in a folder."""

import contextlib
import os
import socket
import time
from pathlib import Path

from medfs.errors import StorageError, UsageError
from medfs.io.atomic import make_folder

LOCK_FILE = ".medfs-lock"
_PATIENCE_S = 1.0  # processes that were killed together do not end at once
_held: dict[Path, int] = {}


def claim_folder(folder: str | Path) -> None:
    """Reserve a folder for this process until :func:`release_folder` or its end, however it ends.

    The operating system lets go of the lock of a process that was killed, so that there are no stale ones. A folder
    that this process holds already is held on. On Windows nothing is locked.

    Raises:
        UsageError: another process holds the folder; its number and host are named.
        StorageError: the folder or the lock in it cannot be made.
    """
    make_folder(folder)
    path = Path(folder).resolve() / LOCK_FILE
    if os.name == "nt" or path in _held:
        return
    try:
        descriptor = _lock(path)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    _held[path] = descriptor


def release_folder(folder: str | Path) -> None:
    """Let others have the folder; one that is not held is left as it is."""
    path = Path(folder).resolve() / LOCK_FILE
    descriptor = _held.pop(path, None)
    if descriptor is not None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)  # while it is still locked: whoever waits for this file notices
        os.close(descriptor)


def _lock(path: Path) -> int:
    """Open and lock the file of that name, which may be replaced in between."""
    import fcntl

    deadline = time.monotonic() + _PATIENCE_S
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor
            os.close(descriptor)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            if time.monotonic() < deadline:
                time.sleep(_PATIENCE_S / 20)
                continue
            raise UsageError(f"{path.parent}: in use by {holder}; wait for it or choose another folder") from error


def _let_go() -> None:
    """In a forked child, e.g. of a data loader: the lock is its parent's and ends with it."""
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
