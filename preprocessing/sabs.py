"""SABS: the same scans as :mod:`preprocessing.synapse`, preprocessed as few-shot papers do (after Ouyang et al., 2020).

**Differs from the paper**: the window itself is mapped to [0, 255], not the extremes of each scan inside it; the origin
moves with the crop; slices are 256 x 256, as many as in the file (``--published-sizes`` makes 257 x 257 and one more).
"""

import sys

from preprocessing.command import main
from preprocessing.recipe import PublishedFolds, Recipe
from preprocessing.steps import Step, crop_steps, resample_steps
from preprocessing.synapse import find

_IDS = (*range(1, 11), *range(21, 41))

RECIPE = Recipe(
    name="sabs",
    about="Synapse (BTCV) abdominal CT to NIfTI as few-shot papers use it (SABS).",
    find=find,
    steps=(
        Step("CanonicalOrientationd", ("image", "label"), {"codes": "LAS"}),
        Step("WindowHUd", ("image",), {"low_hu": -125.0, "high_hu": 275.0, "output_range": (0.0, 255.0)}),
        *crop_steps((448, 448)),
        *resample_steps(spacing_factor=(1.75, 1.75, None)),
    ),
    folds=PublishedFolds.consecutive(tuple(f"{number:04d}" for number in _IDS), 6),
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
