"""The one reader as MONAI's ``LoadImaged`` takes it.

>>> from monai.transforms import LoadImaged
>>> load = LoadImaged(["image", "label"], reader=Reader(), allow_missing_keys=True)
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils.enums import MetaKeys, SpaceKeys

from medfs.errors import InputError, MedfsError
from medfs.io.names import shown, volume_suffix
from medfs.io.nifti import read_image, read_labels
from medfs.io.volume import Volume
from medfs.io.voxels import require_values

# LoadImage makes one of every reader it knows before it asks ours; one of them warns, twice, that it has no GPU decoder
# for DICOM, which is read elsewhere.
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", "NvImgCodecPydicomReader", UserWarning)


class Reader(ImageReader):
    """Images through :func:`medfs.io.read_image`, with the affine as MONAI's metadata.

    ``LoadImage`` answers an error of a reader by trying every other reader it knows, which would read a damaged file
    after all. An error is therefore kept by :meth:`read` and raised by :meth:`get_data`, where nothing catches it.
    Labels read as images are exact up to 2**24; :class:`LabelReader` has no such limit and refuses fractions.

    Args:
        assume_orientation: accept files without orientation, as :func:`medfs.io.read_image` does.
        replace_nan: put the lowest value of the volume where NaN is, instead of refusing.
    """

    def __init__(self, *, assume_orientation: bool = False, replace_nan: bool = False) -> None:
        super().__init__()
        self.assume_orientation = assume_orientation
        self.replace_nan = replace_nan

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether all names have a suffix that the reader knows."""
        return all(bool(volume_suffix(name)) for name in _names(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Volume | MedfsError:
        """The volume, or the error that :meth:`get_data` is going to raise."""
        try:
            names = _names(data)
            if len(names) != 1:
                raise InputError(f"{names[0]}: {len(names)} files for one volume; expected one file per key")
            return self._read(names[0])
        except MedfsError as error:
            return error

    def get_data(self, img: Volume | MedfsError) -> tuple[np.ndarray, dict]:
        """``(X, Y, Z)`` voxels and their metadata.

        Raises:
            InputError: what :meth:`read` met.
        """
        if isinstance(img, MedfsError):
            raise img
        return img.array, {
            MetaKeys.AFFINE: img.affine.copy(),
            MetaKeys.ORIGINAL_AFFINE: img.affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.array(img.array.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),  # MONAI's mark for "no channel axis"
            MetaKeys.SPACE: SpaceKeys.RAS,
            "reader_warnings": "; ".join(img.warnings),
        }

    def _read(self, path: Path) -> Volume:
        return read_image(path, assume_orientation=self.assume_orientation, replace_nan=self.replace_nan)


class LabelReader(Reader):
    """Label maps through :func:`medfs.io.read_labels`; give ``LoadImaged`` an integer ``dtype`` along with it.

    Args:
        classes: how many a network has; a map with values from there on, or below 0, is refused. None refuses none.
        assume_orientation: accept files without orientation.
    """

    def __init__(self, classes: int | None = None, *, assume_orientation: bool = False) -> None:
        super().__init__(assume_orientation=assume_orientation)
        self.classes = classes

    def _read(self, path: Path) -> Volume:
        volume = read_labels(path, assume_orientation=self.assume_orientation)
        if self.classes is not None:
            require_values(volume.array, self.classes, shown(path))
        return volume


def _names(filename: Sequence[PathLike] | PathLike) -> list[Path]:
    if isinstance(filename, str | Path) or not isinstance(filename, Sequence):
        return [Path(filename)]
    return [Path(name) for name in filename]
