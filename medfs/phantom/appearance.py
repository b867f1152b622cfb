"""From tissues to intensities: contrast of one patient, texture, partial volume, shading and noise."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfs.phantom.canvas import Canvas
from medfs.phantom.fields import FloatArray, WaveField
from medfs.phantom.tissues import BRIGHTNESS, Modality, Tissue

_BLUR_MM = 1.2
_KIDNEYS = (Tissue.RIGHT_KIDNEY, Tissue.LEFT_KIDNEY)
_MR_GAIN = (0.6, 1.8)
_MR_NOISE = 18.0


def render(
    canvas: Canvas,
    tissue: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    modality: Modality,
    seeds: tuple[np.random.Generator, np.random.Generator],
) -> NDArray[np.int16] | NDArray[np.float32]:
    """The scan ``(X, Y, Z)`` of the tissues on the canvas, HU in int16 for CT, arbitrary float32 for MR.

    Args:
        canvas: points and depths.
        tissue: ``(X, Y, Z)``, the tissues as they ended up.
        spacing_mm: voxel size.
        modality: what scanner it is.
        seeds: random generators of the patient's contrast and of the scanner's noise.
    """
    patient, scanner = seeds
    image = _contrast(canvas, tissue.ravel(), modality, patient).reshape(tissue.shape)
    image = ndimage.gaussian_filter(image, [np.hypot(0.35, _BLUR_MM / step) for step in spacing_mm])
    if modality == "ct":
        noise = ndimage.gaussian_filter(scanner.standard_normal(tissue.shape, dtype=np.float32), 0.5)
        image += noise * (scanner.uniform(9, 15) / noise.std())
        return np.rint(image).clip(-1024, 3071).astype(np.int16)
    shading = WaveField.draw(patient, wavelength_mm=(350, 700), sd=0.22, waves=6).at(canvas.points)[0]
    image = image.clip(0, None) * np.exp(shading).reshape(tissue.shape)
    real, imaginary = _MR_NOISE * scanner.standard_normal((2, *tissue.shape), dtype=np.float32)
    return (np.hypot(image + real, imaginary) * patient.uniform(*_MR_GAIN)).astype(np.float32)


def _contrast(canvas: Canvas, tissue: NDArray[np.uint8], modality: Modality, rng: np.random.Generator) -> FloatArray:
    means = np.zeros(256, dtype=np.float32)
    for member, brightness in BRIGHTNESS.items():
        mean, sd = (brightness.ct, brightness.ct_sd) if modality == "ct" else (brightness.mr, brightness.mr_sd)
        means[member] = mean + sd * rng.normal()
    means[Tissue.LEFT_KIDNEY] = means[Tissue.RIGHT_KIDNEY]
    means[Tissue.LEFT_ADRENAL] = means[Tissue.RIGHT_ADRENAL]
    image = means[tissue]
    texture = WaveField.draw(rng, wavelength_mm=(15, 60), sd=1.0, waves=10).at(canvas.points)[0]
    image += texture * np.where(tissue == Tissue.AIR, 0, 3.5 if modality == "ct" else 0.06 * image)
    cortex = np.isin(tissue, _KIDNEYS) & (canvas.depth > -0.32)
    image[cortex] *= 1.13
    wall = (tissue == Tissue.STOMACH) & (canvas.depth > -0.16)
    image[wall] = means[Tissue.ESOPHAGUS]
    return image
