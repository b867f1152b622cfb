"""The largest piece of each organ."""

from typing import Any

import cc3d
import numpy as np

from medfs.anatomy import LabelSet
from medfs.inference.folder import Segments
from medfs.io import Volume


def largest_components(labels: np.ndarray) -> np.ndarray:
    """Keep the largest connected piece of each label; the other pieces become background.

    Voxels that share a corner are connected. Of pieces of one size the one that comes first in memory stays.

    Args:
        labels: ``(X, Y, Z)`` integers, 0 is background.

    Returns:
        The kept labels, of the same shape and type; a new array. Without any label there is nothing to lose.

    >>> largest_components(np.array([[[2, 2, 0, 2, 0, 1]]])).ravel().tolist()
    [2, 2, 0, 0, 0, 1]
    """
    if labels.size == 0:
        return labels.copy()
    pieces: Any = cc3d.connected_components(np.ascontiguousarray(labels), connectivity=26)
    sizes = np.bincount(pieces.ravel())
    label_of = np.zeros(len(sizes), labels.dtype)
    label_of[pieces.ravel()] = labels.ravel()
    order = np.lexsort((np.arange(len(sizes)), -sizes, label_of))  # by label, then size; earlier pieces first
    _, firsts = np.unique(label_of[order], return_index=True)
    kept = np.zeros(len(sizes), bool)
    kept[order[firsts]] = True
    return np.where(kept[pieces], labels, 0).astype(labels.dtype)


class LargestComponents:
    """A segmenter of which only the largest piece of each organ is kept.

    Args:
        segment: gives the organs.
    """

    def __init__(self, segment: Segments) -> None:
        self.segment = segment
        self.label_set: LabelSet = segment.label_set

    def __call__(self, volume: Volume) -> np.ndarray:
        """Labels (X, Y, Z), one piece for each organ."""
        return largest_components(self.segment(volume))
