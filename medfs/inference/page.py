"""A run over a folder as one page: what became of each case, volumes, previews."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medfs.export import PagePicture, PageTable, write_page
from medfs.inference.agreement import LOW_PERCENT
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
    if rows and "agreement_percent" in rows[0]:
        tables.append(_agreement(rows))
    previews = [f"{record.case}_preview.png" for record in records]
    pictures = [
        PagePicture(output / name, record.case)
        for record, name in zip(records, previews, strict=True)
        if name in record.outputs
    ]
    line = f"{len(records)} cases, {failed} of them failed."
    write_page(output / "report.html", "Segmented scans", [line], tables, pictures)


def _volumes(rows: Sequence[Mapping[str, Any]]) -> PageTable:
    cells = [f"{row['volume_ml']:.1f}" + (" *" if row["touches_border"] else "") for row in rows]
    note = "* touches the border of the scan and is probably cut off."
    return _by_case("Volumes in ml", rows, cells, note)


def _agreement(rows: Sequence[Mapping[str, Any]]) -> PageTable:
    means = [row["agreement_percent"] for row in rows]
    cells = ["" if mean == "" else f"{mean:.0f}" + (" !" if mean < LOW_PERCENT else "") for mean in means]
    note = f"! below {LOW_PERCENT}: look at this one first. Empty where the organ was not found."
    return _by_case("Agreement of the supports in %", rows, cells, note)


def _by_case(title: str, rows: Sequence[Mapping[str, Any]], cells: Sequence[str], note: str) -> PageTable:
    """A line for each case, a column for each organ."""
    organs = list(dict.fromkeys(row["organ"] for row in rows))
    by_case: dict[str, dict[str, str]] = {}
    for row, cell in zip(rows, cells, strict=True):
        by_case.setdefault(row["case"], {})[row["organ"]] = cell
    lines = [(case, *(found.get(organ, "") for organ in organs)) for case, found in by_case.items()]
    return PageTable(title, ("case", *organs), lines, note)
