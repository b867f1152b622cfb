"""Volumes brought to another voxel spacing along their own axes."""

from collections.abc import Callable, Sequence
from math import ceil, floor
from typing import Literal

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform
from monai.utils import TraceKeys, TransformBackends

from medfs.errors import InputError, UsageError
from medfs.transforms.separable import AxisSamples, sample, vote
from medfs.transforms.twins import GridTwin, as_volume, float_type, name_of, plain, with_metadata

OutputSize = Literal["covering", "published"]
_ROUNDING = 1e-9  # an exact fit may come out a little below a whole number of voxels
_SAME = 1e-6  # spacings that differ by less are one: a header has single precision
_UNCOVERED = 1e-3  # part of a voxel that the covering grid may leave out: rounding of a header, not anatomy


class ResampleToSpacing(InvertibleTransform):
    """Resample an image linearly to a voxel spacing; labels go through :class:`ResampleLabelsToSpacing`.

    The new grid has the axes of the old one, oblique, flipped or sheared as they are. With ``output_size="covering"``
    it is the smallest grid that covers the field of view, centred on it: every sample lies in the field, and within
    half a voxel of the border the nearest voxel counts. On its own spacing a volume comes back as it is. With
    ``"published"`` the grid starts at the first voxel centre and has ``floor(n * old / new) + 1`` samples along each
    axis, kept axes included; those outside the field are 0. The inverse resamples linearly back onto the old grid
    (nearest, if MONAI's ``Invertd`` asks for it). The result is float32, or float64 if the volume is. An array without
    metadata has spacing 1. MONAI's lazy execution does what is pending first.

    Args:
        spacing_mm: spacing along each array axis in mm; None keeps that of the volume.
        output_size: ``"covering"`` or ``"published"``.

    Raises:
        UsageError: for a spacing that is not positive, another output size, or, at the call, another number of axes.
        InputError: at the call, if the volume has no voxels or a spacing of 0.

    **Differs from the paper**: ``"published"`` has its sizes and values. Where the new spacing divides the field of
    view, that is one empty sample too many, or not, by the last digits of the header. The default has none.

    References:
        Ouyang et al., Self-supervision with superpixels, ECCV 2020.

    >>> ResampleToSpacing((0.5,))(np.array([[0.0, 1.0]])).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    >>> ResampleToSpacing((0.5,), "published")(np.array([[0.0, 1.0]])).tolist()
    [[0.0, 0.5, 1.0, 0.0, 0.0]]
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012  (MONAI's convention)
    _mode = "bilinear"  # MONAI's name for linear, which Invertd may change to nearest

    def __init__(self, spacing_mm: Sequence[float | None], output_size: OutputSize = "covering") -> None:
        if not spacing_mm or any(s is not None and not 0 < s < float("inf") for s in spacing_mm):
            raise UsageError(f"spacing_mm {tuple(spacing_mm)}; expected a positive number or None for each axis")
        if output_size not in ("covering", "published"):
            raise UsageError(f"output size {output_size!r}; expected 'covering' or 'published'")
        self.spacing_mm, self.output_size = tuple(spacing_mm), output_size

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Resample a volume (C, *S)."""
        volume = as_volume(img)
        old = volume.shape[1:]
        starts, steps, new = self._grid(volume)
        axes = [AxisSamples.regular(*one) for one in zip(old, starts, steps, new, strict=True)]
        voxels = self._resampled(volume, axes)
        affine = torch.diag(torch.tensor([*steps, 1.0], dtype=torch.float64))
        affine[:-1, -1] = torch.tensor(starts, dtype=torch.float64)
        meta = self.track_transform_meta(
            volume,
            sp_size=new,
            affine=affine,
            extra_info={"affine": affine, "mode": self._mode},
            orig_size=tuple(old),
            transform_info=self.get_transform_info(),
        )
        return with_metadata(voxels, volume, meta)

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """A volume (C, *S) back on the grid before resampling."""
        transform = self.pop_transform(data)
        extra, old = transform[TraceKeys.EXTRA_INFO], transform[TraceKeys.ORIG_SIZE]
        affine = torch.linalg.inv(extra["affine"])
        starts, steps = affine[:-1, -1].tolist(), affine.diagonal()[:-1].tolist()
        axes = [AxisSamples.regular(*one) for one in zip(data.shape[1:], starts, steps, old, strict=True)]
        voxels = self._resampled(data, [axis.nearest() for axis in axes] if extra["mode"] == "nearest" else axes)
        with self.trace_transform(False):
            meta = self.track_transform_meta(data, affine=affine)
        return with_metadata(voxels, data, meta)

    def _grid(self, volume: torch.Tensor) -> tuple[list[float], list[float], list[int]]:
        """First sample and distance of samples in voxels of the old grid, and the number of samples."""
        voxels = volume.shape[1:]
        if len(voxels) != len(self.spacing_mm):
            raise UsageError(
                f"{name_of(volume)}: {len(voxels)} spatial axes, but {len(self.spacing_mm)} spacings asked for"
            )
        affine = volume.affine if isinstance(volume, MetaTensor) else torch.eye(len(voxels) + 1)
        old_mm = np.linalg.norm(np.asarray(affine, np.float64)[:-1, : len(voxels)], axis=0).tolist()
        if 0 in volume.shape or min(old_mm) <= 0:
            shown = ", ".join(f"{mm:g}" for mm in old_mm)
            raise InputError(
                f"{name_of(volume)}: shape {tuple(volume.shape)}, spacing {shown} mm; expected both above 0"
            )
        steps = [1.0 if new is None else new / mm for new, mm in zip(self.spacing_mm, old_mm, strict=True)]
        sizes = list(zip(voxels, steps, strict=True))
        same = [1.0 if abs(step - 1) < _SAME else step for step in steps]
        if self.output_size == "published":
            return [0.0] * len(steps), same, [floor(n / step + _ROUNDING) + 1 for n, step in sizes]
        counts = [max(1, ceil(n / step - _UNCOVERED)) for n, step in sizes]
        starts = [(n - count * step + step - 1) / 2 for n, count, step in zip(voxels, counts, same, strict=True)]
        return starts, same, counts

    def _resampled(self, volume: torch.Tensor, axes: list[AxisSamples]) -> torch.Tensor:
        return _by_channel(plain(volume), lambda channel: sample(channel, axes, float_type(volume.dtype)))


