"""Short-axis scans of simple hearts in the published form of MS-CMRSeg: thick slices, codes 200, 500 and 600."""

from pathlib import Path

import nibabel as nib
import numpy as np

MYOCARDIUM, BLOOD_POOL, RIGHT = 200, 500, 600
SPACING_MM = (2.5, 2.5, 11.0)
_BRIGHTNESS = {0: 90, MYOCARDIUM: 50, BLOOD_POOL: 220, RIGHT: 190}


def heart(seed: int, shape: tuple[int, int, int] = (60, 56, 5)) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels (X, Y, Z): a ring around a pool, a crescent beside it, both narrower towards the apex."""
    random = np.random.default_rng(seed)
    x, y, z = (axis.astype(float) for axis in np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True))
    centre = np.array(shape[:2]) / 2 + random.uniform(-3, 3, 2)
    narrowing = 1 - 0.5 * z / shape[2]
    left = np.hypot(x - centre[0], y - centre[1]) / narrowing
    right = np.hypot(x - centre[0] - 9 * narrowing, y - centre[1]) / narrowing
    radius = random.uniform(6.5, 8)
    labels = np.select([left < radius, left < radius + 4, right < 12], [BLOOD_POOL, MYOCARDIUM, RIGHT], 0)
    labels[..., [0, -1]] = 0  # the heart ends within the scan
    body = np.hypot((x - shape[0] / 2) / 1.1, y - shape[1] / 2) < 25
    values = np.select([labels == code for code in _BRIGHTNESS], list(_BRIGHTNESS.values()))
    image = body * (values + random.normal(scale=6, size=shape)) + random.uniform(0, 5, shape)
    return image.clip(0).astype(np.int16), labels.astype(np.int16)


def write_hearts(folder: Path, count: int) -> None:
    """``bSSFP/image_<i>.nii.gz`` and ``bSSFP/label_<i>.nii.gz`` for i from 1 on."""
    (folder / "bSSFP").mkdir(parents=True)
    for number in range(1, count + 1):
        for part, array in zip(("image", "label"), heart(number), strict=True):
            affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
            nib.save(nib.Nifti1Image(array, affine), folder / "bSSFP" / f"{part}_{number}.nii.gz")
