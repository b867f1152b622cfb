"""Which of several processes does a case: the one that holds its claim, as long as it shows signs of life."""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

from medfs.errors import StorageError, UsageError
from medfs.inference.records import locked
from medfs.io import atomic

BEAT_S = 10.0
STALE_S = 120.0  # file systems of clusters show a heartbeat up to a minute late
_PREFIX = ".medfs-claim-"
_RUN_PREFIX = ".medfs-run-"
_CLAIM_BYTES = 512


class Claims:
    """Claims on the cases of a folder, a file ``.medfs-claim-<case>`` each.

    A claim belongs to the process that made the file; its heartbeat is the file's time. It can be taken over when its
    process is gone, or when it was seen without a heartbeat for a while, so that no clocks are compared between hosts.
    Taking is done under the lock of the report, which a kill ends. A file ``.medfs-run-<token>`` says that a process
    takes part, between two cases as well.

    Args:
        folder: of the results.
        run: what tells runs with other settings apart; two of them at once would mix their results.
        beat_s: seconds between heartbeats.
        stale_s: seconds without one after which a claim is nobody's.
    """

    def __init__(self, folder: Path, run: str, *, beat_s: float = BEAT_S, stale_s: float = STALE_S) -> None:
        self.folder, self.run, self.beat_s, self.stale_s = folder, run, beat_s, stale_s
        self._held: dict[Path, str] = {}  # claim -> its content
        self._seen: dict[str, tuple[tuple[bytes, int], float]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def join(self) -> None:
        """Take part in what is done in the folder.

        Raises:
            UsageError: a run with other settings is at work there.
            StorageError: the folder cannot be written.
        """
        with locked(self.folder) as is_alone:
            for path in sorted(self.folder.glob(f"{_RUN_PREFIX}*")):
                state = _state(path)
                owner = {} if state is None else _owner(state)
                if state is None or (_is_gone(owner) if owner else is_alone):
                    path.unlink(missing_ok=True)
                elif owner.get("run") != self.run and time.time() - state[1] / 1e9 <= self.stale_s:
                    raise UsageError(
                        f"{self.folder}: process {owner.get('pid')} on {owner.get('host')} writes here with other "
                        "settings, files or another network; choose another folder, or wait until it ends"
                    )
            self._write(self.folder / f"{_RUN_PREFIX}{secrets.token_hex(8)}", os.O_EXCL)

    def take(self, case: str) -> bool:
        """Claim a case; False while somebody else has it.

        Raises:
            StorageError: the folder cannot be written.
        """
        path = self._path(case)
        with locked(self.folder) as is_alone:
            state = _state(path)
            if state is not None and not self._is_stale(case, state, is_alone):
                return False
            if not self._write(path, os.O_EXCL if state is None else 0):
                return False
        self._seen.pop(case, None)
        atomic.reached("claimed")
        return True

    def _write(self, path: Path, flags: int) -> bool:
        """Write a claim and keep it alive; False if somebody else was faster."""
        owner = {**_process(), "run": self.run, "token": secrets.token_hex(8)}
        content = json.dumps(owner).ljust(_CLAIM_BYTES)  # of one length, so that one write replaces another claim
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | flags, 0o666)
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                file.write(content.encode())
        except FileExistsError:
            return False
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
        self._held[path] = content
        self._beat()
        return True

    def holds(self, case: str) -> bool:
        """Whether the claim is still ours; a process that was asleep for long may have lost it."""
        return self._is_ours(self._path(case))

    def release(self, case: str) -> None:
        """Give a claim back, if it is ours."""
        self._give_back(self._path(case))

    def _is_ours(self, path: Path) -> bool:
        state = _state(path)
        return state is not None and state[0].decode(errors="replace") == self._held.get(path)

    def _give_back(self, path: Path) -> None:
        if self._is_ours(path):
            path.unlink(missing_ok=True)
        self._held.pop(path, None)

    def close(self) -> None:
        """Give back all claims."""
        self._stop.set()
        for path in list(self._held):
            with contextlib.suppress(OSError):
                self._give_back(path)

    def sweep(self, case: str) -> None:
        """Remove a claim that a killed process left on a case that is done."""
        path = self._path(case)
        if path.exists():
            with locked(self.folder):
                state = _state(path)
                owner = None if state is None else _owner(state)
                if owner is not None and (not owner or _is_gone(owner)):
                    path.unlink(missing_ok=True)

    def _path(self, case: str) -> Path:
        return self.folder / f"{_PREFIX}{case}"

    def _is_stale(self, case: str, state: tuple[bytes, int], is_alone: bool) -> bool:
        owner = _owner(state)
        if _is_gone(owner) if owner else is_alone:  # claims are filled under the lock: whoever left it empty was killed
            return True
        seen, since = self._seen.setdefault(case, (state, time.monotonic()))
        if seen != state:
            self._seen[case] = (state, time.monotonic())
        elif time.monotonic() - since >= self.stale_s:
            return True
        return False

    def _beat(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_beating, name="medfs-heartbeat", daemon=True)
            self._thread.start()

    def _keep_beating(self) -> None:
        while not self._stop.wait(self.beat_s):
            for path in list(self._held):
                with contextlib.suppress(OSError):
                    if self._is_ours(path):
                        os.utime(path)


def _state(path: Path) -> tuple[bytes, int] | None:
    """Content and time of a claim; None if there is none."""
    try:
        return path.read_bytes(), path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _owner(state: tuple[bytes, int]) -> dict[str, Any]:
    try:
        owner = json.loads(state[0])
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _process() -> dict[str, Any]:
    """What tells this process from any other, on this host and elsewhere."""
    return {"host": socket.gethostname(), "space": _space(), "pid": os.getpid(), "started": _started(os.getpid())}


def _is_gone(owner: dict[str, Any]) -> bool:
    """Whether the process of a claim is known not to run: only those of this host and boot can be asked for."""
    if owner.get("host") != socket.gethostname() or owner.get("space") != _space() or not _space():
        return False
    return _started(int(owner.get("pid", 0))) != owner.get("started")


def _space() -> str:
    """The boot of this host and the namespace of its process ids; empty where nothing tells them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in ticks since the boot; empty if there is none, or only what its parent waits for."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else fields[18]
    except (OSError, IndexError, ValueError):
        return ""
