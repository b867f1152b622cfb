"""Intensities of a scan brought to the range the network sees."""

from collections.abc import Sequence

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import (
    Compose,
    NormalizeIntensityd,
    ScaleIntensityRanged,
    ScaleIntensityRangePercentilesd,
    Transform,
)
from monai.utils import TransformBackends

from medfs.errors import InputError, UsageError
from medfs.transforms.twins import Twin, as_volume, float_type, name_of, plain, with_metadata


def scale_modality(keys: Sequence[str], modality: str) -> Compose:
    """Scale a scan by what its modality allows.

    ``ct`` clips Hounsfield units to [-125, 275] and maps them to [0, 1]. ``mr``, whose units mean nothing across
    scanners, clips at the scan's own 0.5 and 99.5 percentiles and standardises it to mean 0 and deviation 1.

    Args:
        keys: keys of the images.
        modality: ``ct`` or ``mr``.

    Raises:
        UsageError: for another modality.

    References:
        The window is that of the AMOS experiments in Qi et al., ECCV 2024.
    """
    if modality == "ct":
        return Compose(ScaleIntensityRanged(keys, a_min=-125, a_max=275, b_min=0, b_max=1, clip=True))
    if modality == "mr":
        return Compose(
            [
                ScaleIntensityRangePercentilesd(keys, lower=0.5, upper=99.5, b_min=0, b_max=1, clip=True),
                NormalizeIntensityd(keys),
            ]
        )
    raise UsageError(f"unknown modality {modality!r}; expected 'ct' or 'mr'")


class ClipPercentile(Transform):
    """Clip a volume at its own percentiles, as few-shot segmentation of MR does against bright outliers.

    Percentiles are those of all voxels and channels together, interpolated linearly between order statistics
    (``numpy.percentile``). The result is float32, or float64 if the volume is; metadata stay.

    Args:
        upper: percentile above which voxels are set to its value; None for no limit.
        lower: percentile below which voxels are set to its value; None for no limit, as published.

    Raises:
        UsageError: for a percentile outside [0, 100] or limits in the wrong order.
        InputError: at the call, if a voxel is NaN or infinite, or there is none.

    References:
        Ouyang et al., Self-supervision with superpixels, ECCV 2020 (top 0.5 % of an MR volume).

    >>> ClipPercentile(upper=75)(np.array([[0.0, 1, 2, 3, 90]])).tolist()
    [[0.0, 1.0, 2.0, 3.0, 3.0]]
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012  (MONAI's convention)

    def __init__(self, upper: float | None = 99.5, lower: float | None = None) -> None:
        low, high = 0.0 if lower is None else lower, 100.0 if upper is None else upper
        if not 0 <= low <= high <= 100:
            raise UsageError(f"percentiles from {lower} to {upper}; expected 0 <= lower <= upper <= 100")
        self.upper, self.lower = upper, lower

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Clip a volume (C, *S)."""
        volume = as_volume(img)
        voxels = _checked(volume)
        values = voxels.numpy(force=True)
        low = -float("inf") if self.lower is None else float(np.percentile(values, self.lower))
        high = float("inf") if self.upper is None else float(np.percentile(values, self.upper))
        return with_metadata(voxels.to(float_type(voxels.dtype)).clamp(low, high), volume)


