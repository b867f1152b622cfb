"""How much memory a folder will take, told before it starts."""

from collections.abc import Iterable, Sequence
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medfs.errors import MedfsError
from medfs.io.header import HEADER_BYTES, parse_header
from medfs.io.names import shown
from medfs.io.stream import file_head

if TYPE_CHECKING:
    from medfs.inference.fewshot import FewShotSegmenter
    from medfs.inference.segmenter import Segmenter

_BYTES_OF_LIBRARIES = 700_000_000
_BYTES_PER_VOXEL = 24  # of the scan: as stored, float32, its labels, what is hashed and written
_FLOATS_PER_WORKING_VOXEL = 6  # image, resampling, weights; the scores come on top
_FLOATS_PER_WINDOW_VOXEL = 12  # of each channel of the first stage, while a window goes through the network


def largest_bytes(paths: Iterable[Path], spacing_mm: Sequence[float] | None, floats: int) -> int:
    """Memory for the scan that takes most of it, libraries included.

    Args:
        paths: of the scans; their headers are read, and those that are no NIfTI are not counted.
        spacing_mm: of the working grid along the axes of the patient; None for that of each scan.
        floats: numbers kept for each voxel of the working grid besides the image.

    Returns:
        An estimate; 0 if no header could be read.
    """
    most = 0
    for path in paths:
        try:
            layout = parse_header(file_head(path, HEADER_BYTES), shown(path), assume_orientation=True)
        except (MedfsError, OSError):
            continue  # no NIfTI, or a case that will fail in its turn
        extent = np.abs(layout.affine[:3, :3]) @ np.asarray(layout.shape)
        working = prod(layout.shape)
        if spacing_mm is not None:
            working = prod(ceil(mm / step) for mm, step in zip(extent, spacing_mm, strict=True))
        needed = _BYTES_PER_VOXEL * prod(layout.shape) + 4 * (_FLOATS_PER_WORKING_VOXEL + floats) * working
        most = max(most, needed)
    return _BYTES_OF_LIBRARIES + most if most else 0


def segmenting_bytes(paths: Iterable[Path], segmenter: "Segmenter") -> int:
    """Memory of ``medfs segment``, that of the GPU included; 0 if no header could be read."""
    spacing, patch, filters = segmenter.geometry
    needed = largest_bytes(paths, spacing, 2 * len(segmenter.label_set))
    windows = segmenter.inferer.sw_batch_size * prod(patch) * filters * _FLOATS_PER_WINDOW_VOXEL * 4
    return needed + windows if needed else 0


def few_shot_bytes(paths: Iterable[Path], segmenter: "FewShotSegmenter") -> int:
    """Memory of ``medfs fewshot`` for a case, without the features of the supports; 0 if no header could be read.

    What calibration takes is over by then: one block of scores, and those of all supports within body and range.
    """
    grid = segmenter.grid
    along = dict(zip(grid.axes, reversed(grid.spacing_mm), strict=True))
    spacing_mm = [along[axis] for pair in ("LR", "PA", "IS") for axis in pair if axis in along]
    classes = (1 + len(segmenter.values)) * len(segmenter.groups)
    scores = classes if segmenter.odds.slices_at_once == 0 else 0
    return largest_bytes(paths, spacing_mm, 2 * scores)
