"""One phantom: a patient, a scanner's grid, and what the scanner sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from numbers import Integral
from typing import get_args

import numpy as np
from nibabel.orientations import axcodes2ornt
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medfs.errors import UsageError
from medfs.phantom.appearance import render
from medfs.phantom.canvas import Canvas, without_islands
from medfs.phantom.fields import FloatArray, WaveField
from medfs.phantom.organs import paint_organs
from medfs.phantom.tissues import ORGANS, Modality
from medfs.phantom.torso import Habitus, paint_torso

_LARGEST_SPACING_MM = 20.0
_MOST_VOXELS = 2**27
_TILT_DEGREES = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class PhantomCase:
    """A synthetic scan with its truth.

    Attributes:
        image: ``(X, Y, Z)``: int16 HU for CT, float32 of arbitrary unit for MR.
        labels: ``(X, Y, Z)`` uint8, values of ``medfs.anatomy.label_set("amos")``.
        affine: ``(4, 4)`` float64, voxel index -> RAS+ millimetres.
    """

    image: NDArray[np.int16] | NDArray[np.float32]
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]


def phantom_case(
    seed: int,
    *,
    spacing_mm: float | tuple[float, float, float] = 6.0,
    modality: Modality = "ct",
    oblique: bool = True,
    axis_codes: str = "RAS",
) -> PhantomCase:
    """Make up a patient from diaphragm to pelvis, with the 15 organs of AMOS, and scan them.

    The patient depends on the seed alone: another spacing, modality or orientation shows the same anatomy on another
    grid. Equal arguments give equal voxels. Up to 6 mm every organ is seen; on coarser grids a small one may vanish.

    Args:
        seed: the patient; not negative.
        spacing_mm: voxel size along each array axis, or one for all three.
        modality: ``"ct"`` as in the portal venous phase, or ``"mr"``, like T2 with shading and varied contrast.
        oblique: whether the grid is tilted against the patient by some degrees.
        axis_codes: where each array axis points to, one letter of ``LR``, ``PA`` and ``IS`` each, in any order.

    Raises:
        UsageError: an argument cannot be used, or the volume would have more than 2**27 voxels.

    >>> case = phantom_case(0, spacing_mm=12.0)
    >>> case.image.shape == case.labels.shape, case.image.dtype
    (True, dtype('int16'))
    """
    spacing = checked_spacing_mm(seed, spacing_mm, modality)
    streams = np.random.SeedSequence(int(seed)).spawn(5)
    position, filling, anatomy, contrast, noise = (np.random.default_rng(stream) for stream in streams)
    habitus = Habitus.draw(anatomy)
    affine, shape = _grid(habitus, spacing, _orientation(axis_codes), oblique, position)
    canvas = Canvas(_standard_points(affine, shape, habitus, anatomy))
    free = paint_torso(canvas, habitus, filling)
    paint_organs(canvas, anatomy, free)
    tissue = without_islands(canvas.tissue.reshape(shape))
    labels = np.where(tissue <= len(ORGANS), tissue, 0).astype(np.uint8)
    image = render(canvas, tissue, spacing, modality, contrast=contrast, noise=noise)
    return PhantomCase(image, labels, affine)


def checked_spacing_mm(
    seed: int, spacing_mm: float | tuple[float, float, float], modality: str
) -> tuple[float, float, float]:
    """The spacing along each axis, once the arguments that need no volume are known to be usable.

    Raises:
        UsageError: as :func:`phantom_case`.
    """
    if not isinstance(seed, Integral) or seed < 0:
        raise UsageError(f"phantom seed {seed!r}; expected an integer that is not negative")
    if modality not in get_args(Modality):
        raise UsageError(f"phantom modality {modality!r}; expected one of {', '.join(get_args(Modality))}")
    values = tuple(spacing_mm) if isinstance(spacing_mm, Sequence) else (spacing_mm,) * 3
    if len(values) != 3 or not all(0 < value <= _LARGEST_SPACING_MM for value in values):
        raise UsageError(f"phantom spacing {spacing_mm} mm; expected one or three numbers above 0 and at most 20")
    x, y, z = map(float, values)
    return x, y, z


def _orientation(axis_codes: str) -> NDArray[np.float64]:
    """The signed permutation ``(3, 3)`` whose columns are the directions of the array axes."""
    try:
        axes, signs = axcodes2ornt(tuple(axis_codes.upper())).T
    except (ValueError, IndexError):
        axes, signs = np.zeros(1), np.zeros(1)
    if sorted(axes.tolist()) != [0, 1, 2]:
        raise UsageError(f"phantom axis codes {axis_codes!r}; expected three letters such as RAS or LPS")
    directions = np.zeros((3, 3))
    directions[axes.astype(int), range(3)] = signs
    return directions


def _grid(
    habitus: Habitus,
    spacing: tuple[float, float, float],
    directions: NDArray[np.float64],
    oblique: bool,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Affine and shape of a field of view around the patient, who lies a little off its centre."""
    half_width, half_depth = habitus.half_size_mm()
    height = habitus.scale[2]
    bottom, top = -294 * height - rng.uniform(2, 22), height * rng.uniform(132, 176)
    margin = rng.uniform(2, 24, size=2)
    extent = np.array([2 * (half_width + margin[0]), 2 * (half_depth + margin[1]), top - bottom])
    centre = np.array([rng.normal(0, 9), rng.normal(-8, 9), (top + bottom) / 2])
    tilt = Rotation.from_euler("xyz", rng.uniform(-_TILT_DEGREES, _TILT_DEGREES, size=3), degrees=True).as_matrix()
    shape = tuple(np.ceil(np.abs(directions.T) @ extent / spacing).astype(int).tolist())
    if prod(shape) > _MOST_VOXELS:
        raise UsageError(f"phantom spacing {spacing} mm: a volume of {shape} voxels; expected at most 2**27 in all")
    affine = np.eye(4)
    affine[:3, :3] = (tilt if oblique else np.eye(3)) @ directions * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine, shape


def _standard_points(
    affine: NDArray[np.float64], shape: tuple[int, int, int], habitus: Habitus, rng: np.random.Generator
) -> FloatArray:
    """Where each voxel ``(3, V)`` lies in the standard body: the inverse of the patient's deformation."""
    index = np.indices(shape, dtype=np.float32).reshape(3, -1)
    points = affine[:3, :3].astype(np.float32) @ index + affine[:3, 3:].astype(np.float32)
    bend = WaveField.draw(rng, wavelength_mm=(250, 450), sd=6.5, components=3, waves=6)
    ripple = WaveField.draw(rng, wavelength_mm=(70, 110), sd=1.6, components=3, waves=8)
    moved = points + bend.at(points) + ripple.at(points)
    return moved / np.array(habitus.scale, dtype=np.float32)[:, None]
