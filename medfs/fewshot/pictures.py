"""Labelled pictures by class, of one size and scale: what 2D episodes are drawn from."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfs.errors import InputError, UsageError
from medfs.io.picture_sets import class_names, find_picture_cases
from medfs.losses import IGNORED
from medfs.transforms.pictures import normalised, stretched, stretched_labels

_KEPT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class PictureItem:
    """One picture: a slice of a case, 0 where the case is a picture."""

    case: int
    place: int


class PictureSet:
    """The pictures of a dataset folder, resized and normalised when they are asked for.

    As in PATNet's benchmark every picture is stretched to a square and normalised with ImageNet's mean and deviation.
    Cases without label map are left out. Pictures stay in memory up to 1 GB.

    Args:
        folder: a dataset as :func:`medfs.io.picture_sets.find_picture_cases` knows it.
        classes: class names by label value, or in the order of the values from 1 on; None takes
            those of ``class_slices.json``, which the recipes write. Its slices are not read: they count along an
            axis of the stored scan, items as the slices hang.
        size: rows and columns; published 400.
        min_pixels: of a class, as stored, that make a picture one of that class.

    Raises:
        UsageError: no class, or no picture that shows one.
        InputError: a label map is damaged.

    References:
        Lei et al., Cross-domain few-shot semantic segmentation, ECCV 2022.
    """

    def __init__(
        self,
        folder: str | Path,
        classes: Mapping[int, str] | Sequence[str] | None = None,
        *,
        size: int = 400,
        min_pixels: int = 1,
    ) -> None:
        if size < 16 or min_pixels < 1:
            raise UsageError(f"pictures of {size} pixels, {min_pixels} of a class; expected at least 16 and 1")
        self.folder, self.size, self.min_pixels = Path(folder), size, min_pixels
        self.cases = [case for case in find_picture_cases(folder) if case.label is not None]
        self.classes = _named(classes) if classes else class_names(folder)
        self.items = self._items()
        if not any(self.items.values()):
            names = ", ".join(self.classes.values()) or "no class"
            raise UsageError(f"{folder}: no labelled picture shows {min_pixels} pixels of {names}")
        self._kept: OrderedDict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = OrderedDict()

    def patient(self, item: PictureItem) -> str:
        """Whom a picture shows."""
        return self.cases[item.case].patient

    def image(self, item: PictureItem) -> Tensor:
        """(3, size, size) float32, normalised."""
        return normalised(self._case(item.case)[0][item.place])

    def labels(self, item: PictureItem) -> Tensor:
        """(size, size) uint8."""
        return torch.from_numpy(self._case(item.case)[1][item.place])

    def masks(self, item: PictureItem, class_name: str) -> tuple[Tensor, Tensor]:
        """Where a picture shows a class, and which of its pixels are annotated; both (size, size) bool."""
        labels = self.labels(item)
        value = next(value for value, name in self.classes.items() if name == class_name)
        return labels == value, labels != IGNORED

    def _items(self) -> dict[str, list[PictureItem]]:
        """Pictures by class name, in the order of the cases."""
        found: dict[str, list[PictureItem]] = {name: [] for name in self.classes.values()}
        for number, case in enumerate(self.cases):
            for place, plane in enumerate(case.labels()):
                counts = np.bincount(plane.ravel(), minlength=256)
                for value, name in self.classes.items():
                    if counts[value] >= self.min_pixels:
                        found[name].append(PictureItem(number, place))
        return found

    def _case(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Pictures (slices, size, size, 3) and labels (slices, size, size) of a case."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        case = self.cases[number]
        pictures, labels = case.pictures(), case.labels()
        if pictures.shape[:3] != labels.shape:
            raise InputError(
                f"{case.name}: picture of {pictures.shape[:3]}, label map of {labels.shape}; expected equal sizes"
            )
        self._kept[number] = stretched(pictures, self.size), stretched_labels(labels, self.size)
        while len(self._kept) > 1 and sum(a.nbytes + b.nbytes for a, b in self._kept.values()) > _KEPT_BYTES:
            self._kept.popitem(last=False)
        return self._kept[number]


def _named(classes: Mapping[int, str] | Sequence[str]) -> dict[int, str]:
    return dict(classes) if isinstance(classes, Mapping) else dict(enumerate(classes, start=1))
