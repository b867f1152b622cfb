"""Folders of labelled pictures: PNG files, what the recipes write of colour pictures, or scans taken slice by slice."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medfs.errors import InputError, UsageError
from medfs.io.datasets import find_cases, read_json
from medfs.io.inputs import find_images
from medfs.io.names import safe_name, shown
from medfs.io.nifti import read_image, read_labels
from medfs.io.pictures import read_colours, read_picture
from medfs.io.volume import Volume, slice_axis

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_COLOURS = ("red", "green", "blue")
_DARK, _BRIGHT = 0.5, 99.5  # percentiles of a scan that become black and white
_AS_SEEN = nib.orientations.axcodes2ornt("LPS")  # columns grow to the left, rows to the back, as those of pictures


@dataclass(frozen=True, slots=True)
class PictureCase:
    """A picture, or a scan whose slices are pictures.

    Attributes:
        name: of the case.
        patient: whom it shows.
        images: one file, or those of red, green and blue.
        label: its label map; None if it has none.
    """

    name: str
    patient: str
    images: tuple[Path, ...]
    label: Path | None = None

    def pictures(self) -> NDArray[np.uint8]:
        """Its pictures as :func:`read_pictures` gives them."""
        return read_pictures(self.images)

    def labels(self) -> NDArray[np.uint8]:
        """Label values (slices, rows, columns).

        Raises:
            InputError: there is no label map, it is damaged, or it holds values beyond 255.
        """
        if self.label is None:
            raise InputError(f"{self.name}: has no label map")
        return read_label_slices(self.label)


def is_picture(path: str | Path) -> bool:
    """Whether the name is that of a picture.

    >>> is_picture("cell.PNG"), is_picture("scan.nii.gz")
    (True, False)
    """
    return Path(path).suffix.lower() in PICTURE_SUFFIXES


def find_picture_cases(folder: str | Path) -> list[PictureCase]:
    """The cases of a folder with ``images/`` and ``labels/``, sorted by name.

    Pictures pair with label maps by their names without suffix. Of scans, ``red/``, ``green/`` and ``blue/`` beside
    ``images/`` are the colours, as the recipes write them.

    Raises:
        InputError: no case, or two pictures of one name.
    """
    folder = Path(folder)
    images = folder / "images"
    pictures = sorted(p for p in images.iterdir() if is_picture(p)) if images.is_dir() else []
    if not pictures:
        return [_of_volumes(folder, case.name, case.patient, case.image, case.label) for case in find_cases(folder)]
    labels = {p.stem: p for p in sorted((folder / "labels").glob("*")) if is_picture(p)}
    names = [safe_name(path.stem) for path in pictures]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{shown(folder)}: two pictures are called {twice}; rename one")
    return [PictureCase(n, n, (path,), labels.get(path.stem)) for n, path in zip(names, pictures, strict=True)]


def find_pictures(inputs: Iterable[str | Path]) -> dict[str, Path]:
    """Pictures by case name: files, and those directly inside folders; sorted, hidden files left out.

    Raises:
        UsageError: an input does not exist or holds no picture, or two pictures would get the same output name.
    """
    found: dict[str, Path] = {}
    for given in map(Path, inputs):
        inside = sorted(p for p in given.iterdir() if is_picture(p)) if given.is_dir() else [given]
        pictures = [path for path in inside if is_picture(path) and path.is_file() and not path.name.startswith(".")]
        if not pictures:
            raise UsageError(f"{given}: no picture; expected files such as {', '.join(PICTURE_SUFFIXES[:4])}")
        for path in pictures:
            name = safe_name(path.stem)
            if found.setdefault(name, path) != path:
                raise UsageError(f"{shown(found[name])} and {shown(path)}: equal case names; rename one")
    return found


def picture_items(folder: str | Path) -> list[dict[str, str]]:
    """The pictures of a folder, or its scans if it has no picture, as MONAI items with ``image`` and ``case``.

    Raises:
        UsageError: there is neither.
    """
    has_pictures = Path(folder).is_dir() and any(is_picture(path) for path in Path(folder).iterdir())
    found = find_pictures([folder]) if has_pictures else find_images([folder])
    return [{"image": str(path), "case": name} for name, path in found.items()]


def class_names(folder: str | Path) -> dict[int, str]:
    """Class name by label value, from ``class_slices.json`` of a dataset; background left out.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = Path(folder) / "class_slices.json"
    if not path.is_file():
        raise InputError(f"{shown(folder)}: no class_slices.json that names the classes; give their names instead")
    return {value: name for value, name in enumerate(read_json(path)) if value}