class ResampleLabelsToSpacing(ResampleToSpacing):
    """Resample a label map to a voxel spacing by a linear vote, on the grid that its image gets.

    The indicator of each label is resampled linearly and thresholded at one half. Labels are written in ascending
    order onto background: where two have exactly half each the larger wins, where none has half it is background. The
    inverse votes likewise. The data type stays, extra memory is that of the box of one label.

    Args:
        spacing_mm: spacing along each array axis in mm; None keeps that of the volume.
        output_size: ``"covering"`` or ``"published"``, see :class:`ResampleToSpacing`.

    Raises:
        UsageError: as :class:`ResampleToSpacing`.
        InputError: at the call, as there, and for labels that are negative or not whole numbers.

    References:
        Ouyang et al., Self-supervision with superpixels, ECCV 2020.

    >>> ResampleLabelsToSpacing((0.5,))(np.array([[0, 3, 0]])).tolist()
    [[0, 0, 3, 3, 0, 0]]
    """

    _mode = "vote"

    def _resampled(self, volume: torch.Tensor, axes: list[AxisSamples]) -> torch.Tensor:
        labels = plain(volume)
        if (labels < 0).any() or (labels.is_floating_point() and (labels != labels.round()).any()):
            raise InputError(f"{name_of(volume)}: negative or fractional labels; expected whole numbers from 0")
        return _by_channel(labels, lambda channel: vote(channel, axes))


class ResampleToSpacingd(GridTwin):
    """Dictionary twin of :class:`ResampleToSpacing`.

    Args:
        keys: keys of the images.
        spacing_mm: see the array transform.
        output_size: see the array transform.
        allow_missing_keys: pass over keys that a dictionary lacks.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: Sequence[float | None],
        output_size: OutputSize = "covering",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, ResampleToSpacing(spacing_mm, output_size), allow_missing_keys)


class ResampleLabelsToSpacingd(GridTwin):
    """Dictionary twin of :class:`ResampleLabelsToSpacing`.

    Args:
        keys: keys of the label maps.
        spacing_mm: see the array transform.
        output_size: see the array transform.
        allow_missing_keys: pass over keys that a dictionary lacks.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: Sequence[float | None],
        output_size: OutputSize = "covering",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, ResampleLabelsToSpacing(spacing_mm, output_size), allow_missing_keys)


def _by_channel(volume: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    if len(volume) == 1:
        return function(volume[0])[None]  # stacking would copy
    return torch.stack([function(channel) for channel in volume])
