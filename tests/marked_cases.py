"""Small scans whose organs can be told by their intensity, with supervoxels that run through them."""

import numpy as np

from medfs.fewshot.modes import AcrossPatients, AdjacentSlabs, AdjacentSlices, TwoCrops, TwoViews
from medfs.io import Case, Volume, write_image, write_labels

LIVER, SPLEEN, KIDNEY = 1, 2, 3
SLICES = 26
LIVER_SLICES, SPLEEN_SLICES, KIDNEY_SLICES = range(4, 10), range(7, 14), range(2, 24)

MODES = {
    "slice": AdjacentSlices(min_pixels=6),
    "two_view": TwoViews(min_pixels=6),
    "slab": AdjacentSlabs(depth=2, min_pixels=6),
    "volume": TwoCrops(min_pixels=6),
    "crops": TwoCrops(depth=4, in_plane=(9, 11), min_pixels=6),
    "across_patients": AcrossPatients(min_pixels=6),
    "across_patients_slabs": AcrossPatients(shots=2, depth=3, min_pixels=6),
}


def marked_arrays(seed=0):
    """Image, organ labels and supervoxels (X, Y, Z); liver is brighter than 50 and spleen brighter than 80."""
    random = np.random.default_rng(seed)
    shape = (22, 18, SLICES)
    labels = np.zeros(shape, np.uint8)
    for value, slices, place in ((LIVER, LIVER_SLICES, 2), (SPLEEN, SPLEEN_SLICES, 8), (KIDNEY, KIDNEY_SLICES, 14)):
        labels[place : place + 4, 3:8, slices.start : slices.stop] = value
    supervoxels = np.zeros(shape, np.int16)
    for value in range(1, 7):
        first, last = sorted(random.integers(0, SLICES, 2))
        corner = random.integers(0, 12, 2)
        supervoxels[corner[0] : corner[0] + 6, corner[1] : corner[1] + 5, max(first - 3, 0) : last + 3] = 10 * value
    image = random.normal(size=shape).astype(np.float32)
    image += 60.0 * (labels == LIVER) + 90.0 * (labels == SPLEEN)
    return image, labels, supervoxels


def write_marked(folder, count):
    """``images/``, ``labels/`` and ``supervoxels/`` of some cases, two of each patient; returns the cases."""
    cases = []
    for number in range(count):
        arrays = dict(zip(("images", "labels", "supervoxels"), marked_arrays(number), strict=True))
        paths = {}
        for part, array in arrays.items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            paths[part] = folder / part / f"case_{number}.nii.gz"
            volume = Volume.from_array(array, np.diag([1.0, 1.5, 6.0, 1.0]))
            (write_image if part == "images" else write_labels)(paths[part], array, volume)
        name = f"case_{number}"
        cases.append(Case(name, f"patient_{number // 2}", paths["images"], paths["labels"]))
    return cases
