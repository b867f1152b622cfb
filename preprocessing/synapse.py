"""Synapse (BTCV) abdominal CT, resampled to 1.5 x 1.5 x 2 mm for semi-supervised training.

**Differs from the paper**: MagicNet resamples so and standardises each volume, and its files hint at a clip or crop
that nobody documented (TAK and GALoss use those files). Here Hounsfield units are kept; training windows them.
"""

import sys
from pathlib import Path

from preprocessing.command import main
from preprocessing.recipe import RawDataset, Recipe, label_names
from preprocessing.splits import PublishedSplits
from preprocessing.steps import Step, resample_steps
from preprocessing.volumes import folder_of, numbered, paired


def find(source: Path) -> RawDataset:
    """The cases of ``RawData/Training/img/imgNNNN.nii.gz`` with ``RawData/Training/label/labelNNNN.nii.gz``."""
    images = folder_of(source, "RawData/Training/img", "Training/img", "img")
    labels = images.parent / "label"
    found = paired(
        numbered(images.iterdir(), r"img(\d+)"),
        numbered(labels.iterdir() if labels.is_dir() else (), r"label(\d+)"),
    )
    return RawDataset(found, label_names("synapse"))


RECIPE = Recipe(
    name="synapse",
    about="Synapse (BTCV) abdominal CT to NIfTI of 1.5 x 1.5 x 2 mm in Hounsfield units.",
    find=find,
    steps=(
        Step("CanonicalOrientationd", ("image", "label"), {"codes": "RAS"}),
        *resample_steps(spacing_mm=(1.5, 1.5, 2.0)),
    ),
    splits=PublishedSplits("synapse"),
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
