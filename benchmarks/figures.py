"""Figures of the documentation, made of synthetic torsos: ``python -m benchmarks.figures [supervoxels] [episodes]``."""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from medfs.export import write_supervoxel_preview
from medfs.fewshot import EpisodeDataset, EpisodeSampler, prepare_case
from medfs.fewshot.modes import AdjacentSlices
from medfs.inference.episodes import write_episode_page
from medfs.inference.supervoxels import supervoxels
from medfs.io import Volume, read_image, write_labels
from medfs.phantom import phantom_case, write_cohort
from medfs.transforms.episodes import EpisodeAugmentation

_IMAGES = Path(__file__).parent.parent / "docs" / "images"
_COLORS = 256  # small files


def supervoxels_figure(path: Path) -> None:
    """An MR-like torso of CHAOS' voxels and its supervoxels."""
    case = phantom_case(7, spacing_mm=(1.5, 1.5, 7.0), modality="mr", oblique=False)
    scan = Volume.from_array(case.image, case.affine, "synthetic_torso.nii.gz")
    labels = supervoxels(scan, min_size=5000)
    print(f"{labels.shape}, {labels.max()} supervoxels, {np.mean(labels > 0):.0%} inside the mask")
    write_supervoxel_preview(path, scan, labels)
    _shrink(path, 0.7)


def episodes_figure(path: Path) -> None:
    """Episodes of adjacent slices, drawn from the supervoxels of four MR-like torsos."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ready = []
        for case in write_cohort(folder, 4, modality="mr", spacing_mm=(1.5, 1.5, 7.0), oblique=False):
            scan = read_image(case.image)
            maps = folder / f"{case.name}_supervoxels.nii.gz"
            write_labels(maps, supervoxels(scan, min_size=5000), like=scan)
            ready.append(prepare_case(case, maps, folder / "cache"))
        sampler = EpisodeSampler(ready, AdjacentSlices(), seed=7)
        write_episode_page(path, EpisodeDataset(sampler, EpisodeAugmentation()), 4)
    _shrink(path, 0.6)


def _shrink(path: Path, scale: float) -> None:
    picture = Image.open(path).convert("RGB")
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    small.quantize(_COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


FIGURES = {"supervoxels": supervoxels_figure, "episodes": episodes_figure}

if __name__ == "__main__":
    for name in sys.argv[1:] or FIGURES:
        FIGURES[name](_IMAGES / f"{name}.png")
