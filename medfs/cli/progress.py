"""What a run over a folder shows while it goes on."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from medfs.inference import CaseRecord


def case_reporter(total: int, console: "Console") -> Callable[["CaseRecord"], None]:
    """What prints a line for each of ``total`` segmented cases, with a bar below them on a terminal."""
    from rich.progress import track

    count = iter(track(range(total), "segmenting", console=console, disable=not console.is_terminal))

    def report(record: "CaseRecord") -> None:
        place = next(count) + 1
        outcome = record.error or f"{record.seconds:.1f} s" + "".join(f"; {line}" for line in record.warnings)
        console.print(f"[{place}/{total}] {record.case}: {record.status}, {outcome}", markup=False)

    return report
