"""A folder of pictures in, masks and overlays out: one picture at a time, one bad picture never stops the others."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from medfs.export.overlay import write_overlay
from medfs.fewshot import SupportedSegmentor
from medfs.inference.case_run import CaseRun
from medfs.inference.folder import SegmentedRecord
from medfs.inference.records import failure, output_hashes, seconds_since
from medfs.io import file_sha256
from medfs.io.picture_sets import read_pictures
from medfs.transforms.pictures import labels_of_scores, normalised, stretched, write_picture_labels


class PictureLabeller:
    """Labels of a picture from a network with supports inside.

    Args:
        network: logits (n, 1 + N, *S) of pictures (n, 3, *S).
        size: rows and columns at which it sees pictures.
        device: where to compute.
    """

    def __init__(self, network: SupportedSegmentor, size: int, device: torch.device | str = "cpu") -> None:
        self.network, self.size, self.device = network.to(device).eval(), size, device

    @torch.no_grad()  # not inference mode: heads that adapt to a picture need gradients
    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels (n, rows, columns) of pictures (n, rows, columns, 3), class n as n + 1."""
        seen = normalised(stretched(pictures, self.size)).to(self.device)
        return labels_of_scores(self.network(seen).movedim(0, 1), pictures.shape[1:3])


@dataclass(frozen=True, slots=True)
class PictureFolderRun(CaseRun[SegmentedRecord]):
    """What to write for each picture of a folder: ``<case>_overlay.png``, and ``<case>_seg.png`` with label values.

    Attributes:
        segment: from pictures (1, rows, columns, 3) to labels (1, rows, columns).
        output: folder of the results, made if missing.
        classes: names of the label values from 1 on; one that is not found is reported.
        parameters: see :class:`CaseRun`, as for ``part`` and ``since``.
    """

    record_type: ClassVar = SegmentedRecord

    segment: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    output: Path
    classes: Sequence[str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    part: tuple[int, int] = (1, 1)
    since: int | None = None

    def _files(self, case: str) -> list[str]:
        """The names of a picture's files in the order of writing."""
        return [f"{case}_overlay.png", f"{case}_seg.png"]

    def _case(self, case: str, path: Path, is_ours: Callable[[], bool]) -> SegmentedRecord | None:
        start = time.monotonic()
        record = partial(SegmentedRecord, case, input=str(path), parameters=self.parameters)
        try:
            digest = file_sha256(path)
            pictures = read_pictures([path])
            labels = self.segment(pictures)
            if not is_ours():
                return None
            write_overlay(self.output / f"{case}_overlay.png", pictures[0], labels[0])
            write_picture_labels(path, labels, self.output)
            missing = [name for value, name in enumerate(self.classes, start=1) if not (labels == value).any()]
            return record(
                "done",
                seconds=seconds_since(start),
                outputs=output_hashes(self.output, self._files(case)),
                warnings=(f"not found: {', '.join(missing)}",) if missing else (),
                input_sha256=digest,
            )
        except Exception as error:  # whatever it is, the other pictures go on
            return record("failed", seconds=seconds_since(start), error=failure(path, error))
