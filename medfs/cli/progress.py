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
        remarks = [*record.warnings, *filter(None, [getattr(record, "rung", "")])]
        outcome = record.error or f"{record.seconds:.1f} s" + "".join(f"; {line}" for line in remarks)
        say(console, f"[{place}/{total}] {record.case}: {record.status}, {outcome}")

    return report


def print_memory(console: "Console", expected: int) -> None:
    """Say how much memory a run will take at most, if that is known."""
    if expected:
        say(console, f"up to about {expected / 1e9:.2g} GB of memory for the largest case")


def parse_part(text: str) -> tuple[int, int]:
    """``i/n``, the i-th of n parts.

    Raises:
        UsageError: it is something else.
    """
    from medfs.errors import UsageError

    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise UsageError(f"--part {text}: expected i/n with i from 1 to n, e.g. 2/8")
    return int(number), int(parts)


def in_part(total: int, part: tuple[int, int]) -> int:
    """How many of ``total`` cases are in a part."""
    number, parts = part
    return len(range(number - 1, total, parts))


def say(console: "Console", line: str) -> None:
    """Print a line; whoever read them may be gone (``| head``), and the work goes on."""
    try:
        console.print(line, markup=False)
    except (BrokenPipeError, SystemExit):  # rich ends the process at a broken pipe
        console.quiet = True
