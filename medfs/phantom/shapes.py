"""Implicit shapes: each tells for any point how deep inside it lies.

The *depth* of a point has no unit: -1 on the axis or in the centre of a shape, 0 on its surface, positive outside.
Points are ``(3, V)`` in millimetres, x to the right, y to the front, z to the head.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from medfs.phantom.fields import FloatArray

Point = Sequence[float] | FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Something with an inside.

    Attributes:
        lower: ``(3,)``, corner of a box that holds the shape.
        upper: ``(3,)``, the opposite corner.
        depth: gives the depth ``(V,)`` of points ``(3, V)``.
    """

    lower: FloatArray
    upper: FloatArray
    depth: Callable[[FloatArray], FloatArray]


def ellipsoid(centre: Point, radii: Point, degrees: Point = (0.0, 0.0, 0.0)) -> Shape:
    """An ellipsoid with semi-axes ``radii``, turned about x, then y, then z.

    >>> ellipsoid((0, 0, 0), (2, 1, 1)).depth(np.array([[0.0, 2.0, 4.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])).tolist()
    [-1.0, 0.0, 1.0]
    """
    turn, middle, semi_axes = _rotation(degrees), np.array(centre, dtype=float), np.array(radii, dtype=float)
    reach = np.linalg.norm(turn * semi_axes, axis=1)

    def depth(points: FloatArray) -> FloatArray:
        local = turn.T @ (points - middle[:, None])
        return np.linalg.norm(local / semi_axes[:, None], axis=0) - 1

    return Shape(middle - reach, middle + reach, depth)


def tube(course: Sequence[Point], radii: Sequence[float]) -> Shape:
    """Balls along a smooth curve through the points of ``course``; ``radii`` are spread evenly over its length."""
    corners = np.array(course, dtype=float)
    knots = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    where = np.linspace(0.0, knots[-1], 2 + int(5 * knots[-1] / min(radii)))
    centres = CubicSpline(knots, corners, bc_type="natural")(where)
    radius = PchipInterpolator(np.linspace(0.0, knots[-1], len(radii)), radii)(where)
    tree = KDTree(centres)
    far = 2 * radius.max()

    def depth(points: FloatArray) -> FloatArray:
        distance, nearest = tree.query(points.T, distance_upper_bound=far)
        return np.minimum(distance, far) / np.append(radius, radius.min())[nearest] - 1

    return Shape((centres - radius[:, None]).min(axis=0), (centres + radius[:, None]).max(axis=0), depth)


def union(*parts: Shape, blend: float = 0.0) -> Shape:
    """Several shapes grown together; ``blend`` rounds the seams, in units of depth."""
    lower, upper = np.stack([part.lower for part in parts]), np.stack([part.upper for part in parts])
    grown = blend * (upper - lower).max(axis=0) / 2

    def depth(points: FloatArray) -> FloatArray:
        result = parts[0].depth(points)
        for part in parts[1:]:
            other = part.depth(points)
            seam = np.maximum(blend - np.abs(result - other), 0)
            result = np.minimum(result, other)
            if blend > 0:
                result -= seam**2 / (4 * blend)
        return result

    return Shape(lower.min(axis=0) - grown, upper.max(axis=0) + grown, depth)


def without(body: Shape, removed: Shape) -> Shape:
    """What ``body`` is outside of ``removed``."""
    return Shape(body.lower, body.upper, lambda points: np.maximum(body.depth(points), -removed.depth(points)))


def half_space(point: Point, outward: Point, scale_mm: float = 40.0) -> Shape:
    """The side of a plane that ``outward`` points away from; the depth is -1 at ``scale_mm`` behind the plane."""
    normal = np.array(outward, dtype=float) / np.linalg.norm(outward)
    offset = float(normal @ np.array(point, dtype=float))
    endless = np.full(3, np.inf)
    return Shape(-endless, endless, lambda points: (normal @ points - offset) / scale_mm)


def posed(shape: Shape, pivot: Point, *, shift_mm: Point, degrees: Point, scale: Point) -> Shape:
    """A shape scaled and turned about ``pivot``, then shifted."""
    turn, factors = _rotation(degrees), np.array(scale, dtype=float)[:, None]
    start = np.array(pivot, dtype=float)[:, None]
    end = start + np.array(shift_mm, dtype=float)[:, None]
    corners = np.array(list(product(*zip(shape.lower, shape.upper, strict=True)))).T
    moved = turn @ ((corners - start) * factors) + end

    def depth(points: FloatArray) -> FloatArray:
        return shape.depth(turn.T @ (points - end) / factors + start)

    return Shape(moved.min(axis=1), moved.max(axis=1), depth)


def _rotation(degrees: Point) -> FloatArray:
    return Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
