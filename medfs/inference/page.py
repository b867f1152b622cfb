"""A run over a folder as one page: what became of each case, volumes, previews."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medfs.export import PagePicture, PageTable, write_page
from medfs.inference.records import CaseRecord


def write_run_page(output: Path, records: Sequence[CaseRecord], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``report.html`` into the folder of the results.

    Args:
        output: the folder.
        records: of all cases; previews among their outputs are shown.
        rows: of `medfs.export.statistics_rows`, each with its ``case``; none leaves out the volumes.

    Raises:
        StorageError: it cannot be written.
    """
    failed = sum(record.status == "failed" for record in records)
    outcomes = [
        (record.case, record.status, f"{record.seconds:.1f}", record.error or "; ".join(record.warnings))
        for record in records
    ]
    tables = [PageTable("Cases", ("case", "outcome", "seconds", "what was said"), outcomes)]
    if rows:
        tables.append(_volumes(rows))
    previews = [f"{record.case}_preview.png" for record in records]
    pictures = [
        PagePicture(output / name, record.case)
        for record, name in zip(records, previews, strict=True)
        if name in record.outputs
    ]
    line = f"{len(records)} cases, {failed} of them failed."
    write_page(output / "report.html", "Segmented scans", [line], tables, pictures)


def _volumes(rows: Sequence[Mapping[str, Any]]) -> PageTable:
    organs = list(dict.fromkeys(row["organ"] for row in rows))
    by_case: dict[str, dict[str, str]] = {}
    for row in rows:
        mark = " *" if row["touches_border"] else ""
        by_case.setdefault(row["case"], {})[row["organ"]] = f"{row['volume_ml']:.1f}{mark}"
    return PageTable(
        "Volumes in ml",
        ("case", *organs),
        [(case, *(volumes.get(organ, "") for organ in organs)) for case, volumes in by_case.items()],
        "* touches the border of the scan and is probably cut off.",
    )
