"""AMOS22: abdominal CT and MR in the axis order RAS, otherwise as released.

TAK and GALoss trained on ready-made arrays whose resolution is undocumented and windowed them at loading; DHC resized
whole volumes without regard to spacing. Neither can be told from the release, so voxels and spacing are kept here and
training windows and resamples. ``labelsVa`` is what those papers test on. Ids from 507 on are MR.
"""

import sys
from pathlib import Path

from preprocessing.command import main
from preprocessing.recipe import RawDataset, Recipe, label_names
from preprocessing.steps import Step
from preprocessing.volumes import folder_of, numbered, paired

_PARTS = ("Tr", "Va", "Ts")


def find(source: Path) -> RawDataset:
    """The cases of ``imagesTr``, ``imagesVa`` and ``imagesTs``; those of ``imagesTs`` may lack a label map."""
    root = folder_of(source, "imagesTr", "amos22/imagesTr", "AMOS22/imagesTr").parent
    images, labels = (
        {
            part: numbered(
                (root / f"{kind}{part}").iterdir() if (root / f"{kind}{part}").is_dir() else (), r"(amos_\d+)"
            )
            for part in _PARTS
        }
        for kind in ("images", "labels")
    )
    cases = [case for part in _PARTS for case in paired(images[part], labels[part], images["Ts"])]
    return RawDataset(cases, label_names("amos"))


RECIPE = Recipe(
    name="amos",
    about="AMOS22 abdominal CT and MR to NIfTI in the axis order RAS, voxels and spacing as released.",
    find=find,
    steps=(Step("CanonicalOrientationd", ("image", "label"), {"codes": "RAS"}),),
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
