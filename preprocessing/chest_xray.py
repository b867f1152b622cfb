"""Chest X-ray: lungs in the Montgomery and Shenzhen pictures, as packed on Kaggle.

Benchmarks of cross-domain few-shot segmentation use the 566 Shenzhen pictures with masks (names begin with CHNCXR); the
pack has 138 Montgomery ones (MCUCXR) as well.
"""

import sys
from functools import partial
from pathlib import Path

from preprocessing.command import main
from preprocessing.pictures import above_half, picture_case
from preprocessing.recipe import RawDataset, Recipe
from preprocessing.volumes import failing_case, folder_of

_ROOTS = ("", "Lung Segmentation/", "LungSegmentation/", "data/Lung Segmentation/")


def find(source: Path) -> RawDataset:
    """``CXR_png/<name>.png`` with ``masks/<name>.png`` or ``masks/<name>_mask.png``; pictures without mask are kept."""
    pictures = folder_of(source, *(f"{root}CXR_png" for root in _ROOTS))
    masks = {path.stem.removesuffix("_mask"): path for path in sorted((pictures.parent / "masks").glob("*.png"))}
    cases = []
    for path in sorted(pictures.glob("*.png")):
        mask = masks.pop(path.stem, None)
        draw = None if mask is None else partial(above_half, mask, 1)
        cases.append(picture_case(path.stem, path, draw, *([] if mask is None else [mask]), colour=False))
    cases += [failing_case(name, f"{mask.name} has no picture") for name, mask in masks.items()]
    return RawDataset(cases, {1: "lung"})


RECIPE = Recipe(
    name="chest_xray", about="Chest X-rays with the lungs to volumes of one slice.", find=find, pictures=True
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
