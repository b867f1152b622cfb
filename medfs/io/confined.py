"""Parsing of untrusted files in a child process with limits on memory and time; only plain values come back."""

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from medfs.errors import InputError, MedfsError, UsageError, root_cause

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_MOST_ANSWERED = 1 << 28  # bytes
_PIECE = 1 << 16


def confined(work: Callable[[], Any], name: str, *, memory_bytes: int, seconds: float) -> Any:
    """Do some work in a forked process, so that a parser that crashes, hangs or fills the memory harms nothing else.

    The answer comes back as JSON: a child that a file took over could otherwise send code. Where processes cannot fork
    the work is done in this one.

    Args:
        work: gives what JSON can hold; anything larger goes through memory that was shared before.
        name: of the file, for messages.
        memory_bytes: that the child may add to what this process has.
        seconds: until it is ended.

    Raises:
        InputError: it raised something, crashed, or met a limit.
        UsageError: it raised one.
    """
    if not hasattr(os, "fork"):
        return work()
    incoming, outgoing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(incoming)
        _answer(work, name, outgoing, memory_bytes)
    os.close(outgoing)
    text = None
    try:
        text = _received(incoming, seconds)
    finally:
        os.close(incoming)
        if text is None:
            os.kill(child, signal.SIGKILL)  # not waited for yet, so that the number is still its own
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if text is None:
        raise InputError(f"{name}: reading it took longer than {seconds:.0f} s or gave no end of values; damaged?")
    return _value(text, status, name, memory_bytes)


def _answer(work: Callable[[], Any], name: str, outgoing: int, memory_bytes: int) -> NoReturn:
    """Do the work, write how it went and end this process."""
    try:
        try:
            _limit(memory_bytes)
            answer = {"value": work()}
        except MedfsError as error:
            answer = {"usage" if isinstance(error, UsageError) else "input": str(error)}
        except MemoryError:
            answer = {"memory": True}
        except Exception as error:  # a parser raises what it likes
            answer = {"input": f"{name}: {root_cause(error)}"}
        with os.fdopen(outgoing, "wb") as file:
            file.write(json.dumps(answer).encode())
    finally:
        os._exit(0)


def _limit(memory_bytes: int) -> None:
    if resource is None:
        return
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        wanted = pages * resource.getpagesize() + memory_bytes
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        lowest = min(limit for limit in (wanted, soft, hard) if limit != resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_AS, (lowest, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _received(incoming: int, seconds: float) -> bytes | None:
    """All that the child writes; None if it takes too long or writes too much."""
    pieces: list[bytes] = []
    size, deadline = 0, time.monotonic() + seconds
    while select.select([incoming], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(incoming, _PIECE)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
        if size > _MOST_ANSWERED:
            return None
    return None


def _value(text: bytes, status: int, name: str, memory_bytes: int) -> Any:
    try:
        answer = json.loads(text)
    except ValueError as error:
        how = f"signal {-status}" if status else "no answer"
        raise InputError(f"{name}: the process that read it ended with {how}; damaged?") from error
    if "usage" in answer:
        raise UsageError(answer["usage"])
    if "input" in answer:
        raise InputError(answer["input"])
    if "memory" in answer:
        raise InputError(f"{name}: reading it takes more than {memory_bytes / 1e9:.2g} GB of memory; damaged?")
    return answer["value"]
