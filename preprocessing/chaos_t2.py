"""CHAOST2: T2-SPIR MR of the CHAOS challenge, preprocessed as few-shot papers do (after Ouyang et al., ECCV 2020).

**Differs from the paper**: the published steps flip the masks upside down to fit what dcm2nii makes of the images, and
number grey values by rank. Here geometry pairs both, and the codes of the challenge are a fixed table. The origin moves
with the crop, and an exact fit of the spacing has no extra sample (``--published-sizes`` adds it).
"""

import sys
from pathlib import Path

from preprocessing.chaos_masks import chaos_cases
from preprocessing.command import main
from preprocessing.recipe import PublishedFolds, RawDataset, Recipe, label_names
from preprocessing.steps import Step, crop_steps, resample_steps

_IDS = (1, 2, 3, 5, 8, 10, 13, 15, 19, 20, 21, 22, 31, 32, 33, 34, 36, 37, 38, 39)


def find(source: Path) -> RawDataset:
    """The cases of ``MR/<id>/T2SPIR/DICOM_anon`` with ``MR/<id>/T2SPIR/Ground``."""
    return RawDataset(chaos_cases(source, "MR", "T2SPIR"), label_names("chaos"))


RECIPE = Recipe(
    name="chaos_t2",
    about="CHAOS MR T2-SPIR (DICOM and PNG masks) to NIfTI as few-shot papers use it.",
    find=find,
    steps=(
        Step("CanonicalOrientationd", ("image", "label"), {"codes": "LAS"}),
        Step("ClipPercentiled", ("image",), {"upper": 99.5}),
        *resample_steps(spacing_mm=(1.25, 1.25, 7.7)),
        *crop_steps((256, 256)),
    ),
    # The challenge gives these ranges around 63, 126, 189 and 252.
    codes={range(55, 71): 1, range(110, 136): 2, range(175, 201): 3, range(240, 256): 4},
    folds=PublishedFolds.consecutive(tuple(map(str, _IDS)), 4),
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
