"""Previews: a picture by which one sees whether a segmentation went wrong."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medfs.anatomy import Organ
from medfs.errors import UsageError
from medfs.export.labels import label_counts, organs_of
from medfs.export.planes import Entry, display_window, three_planes
from medfs.io import Volume, atomic_path, case_name
from medfs.io.names import shown


def write_preview(path: str | Path, image: Volume, labels: np.ndarray, organs: Mapping[int, Organ]) -> None:
    """Write a PNG of three slices with the outlines of the organs, their names and their volumes.

    The slices follow the axes of the scan, each through the place where the organs together show the most, or through
    the middle where there are none. They hang in radiological convention, the patient's right at the viewer's left and
    front up, and in true proportions; the edges are marked, with two letters (``RA``) where the scan is oblique. CT is
    shown in a soft tissue window, everything else between its percentiles.

    Args:
        path: the file, ``*.png``; its folder must exist.
        image: the scan, ``(X, Y, Z)``.
        labels: ``(X, Y, Z)``, integer or boolean, on the grid of ``image``.
        organs: organ by label value, 0 is left out; a value that is not in there is called *Label 17*.

    Raises:
        UsageError: the name has another suffix, the array is no label map, or the shapes differ.
        InputError: a label value is negative.
        StorageError: the file cannot be written.
    """
    from medfs.export import figure  # matplotlib only where a picture is drawn

    path, name = Path(path), shown(path)
    if path.suffix.lower() != ".png":
        raise UsageError(f"{name}: expected a name that ends in .png")
    if labels.shape != image.array.shape:
        raise UsageError(f"{name}: labels of shape {labels.shape} on an image of {image.array.shape}")
    counts = label_counts(labels, name)
    voxel_ml = abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000
    values = organs_of(sorted({*counts, *organs} - {0}), organs)
    entries = [Entry(value, organ, counts.get(value, 0) * voxel_ml) for value, organ in values.items()]
    heading = (case_name(image.path), _grid_text(image))
    with atomic_path(path) as temporary:
        figure.save(temporary, three_planes(image, labels), display_window(image.array), entries, heading)


def _grid_text(image: Volume) -> str:
    shape = " x ".join(map(str, image.array.shape))
    return f"{shape} voxels of " + " x ".join(f"{length:.3g}" for length in image.spacing_mm) + " mm"
