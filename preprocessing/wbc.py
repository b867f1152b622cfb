"""WBC: white blood cells, cytoplasm and nucleus (Zheng et al., Micron 107, 2018)."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from medfs.errors import InputError
from preprocessing.command import main
from preprocessing.pictures import mask_values, picture_case
from preprocessing.recipe import RawCase, RawDataset, Recipe

_CLASSES = {1: "cytoplasm", 2: "nucleus"}


def find(source: Path) -> RawDataset:
    """``Dataset 1`` and ``Dataset 2`` of the authors (NNN.bmp, NNN.png), or ``images`` and ``labels`` of ids as PNG."""
    if (source / "images").is_dir():
        pictures = sorted((source / "images").glob("*.png"))
        cases = [_case(path.stem, path, source / "labels" / path.name, mask_values) for path in pictures]
        return RawDataset(cases, _CLASSES)
    parts = {folder.name[-1] + "_": folder for folder in sorted(source.glob("Dataset ?"))} or {"": source}
    cases = [
        _case(prefix + path.stem, path, path.with_suffix(".png"), cell_parts)
        for prefix, folder in parts.items()
        for path in sorted(folder.glob("*.bmp"))
    ]
    if not cases:
        raise InputError(f"{source}: no Dataset 1/NNN.bmp inside; see preprocessing/README.md")
    return RawDataset(cases, _CLASSES)


def cell_parts(mask: Path, size: tuple[int, int]) -> np.ndarray:
    """Ids from the grey values 0, 128 and 255, to the nearest of which stray values of Dataset 2 count."""
    return np.digitize(mask_values(mask, size), [65, 192]).astype(np.uint8)


def _case(name: str, picture: Path, mask: Path, read: Callable[[Path, tuple[int, int]], np.ndarray]) -> RawCase:
    return picture_case(name, picture, partial(read, mask), mask)


RECIPE = Recipe(
    name="wbc", about="White blood cells (cytoplasm, nucleus) to volumes of one slice.", find=find, pictures=True
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