def read_pictures(images: Sequence[Path]) -> NDArray[np.uint8]:
    """The pictures of one file, or of the files of red, green and blue.

    A picture keeps its 8 bits. Scans, and pictures of 16 bits, are brought to 8 bits between their percentiles 0.5 and
    99.5, over all slices together; grey becomes three equal channels.

    Returns:
        (slices, rows, columns, 3), of a picture one slice; slices hang with the patient's left at the right.

    Raises:
        InputError: a file is damaged, or the colours differ in size.
    """
    if len(images) == 1 and is_picture(images[0]):
        array = read_colours(images[0])
        channels = [np.moveaxis(array, 0, 1)[None]] if array.ndim == 3 else [np.swapaxes(array, 0, 1)[None]]
    else:
        channels = [_slices(read_image(path)) for path in images]
    if len({channel.shape for channel in channels}) > 1:
        raise InputError(f"{shown(images[0])}: red, green and blue differ in size")
    pictures = _eight_bits(channels[0] if channels[0].ndim == 4 else np.stack(channels, axis=-1))
    return np.ascontiguousarray(np.broadcast_to(pictures, (*pictures.shape[:3], 3)))


def read_label_slices(path: Path) -> NDArray[np.uint8]:
    """Label values (slices, rows, columns) of a picture or a scan, on the grid of :func:`read_pictures`.

    Raises:
        InputError: the file is damaged, or holds colours or values beyond 255.
    """
    if is_picture(path):
        array = read_picture(path)
        array = array[..., 0] if array.ndim == 3 and (array == array[..., :1]).all() else array
        labels = np.swapaxes(array, 0, 1)[None]
    else:
        labels = _slices(read_labels(path))
    if labels.ndim != 3 or (labels.size and not 0 <= labels.min() <= labels.max() <= 255):
        raise InputError(f"{shown(path)}: colours or values beyond 255; expected label values from 0 to 255")
    return np.ascontiguousarray(labels, np.uint8)


def stored_labels(labels: NDArray[np.uint8], like: Volume) -> NDArray[np.uint8]:
    """Labels (slices, rows, columns) of a scan, turned back to its own array (X, Y, Z)."""
    _, affine = _turned(like)
    array = np.moveaxis(np.swapaxes(labels, 1, 2), 0, slice_axis(affine))
    back = nib.orientations.ornt_transform(_AS_SEEN, nib.orientations.io_orientation(like.affine))
    return np.ascontiguousarray(nib.orientations.apply_orientation(array, back))


def _of_volumes(folder: Path, name: str, patient: str, image: Path, label: Path | None) -> PictureCase:
    colours = tuple(folder / colour / image.name for colour in _COLOURS)
    return PictureCase(name, patient, colours if all(path.is_file() for path in colours) else (image,), label)


def _slices(volume: Volume) -> np.ndarray:
    """(slices, rows, columns) of a volume, turned as pictures hang."""
    turn, affine = _turned(volume)
    front = np.moveaxis(nib.orientations.apply_orientation(volume.array, turn), slice_axis(affine), 0)
    return np.swapaxes(front, 1, 2)


def _turned(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """What turns the axes of a volume as pictures hang, and its affine then."""
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(volume.affine), _AS_SEEN)
    return turn, volume.affine @ nib.orientations.inv_ornt_aff(turn, volume.array.shape)


def _eight_bits(array: np.ndarray) -> NDArray[np.uint8]:
    """Stored bytes as they are, everything else stretched between its percentiles; all equal is black."""
    single = len(array) == 1
    if array.dtype == np.uint8 or (
        single and array.min() >= 0 and array.max() <= 255 and (array == array.round()).all()
    ):
        return array.astype(np.uint8)
    low, high = np.percentile(array, (_DARK, _BRIGHT))
    scaled = (array.astype(np.float32) - low) / max(float(high - low), np.finfo(np.float32).tiny)
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
