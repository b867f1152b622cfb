"""What a finished folder run comes to: ``report.json`` and ``report.csv``, the same bytes for the same results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import medfs
from medfs.errors import StorageError
from medfs.export import write_table
from medfs.inference.sharing import SharedCases
from medfs.io import atomic, atomic_path

FINAL_REPORTS = ("report.json", "report.csv")
_OF_A_CASE = (
    *("status", "input", "input_sha256", "outputs", "warnings", "error", "rung", "agreement_percent"),
    *("supervoxels", "sizes", "mask_fraction"),
)


def remove_final_report(folder: Path) -> None:
    """Remove what says that a run came to its end, before another one starts.

    Raises:
        StorageError: it cannot be removed.
    """
    for name in FINAL_REPORTS:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{folder / name}: cannot be replaced: {error.strerror or error}") from error


def write_final_report(
    folder: Path, cases: Mapping[str, Path], parameters: Mapping[str, Any], shared: SharedCases
) -> None:
    """Write both files about all cases; they hold no times, so that equal results give equal bytes.

    When another process adds to the report meanwhile they are written again, so that the last of several processes
    leaves what is true.

    Args:
        folder: of the results.
        cases: file by case name.
        parameters: of the run.
        shared: knows what is settled.

    Raises:
        StorageError: a file cannot be written.
    """
    rows = None
    while rows != (found := [_row(case, path, shared) for case, path in cases.items()]):
        rows = found
        counts = {status: sum(row["status"] == status for row in rows) for status in ("done", "failed", "queued")}
        content = {"medfs": medfs.__version__, **counts, "parameters": parameters, "cases": rows}
        with atomic_path(folder / FINAL_REPORTS[0]) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")
        atomic.reached("between_reports")
        if rows:
            write_table(folder / FINAL_REPORTS[1], [_flat(row) for row in rows])


def _row(case: str, path: Path, shared: SharedCases) -> dict[str, Any]:
    record = shared.outcome(case)
    if record is None:
        return {"case": case, "status": "queued", "input": str(path)}
    kept = {key: record[key] for key in _OF_A_CASE if record.get(key)}
    status = "done" if record["status"] == "skipped" else record["status"]
    return {"case": case, **kept, "status": status, "input": str(path)}


def _flat(row: Mapping[str, Any]) -> dict[str, str]:
    """A row for a spreadsheet."""
    return {
        "case": row["case"],
        "status": row["status"],
        "error": row.get("error", ""),
        "warnings": "; ".join(row.get("warnings", ())),
        "memory": row.get("rung", ""),
        "input": row["input"],
        "input_sha256": row.get("input_sha256", ""),
        "outputs": " ".join(row.get("outputs", ())),
    }
