"""What every run over a folder shares: a record per case, one bad case alone, an exit code for all."""

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medfs.errors import ExitCode, MedfsError, StorageError, root_cause
from medfs.io import atomic_path, file_sha256
from medfs.io.names import shown, volume_suffix

REPORT = "report.jsonl"

_DATA_ELSEWHERE = (".hdr", ".hdr.gz", ".img", ".img.gz", ".mhd", ".nhdr")  # one hash cannot prove two files


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One line of ``report.jsonl``.

    Attributes:
        case: name of the case.
        status: ``done`` or ``failed``; ``skipped`` is only told, not written.
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
    same_input = record.get("input_sha256") == file_sha256(path)
    return same_input and isinstance(hashes, dict) and all(hashes.get(f.name) == file_sha256(f) for f in files)


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


def append_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Append one line to the report in ``folder`` and have it on disk before going on.

    A line that a kill cut short is ended first, so that it spoils no other.

    Raises:
        StorageError: it cannot be written.
    """
    path = folder / REPORT
    try:
        with path.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{path}: cannot write the report ({error.strerror})") from error


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
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("case"), str):
            found[record["case"]] = record
    return found


def replace_records(folder: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace the report in ``folder`` in one step.

    Raises:
        StorageError: it cannot be written.
    """
    with atomic_path(folder / REPORT) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in records))
