"""Pictures as networks of natural images take them, from file to tensor and back."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor

from medfs.io import make_folder, read_image, write_labels
from medfs.io.names import safe_name, stem
from medfs.io.picture_sets import is_picture, read_pictures, stored_labels
from medfs.io.pictures import write_png

MEAN = (0.485, 0.456, 0.406)
"""Of red, green and blue over ImageNet, from 0 to 1."""
DEVIATION = (0.229, 0.224, 0.225)
"""Likewise."""


def stretched(pictures: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Pictures (n, rows, columns, 3) on a square grid, bilinear, smoothed where they shrink."""
    if pictures.shape[1:3] == (size, size):
        return pictures
    channels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, 1))).float()
    resized = F.interpolate(channels, (size, size), mode="bilinear", antialias=True)
    return np.moveaxis(resized.round().clamp(0, 255).byte().numpy(), 1, -1)


def stretched_labels(labels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Label values (n, rows, columns) on a square grid, each place that of the nearest pixel."""
    if labels.shape[1:] == (size, size):
        return labels
    nearest = F.interpolate(torch.from_numpy(labels)[:, None].float(), (size, size), mode="nearest-exact")
    return nearest[:, 0].byte().numpy()


def normalised(pictures: NDArray[np.uint8]) -> Tensor:
    """Pictures (..., rows, columns, 3) as (..., 3, rows, columns) of ImageNet's mean 0 and deviation 1.

    >>> [round(v, 2) for v in normalised(np.zeros((1, 1, 3), np.uint8)).flatten().tolist()]
    [-2.12, -2.04, -1.8]
    """
    scaled = torch.from_numpy(np.ascontiguousarray(pictures)).float() / 255
    return ((scaled - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).movedim(-1, -3)


class LoadPicturesd(MapTransform):
    """Read the pictures of a file, one or the slices of a scan, as (3, slices, size, size), normalised.

    The name of the file stays under the key with ``_file`` behind it.

    Args:
        keys: keys of the files.
        size: rows and columns to which pictures are stretched.

    Raises:
        InputError: a file is damaged.
    """

    def __init__(self, keys: KeysCollection, size: int = 400, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size = size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load the files of one case."""
        result = dict(data)
        for key in self.key_iterator(result):
            path = Path(result[key])
            result[f"{key}_file"] = str(path)
            result[key] = normalised(stretched(read_pictures([path]), self.size)).movedim(1, 0)
        return result


class SavePictureLabelsd(MapTransform):
    """Write the most probable class of scores (N, slices, size, size) on the grid of the file they belong to.

    A picture gets ``<case>_seg.png``, a scan ``<case>_seg.nii.gz`` with its geometry.

    Args:
        keys: keys of the scores.
        reference: key of the image, as :class:`LoadPicturesd` read it.
        output_dir: folder of the results, made if missing.

    Raises:
        StorageError: the file cannot be written.
    """

    def __init__(
        self,
        keys: KeysCollection,
        reference: str = "image",
        output_dir: str | Path = ".",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.reference, self.output_dir = reference, Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the labels of one case and pass the dictionary on."""
        result = dict(data)
        for key in self.key_iterator(result):
            path = Path(result[f"{self.reference}_file"])
            size = read_pictures([path]).shape[1:3]
            write_picture_labels(path, labels_of_scores(torch.as_tensor(result[key]), size), self.output_dir)
        return result


def labels_of_scores(scores: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The class with the highest score (slices, *size) of scores (N, slices, rows, columns), bilinear."""
    resized = F.interpolate(scores.movedim(1, 0).float(), size, mode="bilinear")
    return resized.argmax(dim=1).to(torch.uint8).numpy(force=True)


def write_picture_labels(path: Path, labels: NDArray[np.uint8], folder: Path) -> Path:
    """Write labels (slices, rows, columns) of a picture or scan on the grid of its file, and say where.

    Raises:
        StorageError: the file cannot be written.
    """
    make_folder(folder)
    if not is_picture(path):
        source = read_image(path)
        written = folder / f"{stem(path)}_seg.nii.gz"
        write_labels(written, stored_labels(labels, source), like=source)
        return written
    written = folder / f"{safe_name(path.stem)}_seg.png"
    write_png(written, labels[0])
    return written
