"""Intensities of a scan brought to the range the network sees."""

from collections.abc import Sequence

from monai.transforms import Compose, NormalizeIntensityd, ScaleIntensityRanged, ScaleIntensityRangePercentilesd

from medfs.errors import UsageError


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
