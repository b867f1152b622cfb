"""The three most telling slices of a case, as radiologists hang them."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy import ndimage

from medfs.anatomy import Organ
from medfs.io import Volume

# Array axes turned to left, posterior and inferior, so that each plane is drawn rows down and columns to the right.
_HUNG = "LPI"
_PLANES = (("Axial", 2, 1, 0), ("Coronal", 1, 2, 0), ("Sagittal", 0, 2, 1))  # axis across, down and to the right
_ENDS = ("LR", "PA", "IS")  # of the RAS axes
_OBLIQUE = 0.2  # sine from which a second letter is written beside the first
_CT_WINDOW_HU = (-160.0, 240.0)
_CT_AIR_HU, _CT_DENSE_HU = -400.0, 150.0
_SAMPLE = 100
_MOST_OBJECTS = 65535


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice.

    Attributes:
        title: name of the plane and number of the slice, counted from 1 in the order of the file.
        picture: ``(rows, columns)`` intensities.
        labels: ``(rows, columns)`` label values.
        spacing_mm: distance of neighbouring rows and of neighbouring columns.
        edges: patient directions at the left, right, top and bottom edge, e.g. ``("R", "L", "A", "P")``.
    """

    title: str
    picture: np.ndarray
    labels: np.ndarray
    spacing_mm: tuple[float, float]
    edges: tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Window:
    """Intensities shown as black and as white, and how they were chosen."""

    low: float
    high: float
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the legend; ``volume_ml`` is 0 for an organ that is absent."""

    value: int
    organ: Organ
    volume_ml: float


def three_planes(image: Volume, labels: np.ndarray) -> list[Plane]:
    """The axial, the coronal and the sagittal slice that a preview of ``labels`` on ``image`` shows."""
    axes = nib.io_orientation(image.affine)
    turn = nib.orientations.ornt_transform(axes, nib.orientations.axcodes2ornt(tuple(_HUNG)))
    picture = nib.orientations.apply_orientation(image.array, turn)
    mask = nib.orientations.apply_orientation(labels, turn)
    affine = image.affine @ nib.orientations.inv_ornt_aff(turn, image.array.shape)
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    spacing = image.spacing_mm
    source = [int(np.flatnonzero(turn[:, 0] == axis)[0]) for axis in range(3)]
    planes = []
    for (name, across, down, right), index in zip(_PLANES, telling_slices(mask), strict=True):
        length = mask.shape[across]
        number = index + 1 if turn[source[across], 1] > 0 else length - index
        planes.append(
            Plane(
                title=f"{name}, slice {number} of {length}",
                picture=np.moveaxis(picture, across, 0)[index].T,
                labels=np.moveaxis(mask, across, 0)[index].T,
                spacing_mm=(spacing[source[down]], spacing[source[right]]),
                edges=(*_ends(directions[:, right]), *_ends(directions[:, down])),
            )
        )
    return planes


def telling_slices(labels: np.ndarray) -> tuple[int, int, int]:
    """Index along the last, the second and the first axis at which the organs together show the most.

    Each organ counts with its area relative to its own largest one along that axis, so that small organs have the same
    say as large ones. Without organs it is the middle.
    """
    if labels.dtype == bool:
        labels = labels.astype(np.uint8)
    elif labels.max() > _MOST_OBJECTS:
        labels = np.searchsorted([0, *np.unique(labels[labels > 0])], labels)
    profiles = [np.zeros(length) for length in labels.shape]
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        mask = labels[box] == value
        for axis, profile in enumerate(profiles):
            areas = np.count_nonzero(mask, axis=tuple({0, 1, 2} - {axis}))
            profile[box[axis]] += areas / areas.max()
    best = [int(profile.argmax()) if profile.any() else len(profile) // 2 for profile in profiles]
    return best[2], best[1], best[0]


def display_window(array: np.ndarray) -> Window:
    """Black and white for a scan: CT, known by air and bone in Hounsfield units, in a soft tissue window.

    Args:
        array: ``(X, Y, Z)`` intensities. Of anything but CT, the 1st and the 99.5th percentile of what is brighter than
            the background are taken; a constant volume is shown black.
    """
    sample = array[tuple(slice(None, None, -(-length // _SAMPLE)) for length in array.shape)]
    low, high = float(sample.min()), float(sample.max())
    if low < _CT_AIR_HU and high > _CT_DENSE_HU:
        black, white = _CT_WINDOW_HU
        return Window(black, white, f"window {white - black:.0f} HU, level {(white + black) / 2:.0f} HU")
    bright = sample[sample > low]
    if bright.size == 0:
        return Window(low, low + 1, f"all voxels {low:g}")
    black, white = np.percentile(bright, (1, 99.5)).tolist()
    return Window(black, white if white > black else black + 1, "window from the 1st to the 99.5th percentile")


def _ends(direction: np.ndarray) -> tuple[str, str]:
    return _letters(-direction), _letters(direction)


def _letters(direction: np.ndarray) -> str:
    """Where a unit vector points in the patient, the main direction first.

    >>> _letters(np.array([0.9, -0.4, 0.1]))
    'RP'
    """
    order = np.argsort(-np.abs(direction), kind="stable")
    return "".join(_ENDS[axis][int(direction[axis] > 0)] for axis in order if abs(direction[axis]) > _OBLIQUE)
