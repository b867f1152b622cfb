"""The cases of a folder, handed out to one process or several, each case to one of them."""

import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medfs.inference.claims import Claims
from medfs.inference.records import RecordLog, append_record
from medfs.io import atomic

POLL_S = 0.5
_SETTLED = ("done", "failed")


class SharedCases:
    """Hands out what is left to do in a folder, and follows what other processes do there.

    Args:
        folder: of the results; it exists.
        parameters: all that the results depend on besides the scans.
        files: what is written for a case, as names; calls that want other files do not share the work.
        proven: whether the record of an earlier run proves a case done.
        since: see :class:`~medfs.inference.records.RecordLog`.
        stop: ends the waiting for other processes.
        claims: those of this process; None for the usual ones.
    """

    def __init__(
        self,
        folder: Path,
        parameters: Mapping[str, Any],
        files: Sequence[str],
        proven: Callable[[str, Mapping[str, Any]], bool],
        *,
        since: int | None = None,
        stop: threading.Event | None = None,
        claims: Claims | None = None,
    ) -> None:
        self.folder, self.parameters, self.proven = folder, parameters, proven
        run = hashlib.sha256(json.dumps([parameters, *files], sort_keys=True).encode()).hexdigest()[:16]
        self.log, self.claims = RecordLog(folder, since), claims or Claims(folder, run)
        self._proofs: dict[str, bool] = {}
        self._stop = stop or threading.Event()

    def each(self, cases: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
        """Go through the cases until all are settled.

        While the others work on what is left, this waits, and takes over what a process leaves that dies.

        Yields:
            A case, and its record if it is settled; without one it is claimed, and to be done before the next is asked
            for, unless :meth:`Claims.holds` says that it was lost meanwhile.
        """
        left = list(cases)
        while left and not self._stop.is_set():
            before = len(left)
            for case in list(left):
                record = self.settled(case)
                if record is None and self.claims.take(case):
                    record = self.settled(case)  # done by another process before the claim was ours
                    if record is None:
                        yield case, None
                        if self.settled(case) is not None:
                            left.remove(case)
                    self.claims.release(case)
                    atomic.reached("released")
                if record is not None:
                    self.claims.sweep(case)
                    left.remove(case)
                    yield case, record
            if len(left) == before:
                self._stop.wait(POLL_S)

    def settled(self, case: str) -> Mapping[str, Any] | None:
        """The record that makes it needless to do a case: of this run, or of an earlier one with proof."""
        self.log.refresh()
        record = self.log.current.get(case, {})
        if record.get("status") in _SETTLED and record.get("parameters") == self.parameters:
            return record
        earlier = self.log.earlier.get(case)
        if earlier is None:
            return None
        if case not in self._proofs:
            self._proofs[case] = self.proven(case, earlier)
        return {**earlier, "status": "skipped"} if self._proofs[case] else None

    def outcome(self, case: str) -> Mapping[str, Any] | None:
        """What the report says came of a case; one that failed in an earlier run may belong to another part."""
        earlier = self.log.earlier.get(case, {})
        failed = earlier.get("status") == "failed" and earlier.get("parameters") == self.parameters
        return self.settled(case) or (earlier if failed else None)

    def begin(self, case: str, path: Path) -> None:
        """Write that a case is being worked on, and by whom."""
        self._note(case, path, "running")

    def drop(self, case: str, path: Path) -> None:
        """Write that a case was left before it was done."""
        self._note(case, path, "queued")

    def _note(self, case: str, path: Path, status: str) -> None:
        where = {"host": socket.gethostname(), "pid": os.getpid()}
        what = {"case": case, "status": status, "input": str(path), "parameters": self.parameters}
        append_record(self.folder, what | where)
        atomic.reached(status)
