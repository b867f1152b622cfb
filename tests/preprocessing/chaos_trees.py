"""CHAOS-shaped trees that tests write: a folder per case with DICOM slices and mask pictures."""

import numpy as np
from dicom_files import write_series
from PIL import Image

GREY = np.array([0, 63, 126, 189, 252], np.uint8)


def write_case(folder, image, grey, affine, *, modality="MR", changes=None):
    """``T2SPIR``-like: stored (columns, rows, slices) and masks of equal stems; a mask's rows are the slice's rows."""
    (folder / "DICOM_anon").mkdir(parents=True)
    (folder / "Ground").mkdir()
    stems = [f"IMG-0004-{k + 1:05d}" for k in range(image.shape[2])]
    names = [f"{stem}.dcm" for stem in stems]
    write_series(folder / "DICOM_anon", image, affine, names=names, modality=modality, changes=changes)
    for k, stem in enumerate(stems):
        Image.fromarray(np.ascontiguousarray(grey[..., k].T)).save(folder / "Ground" / f"{stem}.png")


def small_case(folder, seed=0, organs=(1, 2, 3, 4), shape=(12, 10, 4)):
    """Noise with a block of each organ; returns what was stored: image, ids and affine."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 1000, shape).astype(np.uint16)
    ids = np.zeros(shape, np.uint8)
    for organ in organs:
        ids[2 * organ : 2 * organ + 2, 3:6, 1:3] = organ
    affine = np.diag([-1.25, -1.25, 7.7, 1.0])
    affine[:3, 3] = [40.0, 50.0, -60.0]
    write_case(folder, image, GREY[ids], affine)
    return image, ids, affine