class WindowHU(Transform):
    """Clip a CT volume to a window of Hounsfield units and map the window linearly to a range.

    The result is float32, or float64 if the volume is; metadata stay.

    Args:
        low_hu: lower end of the window in HU.
        high_hu: upper end of the window in HU.
        output_range: values of the two ends.

    Raises:
        UsageError: for an empty window.
        InputError: at the call, if a voxel is NaN or infinite, or there is none.

    **Differs from the paper**: the published range is stretched between the extremes of the clipped volume, so the
    same tissue has another value in a scan without air or bone. Here the window itself is mapped. Both are equal where
    the volume reaches both ends.

    References:
        Ouyang et al., Self-supervision with superpixels, ECCV 2020 ([-125, 275] HU to [0, 255]).

    >>> WindowHU()(np.array([[-1000, -125, 75, 3000]])).tolist()
    [[0.0, 0.0, 127.5, 255.0]]
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012  (MONAI's convention)

    def __init__(
        self, low_hu: float = -125.0, high_hu: float = 275.0, output_range: tuple[float, float] = (0.0, 255.0)
    ) -> None:
        if not low_hu < high_hu:
            raise UsageError(f"a window from {low_hu} to {high_hu} HU; expected low_hu < high_hu")
        self.low_hu, self.high_hu, self.output_range = low_hu, high_hu, output_range

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Window a volume (C, *S)."""
        volume = as_volume(img)
        voxels = _checked(volume)
        first, last = self.output_range
        windowed = voxels.to(float_type(voxels.dtype)).clamp(self.low_hu, self.high_hu)
        scale = (last - first) / (self.high_hu - self.low_hu)
        return with_metadata((windowed - self.low_hu).mul_(scale).add_(first), volume)


class StandardizeVolume(Transform):
    """Bring a volume to mean 0 and (population) standard deviation 1 over all voxels, air and padding included.

    A constant volume becomes all 0. The result is float32, or float64 if the volume is; metadata stay.

    Raises:
        InputError: at the call, if a voxel is NaN or infinite, or there is none.

    **Differs from the paper**: none for a volume that varies; a constant one divides by 0 there.

    References:
        Hansen et al., Anomaly detection-inspired few-shot medical image segmentation, Medical Image Analysis 78 (2022).

    >>> StandardizeVolume()(np.array([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012  (MONAI's convention)

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Standardise a volume (C, *S)."""
        volume = as_volume(img)
        voxels = _checked(volume).to(float_type(plain(volume).dtype))
        variance, mean = torch.var_mean(voxels, correction=0)
        if voxels.amax() == voxels.amin():
            return with_metadata(torch.zeros_like(voxels), volume)
        return with_metadata((voxels - mean).div_(variance.sqrt()), volume)


class ClipPercentiled(Twin):
    """Dictionary twin of :class:`ClipPercentile`.

    Args:
        keys: keys of the images.
        upper: see the array transform.
        lower: see the array transform.
        allow_missing_keys: pass over keys that a dictionary lacks.
    """

    def __init__(
        self,
        keys: KeysCollection,
        upper: float | None = 99.5,
        lower: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, ClipPercentile(upper, lower), allow_missing_keys)


class WindowHUd(Twin):
    """Dictionary twin of :class:`WindowHU`.

    Args:
        keys: keys of the images.
        low_hu: see the array transform.
        high_hu: see the array transform.
        output_range: see the array transform.
        allow_missing_keys: pass over keys that a dictionary lacks.
    """

    def __init__(
        self,
        keys: KeysCollection,
        low_hu: float = -125.0,
        high_hu: float = 275.0,
        output_range: tuple[float, float] = (0.0, 255.0),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, WindowHU(low_hu, high_hu, output_range), allow_missing_keys)


class StandardizeVolumed(Twin):
    """Dictionary twin of :class:`StandardizeVolume`.

    Args:
        keys: keys of the images.
        allow_missing_keys: pass over keys that a dictionary lacks.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, StandardizeVolume(), allow_missing_keys)


def _checked(volume: torch.Tensor) -> torch.Tensor:
    """The voxels of a volume, refused if there is none or one is not finite."""
    voxels = plain(volume)
    if voxels.numel() == 0:
        raise InputError(f"{name_of(volume)}: no voxels in shape {tuple(voxels.shape)}; expected at least one")
    if voxels.is_floating_point() and not (finite := torch.isfinite(voxels)).all():
        count = finite.numel() - int(finite.sum())
        raise InputError(f"{name_of(volume)}: {count} voxels are NaN or infinite; replace them when reading the file")
    return voxels
