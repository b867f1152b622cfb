"""A folder run in a child process, so that a case that crashes or hangs ends the child and not the run."""

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

_POLL_S = 0.25
_GRACE_S = 5.0


def supervise(output: Path, timeout_min: float | None) -> int | None:
    """Go on in a child process; the parent waits for it here and leaves with its exit code.

    When the child dies in the middle of a case, or a case takes too long and the child is killed for it, the case is
    reported as failed and another child goes on with the others. Call it before torch is imported: that does not
    survive a fork.

    Args:
        output: folder of the results.
        timeout_min: minutes that a case may take; None for any number.

    Returns:
        In the child: the byte of ``report.jsonl`` at which the run began. None where processes cannot fork.

    Raises:
        UsageError: the time is not above 0.
        SystemExit: in the parent.
        NothingDoneError: in the parent; the child died before it began a case.
    """
    from medfs.errors import UsageError
    from medfs.inference.records import report_bytes

    if timeout_min is not None and not timeout_min > 0:
        raise UsageError(f"--timeout-min {timeout_min:g}; expected more than 0 minutes")
    if not hasattr(os, "fork"):
        if timeout_min is not None:
            raise UsageError("--timeout-min: this system cannot end a single case; leave the option out")
        return None
    since = report_bytes(output)
    while True:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        child = os.fork()
        signal.signal(signal.SIGTERM, _stop)
        if child == 0:
            threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
            return since
        code = _watched(child, output, since, timeout_min)
        if code is not None:
            raise SystemExit(code)


def _watched(child: int, output: Path, since: int, timeout_min: float | None) -> int | None:
    """The exit code of the child; None if it died and another one is to go on."""
    from medfs.errors import NothingDoneError
    from medfs.inference.records import RecordLog, append_record
    from medfs.io.names import shown

    log, begun, started = RecordLog(output, since), None, time.monotonic()
    too_long = False
    try:
        while (status := _ended(child, wait=timeout_min is None or too_long)) is None:
            log.refresh()
            running = _running(log.current, child)
            if running != begun:
                begun, started = running, time.monotonic()
            if begun and timeout_min is not None and time.monotonic() - started > 60 * timeout_min:
                os.kill(child, signal.SIGKILL)
                too_long = True
    except (KeyboardInterrupt, SystemExit) as stop:
        _end(child, signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM)
        raise
    if status >= 0:
        return status
    cause = f"the process was ended by signal {-status}"
    cause += ", probably for want of memory" if status == -signal.SIGKILL else ""
    if too_long:
        cause = f"took longer than {timeout_min:g} min; give --timeout-min more if it needs it"
    log.refresh()
    begun = _running(log.current, child)
    if begun is None:
        raise NothingDoneError(f"{cause}, with no case at work; take a machine with more memory, or smaller scans")
    seconds = round(time.monotonic() - started, 3)
    error = f"{shown(begun['input'])}: {cause}"
    append_record(output, {**begun, "status": "failed", "seconds": seconds, "error": error})
    print(f"medfs: {error}; going on with the others", file=sys.stderr)
    return None


def _ended(child: int, wait: bool) -> int | None:
    """Exit code of the child, minus the number of the signal that ended it; None if it still runs."""
    found, status = os.waitpid(child, 0 if wait else os.WNOHANG)
    if not found:
        time.sleep(_POLL_S)
        return None
    return os.waitstatus_to_exitcode(status)


def _running(records: dict[str, dict[str, Any]], child: int) -> dict[str, Any] | None:
    here = {"status": "running", "host": socket.gethostname(), "pid": child}  # another host may count alike
    mine = [record for record in records.values() if here.items() <= record.items()]
    return mine[-1] if mine else None


def _end(child: int, number: int) -> None:
    """Pass a signal on, unless the terminal did, and wait until the child has tidied up."""
    deadline = time.monotonic() + _GRACE_S
    if number == signal.SIGTERM:
        os.kill(child, number)
    with suppress(KeyboardInterrupt, SystemExit):
        while _ended(child, wait=False) is None:
            if number == signal.SIGINT and time.monotonic() > deadline - _GRACE_S / 2:
                os.kill(child, number)
                number = signal.SIGTERM
            if time.monotonic() > deadline:
                break
        else:
            return
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    from medfs.errors import ExitCode

    raise SystemExit(int(ExitCode.TERMINATED))


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a run that was killed is to leave nothing at work."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
