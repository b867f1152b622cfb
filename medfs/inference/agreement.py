"""How far supports, each taken alone, agree with what they give together."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

LOW_PERCENT = 70
"""Below this mean an organ of a case is pointed out."""


def agreement_percent(
    labels: NDArray[np.integer], alone: Sequence[NDArray[np.integer]], shows: Mapping[int, Sequence[bool]]
) -> NDArray[np.uint8]:
    """The share of supports in percent that, taken alone, give a voxel the same label as all of them together.

    A support that does not show an organ has no say where that organ was found; in the background all have one.

    Args:
        labels: (X, Y, Z), of all supports together.
        alone: (X, Y, Z) of each of K supports.
        shows: for each label value but 0, which supports show it; at least one does.

    >>> labels, alone = np.array([[[1, 1, 0]]]), [np.array([[[1, 2, 0]]]), np.array([[[1, 1, 1]]])]
    >>> agreement_percent(labels, alone, {1: [True, True], 2: [True, True]}).ravel().tolist()
    [100, 50, 50]
    """
    votes, voters = np.zeros(labels.shape, np.uint8), np.zeros(labels.shape, np.uint8)
    for index, each in enumerate(alone):
        say = np.isin(labels, [0, *(value for value, showing in shows.items() if showing[index])])
        votes += say & (each == labels)
        voters += say
    return np.rint(100.0 * votes / voters).astype(np.uint8)


def mean_agreement(labels: NDArray[np.integer], percent: NDArray[np.uint8]) -> dict[int, float]:
    """Mean of :func:`agreement_percent` over the voxels of each label that is there, but 0.

    >>> mean_agreement(np.array([[[1, 1, 0]]]), np.array([[[100, 50, 50]]], np.uint8))
    {1: 75.0}
    """
    counts = np.bincount(labels.ravel())
    sums = np.bincount(labels.ravel(), weights=percent.ravel())
    return {value: float(sums[value] / counts[value]) for value in np.flatnonzero(counts).tolist() if value}
