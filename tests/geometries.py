"""Rotations and pairs of forms that scans are written with, and the axis orders they are turned to."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from medfs.io import Volume

FORM_CODES = {"qform": (2, 0), "sform": (0, 3), "both": (1, 4), "differing": (4, 1), "equal_codes": (1, 1)}
# None, then rotations by a tenth of a degree up to some half a turn, seeded.
TURNS = [
    np.zeros(3),
    *np.random.default_rng(0).uniform(-np.pi / 2, np.pi / 2, (10, 3)) * np.linspace(0.002, 1, 10)[:, None],
]
each_turn = pytest.mark.parametrize(
    "angles", [pytest.param(a, marks=pytest.mark.slow if n else (), id=f"turn_{n}") for n, a in enumerate(TURNS)]
)
ORIENTATIONS = [
    "".join(codes) for axes in itertools.permutations(("LR", "PA", "IS")) for codes in itertools.product(*axes)
]


def turned(volume, codes):
    """The same scan in another axis order, and the way its labels come back."""
    to = nib.orientations.axcodes2ornt(tuple(codes))
    turn = nib.orientations.ornt_transform(nib.io_orientation(volume.affine), to)
    affine = volume.affine @ nib.orientations.inv_ornt_aff(turn, volume.array.shape)
    array = np.ascontiguousarray(nib.apply_orientation(volume.array, turn))
    back = nib.orientations.ornt_transform(to, nib.io_orientation(volume.affine))
    return Volume.from_array(array, affine), lambda labels: nib.apply_orientation(labels, back)
