"""What every run over a folder shares: a record per case, one bad case alone, an exit code for all."""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medfs.errors import ExitCode, InputError, MedfsError, StorageError, root_cause
from medfs.io import atomic_path, file_sha256
from medfs.io.names import shown, volume_suffix

try:
    import fcntl
except ImportError:  # Windows: two processes on one folder may then do a case twice, and write the same
    fcntl = None  # type: ignore[assignment]

REPORT = "report.jsonl"

_DATA_ELSEWHERE = (".hdr", ".hdr.gz", ".img", ".img.gz", ".mhd", ".nhdr")  # one hash cannot prove two files


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One line of ``report.jsonl``.

    Attributes:
        case: name of the case.
        status: ``done`` or ``failed``; a folder run also writes ``running`` before and ``queued`` after it was stopped;
            ``skipped`` is only told, not written.
        input: the file.
        seconds: time taken.
        outputs: name of each file written, with its SHA-256.
        warnings: what was noticed, by the reader first.
        error: one line, when failed.
    """

    case: str
    status: str
    input: str
    seconds: float
    outputs: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: str = ""


def is_done(
    folder: Path, record: Mapping[str, Any], path: Path, parameters: Mapping[str, Any], names: Sequence[str]
) -> bool:
    """Whether a record and the hashes of the scan and of its results prove that a case need not be done again.

    Args:
        folder: of the results.
        record: the last one of the case, with ``input_sha256`` and ``parameters``; may be empty.
        path: the scan.
        parameters: all that the result depends on besides the scan.
        names: the files that are wanted.
    """
    if record.get("status") != "done" or record.get("parameters") != parameters:
        return False
    files, hashes = [folder / name for name in names], record.get("outputs")
    if volume_suffix(path).lower() in _DATA_ELSEWHERE or not all(file.is_file() for file in [path, *files]):
        return False
    try:
        same_input = record.get("input_sha256") == file_sha256(path)
        return same_input and isinstance(hashes, dict) and all(hashes.get(f.name) == file_sha256(f) for f in files)
    except InputError:  # the case fails in its turn
        return False


def seconds_since(start: float) -> float:
    """Seconds since a moment of :func:`time.monotonic`, to the millisecond."""
    return round(time.monotonic() - start, 3)


def failure(path: Path, error: Exception) -> str:
    """What went wrong with a file, in one line; what would go wrong with every file is raised again.

    Raises:
        StorageError: ``error`` is one.
    """
    if isinstance(error, StorageError):
        raise error
    return str(error) if isinstance(error, MedfsError) else f"{shown(path)}: {root_cause(error)}"


def exit_code(records: Iterable[CaseRecord]) -> ExitCode:
    """How a run went, by the records of all of its cases."""
    failed = [record.status == "failed" for record in records]
    return ExitCode.OK if not any(failed) else ExitCode.NOTHING_DONE if all(failed) else ExitCode.SOME_FAILED


def output_hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files that were just written, by name."""
    return {name: file_sha256(folder / name) for name in names}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Keep other processes from appending to the report in ``folder`` and from taking claims; a kill ends it.

    Yields:
        Whether there is a lock; some file systems have none.

    Raises:
        StorageError: the report cannot be opened.
    """
    path = folder / REPORT
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise StorageError(f"{path}: cannot write the report ({error.strerror})") from error
    try:
        is_alone = False
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                is_alone = True
        yield is_alone
    finally:
        os.close(descriptor)


def append_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Append one line to the report in ``folder`` and have it on disk before going on.

    A line that a kill cut short is ended first, so that it spoils no other.

    Raises:
        StorageError: it cannot be written.
    """
    path = folder / REPORT
    line = json.dumps(record).encode() + b"\n"
    try:
        with locked(folder), path.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{path}: cannot write the report ({error.strerror})") from error


class RecordLog:
    """The report of a folder, followed while several processes append to it.

    Args:
        folder: of the results.
        since: byte from which on records belong to this run; None for the end of the report as it is now.

    Attributes:
        earlier: last record by case, of runs before this one.
        current: last record by case, of this run, whoever wrote it.

    Raises:
        StorageError: there is a report, but it cannot be read.
    """

    def __init__(self, folder: Path, since: int | None = None) -> None:
        self._path, self._read = folder / REPORT, 0
        self.earlier: dict[str, dict[str, Any]] = {}
        self.current: dict[str, dict[str, Any]] = {}
        self.since = report_bytes(folder) if since is None else since
        self.refresh()

    def refresh(self) -> None:
        """Read what was appended since the last time; a line without an end is left for the next."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                text = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"{self._path}: cannot read the report ({error.strerror})") from error
        for line in text[: text.rfind(b"\n") + 1].splitlines(keepends=True):
            if record := _parsed(line):
                (self.current if self._read >= self.since else self.earlier)[record["case"]] = record
            self._read += len(line)


def report_bytes(folder: Path) -> int:
    """How long the report in ``folder`` is; 0 if there is none."""
    try:
        return (folder / REPORT).stat().st_size
    except OSError:
        return 0


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The last record of each case in the report of ``folder``; lines cut short by a kill are passed over.

    Raises:
        StorageError: there is a report, but it cannot be read.
    """
    path = folder / REPORT
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"{path}: cannot read the report ({error.strerror})") from error
    return {record["case"]: record for line in lines if (record := _parsed(line))}


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("case"), str) else None


def replace_records(folder: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace the report in ``folder`` in one step.

    Raises:
        StorageError: it cannot be written.
    """
    with atomic_path(folder / REPORT) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in records))
