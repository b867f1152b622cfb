"""From tissues to intensities: contrast of one patient, texture, partial volume, shading and noise."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfs.phantom.canvas import Canvas
from medfs.phantom.fields import FloatArray, WaveField
from medfs.phantom.tissues import BRIGHTNESS, Modality, Tissue

_BLUR_MM = 1.2
_KIDNEYS = (Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY)
_CORTEX = 1.13  # brightness of the kidney's rind against its core
_TEXTURE_MM = 5.0
_CT_TEXTURE_HU = 3.5
_MR_TEXTURE = 0.04
_MR_GAIN = (0.6, 1.8)
_MR_NOISE = 18.0


def render(
    canvas: Canvas,
    tissue: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    modality: Modality,
    *,
    contrast: np.random.Generator,
    noise: np.random.Generator,
) -> NDArray[np.int16] | NDArray[np.float32]:
    """The scan ``(X, Y, Z)`` of the tissues on the canvas, HU in int16 for CT, arbitrary float32 for MR.

    Args:
        canvas: points and depths.
        tissue: ``(X, Y, Z)``, the tissues as they ended up.
        spacing_mm: voxel size.
        modality: what scanner it is.
        contrast: draws what stays the same when this patient is scanned on another grid.
        noise: draws what does not.
    """
    image = _contrast(canvas, tissue.ravel(), modality, contrast).reshape(tissue.shape)
    image = ndimage.gaussian_filter(image, [np.hypot(0.35, _BLUR_MM / step) for step in spacing_mm])
    texture = _grain(noise, tissue.shape, [_TEXTURE_MM / step for step in spacing_mm])
    if modality == "ct":
        image += np.where(image > -250, _CT_TEXTURE_HU * texture, 0)
        image += noise.uniform(9, 15) * _grain(noise, tissue.shape, 0.5)
        return np.rint(image).clip(-1024, 3071).astype(np.int16)
    shading = WaveField.draw(contrast, wavelength_mm=(350, 700), sd=0.22, waves=6).at(canvas.points)[0]
    image = image.clip(0, None) * (1 + _MR_TEXTURE * texture) * np.exp(shading).reshape(tissue.shape)
    real, imaginary = _MR_NOISE * noise.standard_normal((2, *tissue.shape), dtype=np.float32)
    return (np.hypot(image + real, imaginary) * contrast.uniform(*_MR_GAIN)).astype(np.float32)


def _grain(rng: np.random.Generator, shape: tuple[int, ...], sigma: float | list[float]) -> FloatArray:
    """Noise of standard deviation 1, correlated over ``sigma`` voxels."""
    grain = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    return grain / grain.std()


def _contrast(canvas: Canvas, tissue: NDArray[np.uint8], modality: Modality, rng: np.random.Generator) -> FloatArray:
    """The intensity ``(V,)`` of each voxel's tissue in this patient."""
    means = np.zeros(256, dtype=np.float32)
    for member, brightness in BRIGHTNESS.items():
        mean, sd = (brightness.ct, brightness.ct_sd) if modality == "ct" else (brightness.mr, brightness.mr_sd)
        means[member] = mean + sd * rng.normal()
    means[Tissue.LEFT_KIDNEY] = means[Tissue.RIGHT_KIDNEY]
    means[Tissue.LEFT_ADRENAL] = means[Tissue.RIGHT_ADRENAL]
    image = means[tissue]
    image[np.isin(tissue, _KIDNEYS) & (canvas.depth > -0.32)] *= _CORTEX
    image[(tissue == Tissue.STOMACH) & (canvas.depth > -0.16)] = means[Tissue.ESOPHAGUS]
    return image
