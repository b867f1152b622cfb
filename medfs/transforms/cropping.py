"""Slices brought to one size."""

from collections.abc import Sequence
from typing import Literal

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, LazyTransform
from monai.transforms.croppad.functional import crop_or_pad_nd
from monai.transforms.utils import create_translate
from monai.utils import TraceKeys, TransformBackends

from medfs.errors import UsageError
from medfs.transforms.twins import LazyGridTwin, as_volume, plain, with_metadata


class CropOrPadInPlane(InvertibleTransform, LazyTransform):
    """Crop or pad the two in-plane axes about their centre index ``n // 2``; slices along z stay.

    In-plane are array axes 0 and 1 of (C, X, Y[, Z]), which holds after :class:`CanonicalOrientation` for axial
    scans. Index ``n // 2`` of an axis comes to lie at index ``size // 2``, whether it is cropped or padded. The affine
    moves along, the data type stays, except in lazy execution, where MONAI makes everything float32. The inverse puts
    0 where voxels were cropped away.

    Args:
        size: in-plane size of the result in voxels.
        pad: value of new voxels; ``"minimum"`` takes the lowest of the volume, as published for images. Labels take 0.
        lazy: wait for other lazy transforms, as in MONAI. It has an effect with ``pad=0`` only: MONAI's lazy execution
            cannot pad with another value.

    Raises:
        UsageError: for a size that is not two positive numbers.

    **Differs from the paper**: the published files keep the origin of the uncropped volume; here the origin moves with
    the crop. MONAI's ``ResizeWithPadOrCrop`` pads an odd axis one voxel less in front, so its centre index moves.

    References:
        Ouyang et al., Self-supervision with superpixels, ECCV 2020.

    >>> CropOrPadInPlane((1, 3), pad=0)(torch.arange(5.0).reshape(1, 1, 5)).tolist()
    [[[1.0, 2.0, 3.0]]]
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012  (MONAI's convention)

    def __init__(
        self, size: Sequence[int] = (256, 256), pad: float | Literal["minimum"] = "minimum", lazy: bool = False
    ) -> None:
        LazyTransform.__init__(self, lazy)
        if len(size) != 2 or any(n < 1 for n in size):
            raise UsageError(f"in-plane size {tuple(size)}; expected two positive numbers of voxels")
        if isinstance(pad, str) and pad != "minimum":
            raise UsageError(f"pad {pad!r}; expected a number or 'minimum'")
        self.size, self.pad = tuple(size), pad

    @property
    def requires_current_data(self) -> bool:
        """Whether what is pending must be done before this transform."""
        return self.pad != 0

    def __call__(self, img: NdarrayOrTensor, lazy: bool | None = None) -> torch.Tensor:
        """Crop or pad a volume (C, X, Y[, Z])."""
        volume = as_volume(img)
        old = tuple(volume.peek_pending_shape() if isinstance(volume, MetaTensor) else volume.shape[1:])
        new = (*self.size, *old[2:])
        start = [n // 2 - m // 2 for n, m in zip(old, new, strict=True)]
        waits = (self.lazy if lazy is None else lazy) and not self.requires_current_data
        meta = self.track_transform_meta(
            volume,
            sp_size=new,
            affine=create_translate(len(old), start),
            extra_info={"start": start},
            orig_size=old,
            transform_info=self.get_transform_info(),
            lazy=waits,
        )
        voxels = plain(volume)
        return with_metadata(voxels if waits else _shifted(voxels, start, new, self._fill(voxels)), volume, meta)

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """A volume (C, X, Y[, Z]) back on the grid before the crop; 0 where voxels were cropped away."""
        transform = self.pop_transform(data)
        start = [-n for n in transform[TraceKeys.EXTRA_INFO]["start"]]
        voxels = _shifted(plain(data), start, tuple(transform[TraceKeys.ORIG_SIZE]), 0)
        with self.trace_transform(False):
            meta = self.track_transform_meta(data, affine=create_translate(len(start), start))
        return with_metadata(voxels, data, meta)

    def _fill(self, voxels: torch.Tensor) -> float:
        return float(voxels.amin()) if self.pad == "minimum" else float(self.pad)


class CropOrPadInPlaned(LazyGridTwin):
    """Dictionary twin of :class:`CropOrPadInPlane`; images and labels differ in ``pad`` and take one each.

    Args:
        keys: keys of the volumes.
        size: see the array transform.
        pad: see the array transform.
        allow_missing_keys: pass over keys that a dictionary lacks.
        lazy: see the array transform.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int] = (256, 256),
        pad: float | Literal["minimum"] = "minimum",
        allow_missing_keys: bool = False,
        lazy: bool = False,
    ) -> None:
        super().__init__(keys, CropOrPadInPlane(size, pad, lazy), allow_missing_keys)


def _shifted(voxels: torch.Tensor, start: Sequence[int], size: tuple[int, ...], fill: float) -> torch.Tensor:
    """The box of a size whose first voxel is at ``start``; a copy."""
    box = crop_or_pad_nd(voxels, create_translate(len(size), start), size, mode="constant", value=fill)
    shared = box.untyped_storage().data_ptr() == voxels.untyped_storage().data_ptr()
    return box.clone() if shared else box
