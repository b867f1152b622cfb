"""A folder in, a folder out: one case at a time, one bad case never stops the others."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medfs.anatomy import LabelSet
from medfs.errors import ExitCode
from medfs.export import statistics_rows, write_color_table, write_preview, write_seg_nrrd, write_table
from medfs.inference.agreement import LOW_PERCENT, mean_agreement
from medfs.inference.page import write_run_page
from medfs.inference.records import (
    CaseRecord,
    append_record,
    exit_code,
    failure,
    is_done,
    output_hashes,
    read_records,
    seconds_since,
)
from medfs.io import Volume, file_sha256, make_folder, read_image, read_labels, write_image, write_labels
from medfs.io.atomic import remove_stale_temporaries


class Segments(Protocol):
    """What turns a volume into labels on its grid, and knows what they mean."""

    label_set: LabelSet

    def __call__(self, volume: Volume) -> np.ndarray:
        """Labels (X, Y, Z)."""


@dataclass(frozen=True, slots=True)
class SegmentedRecord(CaseRecord):
    """One line of ``report.jsonl``.

    Attributes:
        agreement_percent: mean of the agreement map by organ that was found; empty without agreement.
        input_sha256: of the scan's file; empty where nothing is resumed.
        parameters: those of the run.
    """

    agreement_percent: Mapping[str, float] = field(default_factory=dict)
    input_sha256: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


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
        agreement: from volume to labels and agreement in percent, used in the place of ``segment``; the agreement is
            written as ``<case>_agreement.nii.gz``, its mean over each organ stands in report, statistics and page.
        sought: label values that are looked for; one that is not found is reported.
        parameters: all that the results depend on besides the scan. A case whose record has the same, and whose scan
            and files have the recorded hashes, is skipped, so that a killed run goes on. Without any none is skipped.
    """

    segment: Segments
    output: Path
    slicer: bool = False
    preview: bool = False
    statistics: bool = False
    page: bool = False
    read: Callable[[Path], Volume] = read_image
    agreement: Callable[[Volume], tuple[np.ndarray, np.ndarray]] | None = None
    sought: Sequence[int] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def run(
        self, cases: Mapping[str, Path], on_case: Callable[[SegmentedRecord], None] = lambda record: None
    ) -> ExitCode:
        """Segment every case, append a line each to ``report.jsonl`` and say how it went.

        Args:
            cases: file by case name.
            on_case: called after each case.

        Raises:
            StorageError: the output folder cannot be written; other troubles fail their case alone.
        """
        make_folder(self.output)
        remove_stale_temporaries(self.output)
        known = read_records(self.output) if self.parameters else {}
        records, rows = [], []
        for case, path in cases.items():
            if self._is_done(case, path, known):
                record, statistics = self._skipped(case, path, known[case])
            else:
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

    def _files(self, case: str) -> list[str]:
        """The names of a case's files in the order of writing: the label map says that all of them are there."""
        wanted = {
            f"{case}_seg.csv": True,
            f"{case}.seg.nrrd": self.slicer,
            f"{case}_preview.png": self.preview,
            f"{case}_agreement.nii.gz": self.agreement is not None,
            f"{case}_seg.nii.gz": True,
        }
        return [name for name, is_wanted in wanted.items() if is_wanted]

    def _is_done(self, case: str, path: Path, known: Mapping[str, Mapping[str, Any]]) -> bool:
        return case in known and is_done(
            self.output, known[case], path, parameters=self.parameters, names=self._files(case)
        )

    def _skipped(
        self, case: str, path: Path, record: Mapping[str, Any]
    ) -> tuple[SegmentedRecord, list[dict[str, Any]]]:
        """The record of a case that is done, and its statistics from its files."""
        kept = {entry.name: record[entry.name] for entry in fields(SegmentedRecord) if entry.name in record}
        labels = read_labels(self.output / f"{case}_seg.nii.gz")
        rows = self._rows(case, labels.array, labels.affine, kept.get("agreement_percent", {}))
        return SegmentedRecord(**kept | {"input": str(path), "status": "skipped", "seconds": 0.0}), rows

    def _case(self, case: str, path: Path) -> tuple[SegmentedRecord, list[dict[str, Any]]]:
        start = time.monotonic()
        record = partial(SegmentedRecord, case, input=str(path), parameters=self.parameters)
        try:
            volume = self.read(path)
            labels, percent = self.agreement(volume) if self.agreement else (self.segment(volume), None)
            self._write(case, volume, labels, percent)
            agreement = {} if percent is None else self._means(labels, percent)
            rows = self._rows(case, labels, volume.affine, agreement)
        except Exception as error:  # whatever it is, the other cases go on
            return record("failed", seconds=seconds_since(start), error=failure(path, error)), []
        return record(
            "done",
            seconds=seconds_since(start),
            outputs=output_hashes(self.output, self._files(case)),
            warnings=(*volume.warnings, *self._remarks(labels, agreement)),
            agreement_percent=agreement,
            input_sha256=file_sha256(path) if self.parameters else "",
        ), rows

    def _write(self, case: str, volume: Volume, labels: np.ndarray, percent: np.ndarray | None) -> None:
        """Write the files of one case, in the order of :meth:`_files`."""
        organs = dict(enumerate(self.segment.label_set.organs))
        write_color_table(self.output / f"{case}_seg.csv", self.segment.label_set)
        if self.slicer:
            write_seg_nrrd(self.output / f"{case}.seg.nrrd", labels, volume.affine, organs)
        if self.preview:
            write_preview(self.output / f"{case}_preview.png", volume, labels, organs)
        if percent is not None:
            write_image(self.output / f"{case}_agreement.nii.gz", percent, like=volume)
        write_labels(self.output / f"{case}_seg.nii.gz", labels, like=volume)

    def _means(self, labels: np.ndarray, percent: np.ndarray) -> dict[str, float]:
        names = self.segment.label_set.names
        return {names[value]: round(mean, 1) for value, mean in mean_agreement(labels, percent).items()}

    def _remarks(self, labels: np.ndarray, agreement: Mapping[str, float]) -> list[str]:
        """What is odd about the labels, a line for each matter."""
        missing = [self.segment.label_set.names[value] for value in self.sought if not (labels == value).any()]
        low = [f"{organ} {mean:.0f} %" for organ, mean in agreement.items() if mean < LOW_PERCENT]
        return [f"not found: {', '.join(missing)}"] * bool(missing) + [f"low agreement: {', '.join(low)}"] * bool(low)

    def _rows(
        self, case: str, labels: np.ndarray, affine: np.ndarray, agreement: Mapping[str, float]
    ) -> list[dict[str, Any]]:
        if not (self.statistics or self.page):
            return []
        rows = statistics_rows(labels, affine, dict(enumerate(self.segment.label_set.organs)))
        if self.agreement is None:
            return [{"case": case, **row} for row in rows]
        return [{"case": case, **row, "agreement_percent": agreement.get(row["organ"], "")} for row in rows]
