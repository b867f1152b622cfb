"""CHAOS CT: portal venous abdominal CT with the liver, DICOM and mask pictures, to NIfTI in Hounsfield units."""

import sys
from pathlib import Path

from preprocessing.chaos_masks import chaos_cases
from preprocessing.command import main
from preprocessing.recipe import RawDataset, Recipe
from preprocessing.steps import Step


def find(source: Path) -> RawDataset:
    """The cases of ``CT/<id>/DICOM_anon`` with ``CT/<id>/Ground``."""
    return RawDataset(chaos_cases(source, "CT"), {1: "liver"})


RECIPE = Recipe(
    name="chaos_ct",
    about="CHAOS CT (DICOM and PNG masks) to NIfTI in Hounsfield units, on the grid of the scanner.",
    find=find,
    steps=(Step("CanonicalOrientationd", ("image", "label"), {"codes": "LAS"}),),
    codes={range(1, 2): 1, range(255, 256): 1},
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
