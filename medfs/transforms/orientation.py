"""Scans of every axis order brought to one."""

from typing import cast

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms import Orientation
from monai.transforms.spatial.functional import orientation
from monai.utils import TraceKeys

from medfs.errors import UsageError
from medfs.transforms.twins import LazyGridTwin, as_volume


class CanonicalOrientation(Orientation):
    """Flip and transpose the axes of a volume so that they run as close as possible to named directions.

    No voxel value changes, so images and labels go by one rule; the affine follows, and an oblique scan stays oblique.
    It is MONAI's ``Orientation`` with an inverse that always holds; lazy where asked. The data type stays, except in
    lazy execution, where MONAI makes everything float32.

    Args:
        codes: where each axis points: right or left, anterior or posterior, superior or inferior. A 2D image takes
            two letters.
        lazy: wait for other lazy transforms, as in MONAI.

    Raises:
        UsageError: for codes that do not name each direction at most once.

    **Differs from the paper**: the published preprocessing leaves every scan in the axis order of its file.
    """

    def __init__(self, codes: str = "RAS", lazy: bool = False) -> None:
        codes = codes.upper()
        pairs = [next((pair for pair in ("LR", "PA", "IS") if code in pair), None) for code in codes]
        if None in pairs or len(set(pairs)) != len(pairs) or len(pairs) not in (2, 3):
            raise UsageError(f"orientation {codes!r}; expected letters of L/R, P/A and I/S, each pair once, e.g. 'RAS'")
        super().__init__(axcodes=codes, labels=None, lazy=lazy)

    def __call__(self, img: NdarrayOrTensor, lazy: bool | None = None) -> torch.Tensor:
        """Turn a volume (C, *S)."""
        turned: torch.Tensor = super().__call__(as_volume(img), lazy=lazy)
        return turned

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """A volume (C, *S) back in the axis order before; MONAI's own inverse fails where axes tie at 45 degrees."""
        transform = self.pop_transform(data)
        rank = data.ndim - 1
        before = to_affine_nd(rank, np.asarray(transform[TraceKeys.EXTRA_INFO]["original_affine"], np.float64))
        now = to_affine_nd(rank, np.asarray(cast(MetaTensor, data).affine, np.float64))
        turn = nib.io_orientation(np.linalg.inv(before) @ now)
        with self.trace_transform(False):
            turned: torch.Tensor = orientation(data, now, turn, lazy=False, transform_info=self.get_transform_info())
        return turned


class CanonicalOrientationd(LazyGridTwin):
    """Dictionary twin of :class:`CanonicalOrientation`, for images and labels alike.

    Args:
        keys: keys of the volumes.
        codes: see the array transform.
        allow_missing_keys: pass over keys that a dictionary lacks.
        lazy: see the array transform.
    """

    def __init__(
        self, keys: KeysCollection, codes: str = "RAS", allow_missing_keys: bool = False, lazy: bool = False
    ) -> None:
        super().__init__(keys, CanonicalOrientation(codes, lazy), allow_missing_keys)
