"""The decision of an organ set on labelled scans, where the network's own threshold means nothing yet.

A network that was not trained ranks voxels by similarity, but the level at which foreground begins is arbitrary. On the
supports themselves the truth is known: the level with the highest Dice there is taken.
"""

import numpy as np
from numpy.typing import NDArray


def best_offset(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """The level above which scores are foreground, so that the Dice with the truth is highest.

    It lies halfway between two scores, or below all of them. Scores of minus infinity are never foreground. 0 if there
    is nothing to choose.

    Args:
        scores: (n,).
        truth: (n,).

    >>> best_offset(np.array([1.0, 2.0, 3.0, 5.0]), np.array([False, False, True, True]))
    2.5
    """
    total = int(truth.sum())
    looked_at = np.isfinite(scores)
    scores, truth = scores[looked_at], truth[looked_at]
    if not len(scores) or not total:
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    dice = 2 * np.cumsum(truth[order]) / (np.arange(1, len(ranked) + 1) + total)
    last_of_equal = np.append(ranked[1:] < ranked[:-1], True)
    best = int(np.argmax(np.where(last_of_equal, dice, -1)))
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best] - 1
    return float((ranked[best] + below) / 2)
