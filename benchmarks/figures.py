"""Figures of the documentation, made of synthetic torsos: ``python -m benchmarks.figures supervoxels``."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from medfs.export import write_supervoxel_preview
from medfs.inference.supervoxels import supervoxels
from medfs.io import Volume
from medfs.phantom import phantom_case

_IMAGES = Path(__file__).parent.parent / "docs" / "images"
_SCALE, _COLORS = 0.7, 256  # small files


def supervoxels_figure(path: Path) -> None:
    """An MR-like torso of CHAOS' voxels and its supervoxels."""
    case = phantom_case(7, spacing_mm=(1.5, 1.5, 7.0), modality="mr", oblique=False)
    scan = Volume.from_array(case.image, case.affine, "synthetic_torso.nii.gz")
    labels = supervoxels(scan, min_size=5000)
    print(f"{labels.shape}, {labels.max()} supervoxels, {np.mean(labels > 0):.0%} inside the mask")
    write_supervoxel_preview(path, scan, labels)
    picture = Image.open(path).convert("RGB")
    small = picture.resize((round(picture.width * _SCALE), round(picture.height * _SCALE)), Image.Resampling.LANCZOS)
    small.quantize(_COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


FIGURES = {"supervoxels": supervoxels_figure}

if __name__ == "__main__":
    for name in sys.argv[1:] or FIGURES:
        FIGURES[name](_IMAGES / f"{name}.png")
