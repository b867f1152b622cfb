"""AMOS22: abdominal CT and MR in the axis order RAS, otherwise as released.

TAK and GALoss trained on ready-made arrays whose resolution is undocumented and windowed them at loading; DHC resized
whole volumes without regard to spacing. Neither can be told from the release, so voxels and spacing are kept here and
training windows and resamples. ``labelsVa`` is what those papers test on. Ids from 507 on are MR; the papers window
them like CT, to [-125, 275].
"""

import sys
from pathlib import Path

from preprocessing.command import main
from preprocessing.recipe import RawDataset, Recipe, label_names
from preprocessing.splits import PublishedSplits
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
    splits=PublishedSplits(
        "amos",
        refused={
            "10p": "its 21 labelled cases are not documented; give a JSON file with the lists you have",
            "20p": "its published lists leak: of its 192 cases 20 are not in the training list, and 3 labelled ones "
            "are in the evaluation list; take 2p, 5p or a JSON file of your own",
        },
        training_folder="imagesTr",
        test_folder="imagesVa",
        without_validation="no validation cases: the 24 of the papers are not documented and count as unlabelled here; "
        "give the released eval.txt with --validation",
    ),
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
