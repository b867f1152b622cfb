"""Files that are either complete under their final name or not there at all."""

import contextlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from medfs.errors import StorageError
from medfs.io.names import volume_suffix

_TEMPORARY = re.compile(r"^\.medfs-(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{8}\.tmp(\..*)?$")
_DAY_S = 86_400.0


def reached(point: str) -> None:
    """Do nothing: fault-injection tests replace this to stop the process at a named point."""


@contextlib.contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside ``final``; give it the final name once the block succeeds.

    The temporary file keeps the suffix of ``final`` (writers choose the format by it). It is flushed to the disk
    before the rename and the folder after it; when the block raises, it is removed and ``final`` stays as it was.

    Raises:
        StorageError: ``final`` is a symbolic link, or the operating system refuses any step, the block included.
    """
    final = Path(final)
    try:
        if final.is_symlink():
            raise StorageError(f"{final}: is a symbolic link; expected a plain file or a free name")
        temporary = _create_beside(final)
        try:
            reached("before_write")
            yield temporary
            reached("after_write")
            _flush(temporary)
            reached("before_replace")
            os.replace(temporary, final)
            reached("after_replace")
            _flush(final.parent)
            reached("after_folder_flush")
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{final}: cannot be written: {error.strerror or error}") from error


def keep_previous(path: Path, previous: Path) -> None:
    """Give a file a second name, so that it outlives its replacement; there is no moment without ``path``.

    Where the file system has no hard links, ``path`` is renamed instead, and is missing until it is written anew.

    Raises:
        StorageError: the operating system refuses.
    """
    if not path.exists():
        return
    temporary = path.with_name(f".medfs-{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        try:
            os.link(path, temporary)
        except OSError:
            os.replace(path, previous)
            return
        try:
            reached("before_previous")
            os.replace(temporary, previous)
            reached("after_previous")
        finally:
            temporary.unlink(missing_ok=True)  # renaming one of two names of a file onto the other leaves both
    except OSError as error:
        raise StorageError(f"{previous}: cannot be written: {error.strerror or error}") from error


def make_folder(folder: str | Path) -> None:
    """Make a folder and its parents where they are missing.

    Raises:
        StorageError: the operating system refuses, or a file is in the way.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot make this folder: {error.strerror or error}") from error


def remove_stale_temporaries(folder: Path, older_than_s: float = _DAY_S) -> list[Path]:
    """Delete what killed processes of this host left in ``folder``; return the deleted paths.

    Only files with the name of an :func:`atomic_path` temporary are touched, and only when they are older than
    ``older_than_s`` seconds and their process is gone.
    """
    removed = []
    for path in sorted(Path(folder).iterdir()):
        match = _TEMPORARY.match(path.name)
        if match is None or match["host"] != _host() or _alive(int(match["pid"])):
            continue
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.lstat().st_mtime >= older_than_s:
                path.unlink()
                removed.append(path)
    return removed


def _create_beside(final: Path) -> Path:
    suffix = volume_suffix(final) or final.suffix
    temporary = final.parent / f".medfs-{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp{suffix}"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(temporary, flags, 0o666))
    return temporary


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:40]


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # os.kill would end the process there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
