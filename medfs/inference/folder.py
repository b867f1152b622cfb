"""A folder in, a folder out: one case at a time, one bad case never stops the others."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from medfs.anatomy import LabelSet
from medfs.export import statistics_rows, write_color_table, write_preview, write_seg_nrrd, write_table
from medfs.inference.agreement import LOW_PERCENT, mean_agreement
from medfs.inference.case_run import CaseRun
from medfs.inference.page import write_run_page
from medfs.inference.records import CaseRecord, failure, output_hashes, seconds_since
from medfs.io import Volume, atomic, file_sha256, read_image, read_labels, write_image, write_labels


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
        rung: how memory was saved where it did not suffice; empty where it did.
    """

    agreement_percent: Mapping[str, float] = field(default_factory=dict)
    input_sha256: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    rung: str = ""


@dataclass(frozen=True, slots=True)
class FolderRun(CaseRun[SegmentedRecord]):
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
        parameters: see :class:`CaseRun`, as for ``part`` and ``since``.
        rung: asked after each case how memory was saved.
    """

    record_type: ClassVar = SegmentedRecord

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
    rung: Callable[[], str] = lambda: ""
    part: tuple[int, int] = (1, 1)
    since: int | None = None

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

    def _case(self, case: str, path: Path, is_ours: Callable[[], bool]) -> SegmentedRecord | None:
        start = time.monotonic()
        record = partial(SegmentedRecord, case, input=str(path), parameters=self.parameters)
        try:
            digest = (
                file_sha256(path) if self.parameters else ""
            )  # before the reading: of what changes later it is no proof
            volume = self.read(path)
            labels, percent = self.agreement(volume) if self.agreement else (self.segment(volume), None)
            atomic.reached("segmented")
            if not is_ours():
                return None
            self._write(case, volume, labels, percent)
            agreement = {} if percent is None else self._means(labels, percent)
            return record(
                "done",
                seconds=seconds_since(start),
                outputs=output_hashes(self.output, self._files(case)),
                warnings=(*volume.warnings, *self._remarks(labels, agreement)),
                agreement_percent=agreement,
                input_sha256=digest,
                rung=self.rung(),
            )
        except Exception as error:  # whatever it is, the other cases go on
            return record("failed", seconds=seconds_since(start), error=failure(path, error))

    def _finish(self, records: Sequence[SegmentedRecord]) -> None:
        """Statistics and page, from the files that are there."""
        if not (self.statistics or self.page):
            return
        rows = []
        for record in records:
            if record.status != "failed":
                labels = read_labels(self.output / f"{record.case}_seg.nii.gz")
                rows += self._rows(record.case, labels.array, labels.affine, record.agreement_percent)
        if self.statistics and rows:
            write_table(self.output / "statistics.csv", rows)
        if self.page:
            write_run_page(self.output, records, rows)

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
        rows = statistics_rows(labels, affine, dict(enumerate(self.segment.label_set.organs)))
        if self.agreement is None:
            return [{"case": case, **row} for row in rows]
        return [{"case": case, **row, "agreement_percent": agreement.get(row["organ"], "")} for row in rows]
