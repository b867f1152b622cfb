"""What became of each case: the record that the manifest is made of and that a resumed run believes only if it fits."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from medfs.errors import StorageError
from medfs.io import Volume, atomic_path

REPORT = "report.jsonl"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One line of ``report.jsonl``.

    Attributes:
        case: its name.
        patient: whose it is.
        status: ``done`` or ``failed``.
        run: hash of the recipe, its parameters and the versions.
        sources: SHA-256 by path below the source folder.
        before: size in voxels and spacing in mm of the raw image.
        after: the same of the written one.
        labels: voxels by label id in the written label map; None for an unlabelled case.
        outputs: SHA-256 by path below the output folder.
        warnings: what the reader noticed.
        error: one line, when failed.
        seconds: time taken.
    """

    case: str
    patient: str
    status: str
    run: str
    sources: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, int] | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0


def grid_of(volume: Volume) -> dict[str, list]:
    """Size and spacing of a volume, as records state them."""
    return {"size": list(volume.array.shape), "spacing_mm": [round(s, 6) for s in volume.spacing_mm]}


def read_records(output: Path) -> dict[str, CaseRecord]:
    """The last record of each case in ``report.jsonl``; lines that a kill cut short are passed over."""
    names = {item.name for item in fields(CaseRecord)}
    records: dict[str, CaseRecord] = {}
    try:
        lines = (output / REPORT).read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return records
    except OSError as error:
        raise StorageError(f"{output / REPORT}: cannot be read: {error.strerror or error}") from error
    for line in lines:
        try:
            content = json.loads(line)
            record = CaseRecord(**{key: value for key, value in content.items() if key in names})
        except (ValueError, TypeError, AttributeError):
            continue
        records[record.case] = record
    return records


def append_record(output: Path, record: CaseRecord) -> None:
    """Add a line to ``report.jsonl`` and have it on disk before going on.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        with (output / REPORT).open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # a kill cut the last line short
                    file.write(b"\n")
            file.write(json.dumps(asdict(record)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{output / REPORT}: cannot be written: {error.strerror or error}") from error


def write_manifest(output: Path, described: Mapping[str, Any], records: Mapping[str, CaseRecord]) -> None:
    """Write ``manifest.json``: the recipe, the versions, and every case without its time.

    Raises:
        StorageError: it cannot be written.
    """
    hidden = {"case", "seconds", "status", "run"}
    done = {r.case: r for r in records.values() if r.status == "done"}
    cases = {name: {k: v for k, v in asdict(r).items() if k not in hidden and v != ""} for name, r in done.items()}
    failed = {r.case: r.error for r in records.values() if r.status == "failed"}
    content = {"format": "medfs dataset 1", **described, "cases": cases, "failed": failed}
    with atomic_path(output / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
