"""CMR: the bSSFP (C0) scans of MS-CMRSeg 2019, preprocessed as few-shot papers do.

**Differs from the paper**: label ids 1, 2 and 3 are written instead of 200, 500 and 600, and the origin moves with the
crop.
"""

import sys
from pathlib import Path

from preprocessing.command import main
from preprocessing.recipe import PublishedFolds, RawDataset, Recipe, label_names
from preprocessing.steps import Step, crop_steps, resample_steps
from preprocessing.volumes import numbered, paired

_LABELLED = 35


def find(source: Path) -> RawDataset:
    """The scans ``patient<n>_C0`` with ``patient<n>_C0_manual`` in any folder, or ``image_<n>`` with ``label_<n>``."""
    files = [path for path in source.rglob("*") if path.is_file()]
    images, labels = numbered(files, r"patient(\d+)_C0"), numbered(files, r"patient(\d+)_C0_manual")
    if not images:
        images, labels = numbered(files, r"image_(\d+)"), numbered(files, r"label_(\d+)")
    unlabelled = [number for number in images if int(number) > _LABELLED]
    return RawDataset(paired(images, labels, unlabelled), label_names("cmr"))


RECIPE = Recipe(
    name="cmr",
    about="MS-CMRSeg 2019 bSSFP to NIfTI as few-shot papers use it (CMR).",
    find=find,
    steps=(
        Step("CanonicalOrientationd", ("image", "label"), {"codes": "LAS"}),
        Step("ClipPercentiled", ("image",), {"upper": 99.5}),
        *resample_steps(spacing_mm=(1.25, 1.25, 7.99)),
        *crop_steps((256, 256)),
    ),
    codes={range(200, 201): 1, range(500, 501): 2, range(600, 601): 3},
    folds=PublishedFolds.consecutive(tuple(str(number) for number in range(1, _LABELLED + 1)), 7),
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
