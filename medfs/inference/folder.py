"""A folder in, a folder out: one case at a time, one bad case never stops the others."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medfs.anatomy import LabelSet
from medfs.errors import ExitCode
from medfs.export import statistics_rows, write_color_table, write_preview, write_seg_nrrd, write_table
from medfs.inference.page import write_run_page
from medfs.inference.records import CaseRecord, append_record, exit_code, failure, output_hashes, seconds_since
from medfs.io import Volume, make_folder, read_image, write_labels


class Segments(Protocol):
    """What turns a volume into labels on its grid, and knows what they mean."""

    label_set: LabelSet

    def __call__(self, volume: Volume) -> np.ndarray:
        """Labels (X, Y, Z)."""


@dataclass(frozen=True, slots=True)
class FolderRun:
    """What to write for each case of a folder.

    Attributes:
        segment: from volume to labels.
        output: folder of the results, made if missing.
        slicer: also write ``<case>.seg.nrrd`` for 3D Slicer.
        preview: also write ``<case>_preview.png``.
        statistics: also write ``statistics.csv`` over all cases.
        page: also write ``report.html`` with the outcome of all cases, volumes and, with ``preview``, pictures.
        read: from file to volume.
    """

    segment: Segments
    output: Path
    slicer: bool = False
    preview: bool = False
    statistics: bool = False
    page: bool = False
    read: Callable[[Path], Volume] = read_image

    def run(self, cases: Mapping[str, Path], on_case: Callable[[CaseRecord], None] = lambda record: None) -> ExitCode:
        """Segment every case, append a line each to ``report.jsonl`` and say how it went.

        Args:
            cases: file by case name.
            on_case: called after each case.

        Raises:
            StorageError: the output folder cannot be written; other troubles fail their case alone.
        """
        make_folder(self.output)
        records, rows = [], []
        for case, path in cases.items():
            record, statistics = self._case(case, path)
            append_record(self.output, asdict(record))
            records.append(record)
            rows += statistics
            on_case(record)
        if self.statistics and rows:
            write_table(self.output / "statistics.csv", rows)
        if self.page:
            write_run_page(self.output, records, rows)
        return exit_code(records)

    def _case(self, case: str, path: Path) -> tuple[CaseRecord, list[dict[str, Any]]]:
        start = time.monotonic()
        try:
            volume = self.read(path)
            labels = self.segment(volume)
            outputs, rows = self._write(case, volume, labels)
        except Exception as error:  # whatever it is, the other cases go on
            return CaseRecord(case, "failed", str(path), seconds_since(start), error=failure(path, error)), []
        hashes = output_hashes(self.output, outputs)
        return CaseRecord(case, "done", str(path), seconds_since(start), hashes, volume.warnings), rows

    def _write(self, case: str, volume: Volume, labels: np.ndarray) -> tuple[list[str], list[dict[str, Any]]]:
        """Write the files of one case; the label map comes last, its presence says the case is complete."""
        label_set = self.segment.label_set
        organs = dict(enumerate(label_set.organs))
        written = [f"{case}_seg.csv"]
        write_color_table(self.output / written[0], label_set)
        if self.slicer:
            written.append(f"{case}.seg.nrrd")
            write_seg_nrrd(self.output / written[-1], labels, volume.affine, organs)
        if self.preview:
            written.append(f"{case}_preview.png")
            write_preview(self.output / written[-1], volume, labels, organs)
        written.append(f"{case}_seg.nii.gz")
        write_labels(self.output / written[-1], labels, like=volume)
        rows: list[dict[str, Any]] = []
        if self.statistics or self.page:
            rows = [{"case": case, **row} for row in statistics_rows(labels, volume.affine, organs)]
        return written, rows
