"""PASCAL VOC 2012 segmentation, with the further masks of SBD where they are there."""

import sys
from functools import partial
from pathlib import Path

from preprocessing.command import main
from preprocessing.pictures import mask_values, picture_case
from preprocessing.recipe import RawDataset, Recipe
from preprocessing.volumes import folder_of

_NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def find(source: Path) -> RawDataset:
    """Every mask of ``SegmentationClassAug``, or of ``SegmentationClass``, with its picture in ``JPEGImages``."""
    pictures = folder_of(source, "VOCdevkit/VOC2012/JPEGImages", "VOC2012/JPEGImages", "JPEGImages")
    masks = folder_of(pictures.parent, "SegmentationClassAug", "SegmentationClass")
    cases = [
        picture_case(mask.stem, pictures / f"{mask.stem}.jpg", partial(mask_values, mask), mask)
        for mask in sorted(masks.glob("*.png"))
    ]
    return RawDataset(cases, dict(enumerate(_NAMES, start=1)))


RECIPE = Recipe(
    name="pascal_voc",
    about="PASCAL VOC 2012 segmentation to volumes of one slice; 255 is not annotated.",
    find=find,
    pictures=True,
    ignored=255,
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
