"""Supervoxels of a folder of scans: resumable, one bad case never stops the others. Needs neither torch nor MONAI."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import medfs
from medfs.body_mask import body_mask, published_body_mask
from medfs.errors import InputError, MedfsError, UsageError
from medfs.export import write_supervoxel_preview
from medfs.inference.case_run import CaseRun
from medfs.inference.records import CaseRecord, failure, output_hashes, seconds_since
from medfs.io import Volume, file_sha256, read_image, write_labels
from medfs.io.header import HEADER_BYTES, parse_header
from medfs.io.names import shown
from medfs.io.stream import file_head
from medfs.io.volume import slice_axis
from medfs.supervoxels import felzenszwalb_3d

MASKS = ("body", "published", "none")

_BYTES_OF_PYTHON, _BYTES_PER_VOXEL = 120_000_000, 40  # the most that was measured, docs/supervoxels.md
_drawing = threading.Lock()  # matplotlib shares its font cache between threads


@dataclass(frozen=True, slots=True)
class SupervoxelRecord(CaseRecord):
    """One line of ``report.jsonl``.

    Attributes:
        input_sha256: of the scan's file.
        parameters: those of the run, and the version of medfs.
        supervoxels: their number.
        sizes: ``min``, ``median`` and ``max`` of their sizes in voxels.
        mask_fraction: part of the volume inside the mask.
    """

    input_sha256: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    supervoxels: int = 0
    sizes: Mapping[str, float] = field(default_factory=dict)
    mask_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class SupervoxelRun(CaseRun[SupervoxelRecord]):
    """How to cut each scan of a folder into supervoxels, and where to write them.

    Attributes:
        output: folder of the results, made if missing.
        min_size: smallest supervoxel in voxels, see :func:`medfs.supervoxels.felzenszwalb_3d`.
        scale: see there.
        sigma_mm: see there.
        mask: ``body``, ``published`` (functions of :mod:`medfs.body_mask`) or ``none``; applied before the graph.
        preview: also write ``<case>_preview.png``.
        workers: cases at a time, as threads; the results do not depend on it.
        part: see :class:`CaseRun`, as for ``since``.

    Raises:
        UsageError: a parameter cannot be used.
    """

    record_type: ClassVar = SupervoxelRecord

    output: Path
    min_size: int = 5000
    scale: float = 1.0
    sigma_mm: float = 0.0
    mask: str = "body"
    preview: bool = False
    workers: int = 1
    part: tuple[int, int] = (1, 1)
    since: int | None = None

    def __post_init__(self) -> None:
        """Check what no scan is needed for."""
        if self.workers < 1:
            raise UsageError(f"workers {self.workers}; expected at least 1")
        supervoxels(Volume.from_array(np.empty((0, 0, 0)), np.eye(4)), **self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of :func:`supervoxels`."""
        return {"min_size": self.min_size, "scale": self.scale, "sigma_mm": self.sigma_mm, "mask": self.mask}

    @property
    def parameters(self) -> dict[str, Any]:
        """All that the result depends on besides the scan."""
        return {**self.settings, "medfs": medfs.__version__}

    def _check(self, cases: Mapping[str, Path]) -> None:
        if any(path.parent.resolve() == self.output.resolve() for path in cases.values()):
            raise UsageError(
                f"{self.output}: holds the scans; choose another folder, results are named like their scan"
            )

    def _files(self, case: str) -> list[str]:
        """The names that a case's results get, in the order in which they are written."""
        return [f"{case}_preview.png"] * self.preview + [f"{case}.nii.gz"]

    def _case(self, case: str, path: Path, is_ours: Callable[[], bool]) -> SupervoxelRecord | None:
        start = time.monotonic()
        record = partial(SupervoxelRecord, case, input=str(path), parameters=self.parameters)
        try:
            digest = file_sha256(path)
            volume = read_image(path)
            labels = supervoxels(volume, **self.settings)
            sizes = np.bincount(labels.ravel(order="K"))[1:]
            if not is_ours():
                return None
            if self.preview:
                with _drawing:
                    write_supervoxel_preview(self.output / f"{case}_preview.png", volume, labels)
            write_labels(self.output / f"{case}.nii.gz", labels, like=volume)
            outputs = output_hashes(self.output, self._files(case))
        except Exception as error:  # whatever it is, the other cases go on
            return record("failed", seconds=seconds_since(start), error=failure(path, error))
        warnings = volume.warnings
        if small := int(np.count_nonzero(sizes < self.min_size)):
            warnings += (f"{shown(path)}: {small} of {sizes.size} supervoxels are below {self.min_size} voxels",)
        return record(
            "done",
            seconds=seconds_since(start),
            outputs=outputs,
            warnings=warnings,
            input_sha256=digest,
            supervoxels=sizes.size,
            sizes={"min": int(sizes.min()), "median": float(np.median(sizes)), "max": int(sizes.max())},
            mask_fraction=round(float(sizes.sum()) / labels.size, 4),
        )


def supervoxels(
    volume: Volume, *, min_size: int = 5000, scale: float = 1.0, sigma_mm: float = 0.0, mask: str = "body"
) -> NDArray[np.int32]:
    """Cut a scan into supervoxels, whatever the order of its axes.

    Slices run along :func:`slice_axis`: that is the axis whose spacing weights the graph, and masks are filled in them.

    Args:
        volume: the scan.
        min_size: see :func:`medfs.supervoxels.felzenszwalb_3d`, as for the next two.
        scale: as there.
        sigma_mm: as there.
        mask: one of :data:`MASKS`.

    Returns:
        Labels on the grid of ``volume``, consecutive from 1, 0 outside the mask. An empty volume gives an empty one.

    Raises:
        UsageError: a parameter cannot be used.
        InputError: no body was found, or a voxel is not finite.
    """
    if mask not in MASKS:
        raise UsageError(f"mask {mask!r}; expected one of {', '.join(MASKS)}")
    axis = slice_axis(volume.affine)
    array = np.moveaxis(volume.array, axis, 2)
    spacing = (*np.delete(volume.spacing_mm, axis).tolist(), volume.spacing_mm[axis])
    inside = None
    if mask == "body":
        inside = body_mask(array, spacing_mm=spacing)
    elif mask == "published":
        inside = published_body_mask(array)
    if inside is not None and inside.size and not inside.any():
        raise InputError(f"{shown(volume.path)}: no body found; look at the scan, or use mask none")
    labels = felzenszwalb_3d(array, spacing_mm=spacing, scale=scale, sigma_mm=sigma_mm, min_size=min_size, mask=inside)
    if inside is None:
        labels += 1
    return np.moveaxis(labels, 2, axis)


def expected_bytes(paths: Iterable[Path], at_a_time: int = 1) -> int:
    """Memory that a run will take at most, Python included.

    Args:
        paths: of the scans; their headers are read. Those that are no NIfTI are not counted.
        at_a_time: number of cases in memory.

    Returns:
        An estimate; 0 if no header could be read.
    """
    largest = 0
    for path in paths:
        try:
            largest = max(largest, prod(parse_header(file_head(path, HEADER_BYTES), shown(path)).shape))
        except (MedfsError, OSError):
            continue  # no NIfTI, or a case that will fail in its turn
    return _BYTES_OF_PYTHON + _BYTES_PER_VOXEL * largest * at_a_time if largest else 0
