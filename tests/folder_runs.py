"""A small folder of scans, a network that is a threshold, and processes to kill."""

import faulthandler
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medfs.anatomy import custom_label_set
from medfs.inference import FolderRun
from medfs.io import Volume, atomic, find_images, write_image

PARAMETERS = {"network": "threshold"}
POINTS = (
    *("claimed", "running", "segmented", "before_write", "after_write", "before_replace", "after_replace"),
    *("before_record", "after_record", "released", "between_reports"),
)


class Threshold:
    """Liver where the scan is positive; notes each call in a file that all processes share."""

    label_set = custom_label_set(["liver", "spleen"])

    def __init__(self, calls: Path | None = None, pause_s: float = 0.0):
        self.calls, self.pause_s = calls, pause_s

    def __call__(self, volume):
        if self.calls is not None:
            with self.calls.open("a") as file:
                file.write(f"{volume.path.name}\n")
        time.sleep(self.pause_s)
        return (volume.array > 0).astype(np.uint8)


def make_scans(folder: Path, count: int, bad: int = 0) -> Path:
    """Scans ``c00``, ``c01``, ...; the last ``bad`` ones are broken, each in its own way."""
    folder.mkdir(parents=True)
    for number in range(count):
        array = np.random.default_rng(number).normal(size=(9, 8, 7)).astype(np.float32)
        path = folder / f"c{number:02}.nii.gz"
        write_image(path, array, Volume.from_array(array, np.diag([1.0, 1.5, 2.0, 1.0])))
        kind = number - (count - bad)
        if kind >= 0:
            whole = path.read_bytes()
            kinds = (b"", b"no scan", whole[: len(whole) // 2], whole[:-6], whole[:60] + b"\xff\x00" + whole[62:])
            path.write_bytes(kinds[kind])
    return folder


def segment_folder(scans: Path, output: Path, **options):
    """A run over the folder, as ``medfs segment`` makes it."""
    segment = options.pop("segment", Threshold())
    options = {"parameters": PARAMETERS, "statistics": True} | options
    return FolderRun(segment, output, **options).run(find_images([scans]))


def results(output: Path) -> dict[str, bytes]:
    """All that a run leaves under final names, but for the report with the times."""
    return {
        path.name: path.read_bytes()
        for path in output.iterdir()
        if path.name != "report.jsonl" and not path.name.startswith(".medfs-")
    }


def forked(work: Callable[[], object]) -> int:
    """The id of a new process that does the work and leaves with its value."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()  # it would print of deaths that are wanted
        code = 99
        try:
            code = int(work() or 0)
        except SystemExit as end:
            code = int(end.code or 0)
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)
    return child


def ended(child: int) -> int:
    """Its exit code, minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(point: str, occurrence: int) -> Callable[[str], None]:
    """A hook for :func:`medfs.io.atomic.reached` that kills this process at the given time at a point."""
    left = [occurrence]

    def reached(name: str) -> None:
        if name == point:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached


def run_killed_at(point: str, occurrence: int, work: Callable[[], object]) -> int:
    """Do the work in a process that is killed at a point; how it ended."""

    def hooked() -> object:
        atomic.reached = killed_at(point, occurrence)
        return work()

    return ended(forked(hooked))
