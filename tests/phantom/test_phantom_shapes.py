"""Implicit shapes and random fields against closed forms."""

import numpy as np
import pytest

from medfs.phantom.canvas import Canvas, without_islands
from medfs.phantom.fields import WaveField
from medfs.phantom.shapes import Shape, ellipsoid, half_space, posed, tube, union, without
from medfs.phantom.tissues import Tissue

STEP_MM = 0.5


def lattice(half_mm: float = 16.0) -> np.ndarray:
    axis = np.arange(-half_mm, half_mm, STEP_MM) + STEP_MM / 2
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)


def volume_mm3(shape: Shape) -> float:
    return float((shape.depth(lattice()) < 0).sum()) * STEP_MM**3


def test_an_ellipsoid_has_its_volume_at_any_angle():
    shape = ellipsoid((1, -1, 2), (5, 7, 10), (30, -20, 45))
    assert volume_mm3(shape) == pytest.approx(4 / 3 * np.pi * 5 * 7 * 10, rel=0.01)


def test_a_straight_tube_of_one_radius_is_a_capsule():
    ends = np.array([(-6, -4, -5), (5, 4, 6)])
    shape = tube([ends[0], ends.mean(axis=0), ends[1]], [5, 5])
    length = np.linalg.norm(ends[1] - ends[0])
    assert volume_mm3(shape) == pytest.approx(np.pi * 5**2 * length + 4 / 3 * np.pi * 5**3, rel=0.01)


def test_a_tube_passes_through_its_points_with_its_radii():
    course = np.array([(-8.0, 0, 0), (0, 6, 0), (8, 0, 0)])
    shape = tube(course.tolist(), [2, 3, 2])
    np.testing.assert_allclose(shape.depth(course.T), -1, atol=0.1)
    beside = np.array([[0.0, 0.0], [6.0, 6.0], [2.7, 3.3]])
    inner, outer = shape.depth(beside)
    assert inner < 0 < outer


def test_a_posed_shape_grows_by_the_product_of_its_scales_and_lands_where_it_is_shifted():
    shape = posed(
        ellipsoid((2, 0, 0), (4, 4, 4)), (2, 0, 0), shift_mm=(1, 2, -3), degrees=(10, 20, 30), scale=(1.5, 1, 2)
    )
    inside = lattice()[:, shape.depth(lattice()) < 0]
    assert inside.shape[1] * STEP_MM**3 == pytest.approx(4 / 3 * np.pi * 4**3 * 3, rel=0.01)
    np.testing.assert_allclose(inside.mean(axis=1), (3, 2, -3), atol=0.05)


def test_a_half_taken_away_leaves_the_other_half():
    ball = ellipsoid((0, 0, 0), (8, 8, 8))
    cut = without(ball, half_space((0, 0, 0), (1, 0.7, -0.4)))
    assert volume_mm3(cut) == pytest.approx(volume_mm3(ball) / 2, rel=0.01)


def test_a_sharp_union_counts_the_overlap_once_and_a_blend_only_adds():
    first, second = ellipsoid((-3, 0, 0), (6, 6, 6)), ellipsoid((3, 0, 0), (6, 6, 6))
    points = lattice()
    either = (first.depth(points) < 0) | (second.depth(points) < 0)
    blended = union(first, second, blend=0.3).depth(points) < 0
    np.testing.assert_array_equal(union(first, second).depth(points) < 0, either)
    assert blended[either].all()
    assert blended.sum() > either.sum()


@pytest.mark.parametrize(
    "shape",
    [
        ellipsoid((1, 2, 3), (3, 5, 9), (40, 10, 70)),
        tube([(-9, 0, 0), (0, 8, 3), (6, -4, -6)], [2, 4, 1.5]),
        union(ellipsoid((-4, 0, 0), (5, 4, 4)), ellipsoid((4, 0, 0), (5, 6, 3)), blend=0.3),
        posed(
            ellipsoid((0, 0, 0), (3, 5, 7)), (1, 1, 1), shift_mm=(2, 0, 1), degrees=(20, 50, 5), scale=(1.2, 0.8, 1.1)
        ),
    ],
    ids=["ellipsoid", "tube", "union", "posed"],
)
def test_nothing_of_a_shape_lies_outside_its_box(shape):
    points = lattice()
    inside = points[:, shape.depth(points) < 0]
    assert inside.shape[1] > 0
    assert (inside > shape.lower[:, None]).all()
    assert (inside < shape.upper[:, None]).all()


def test_a_random_field_has_the_asked_standard_deviation_over_a_large_space():
    rng = np.random.default_rng(3)
    field = WaveField.draw(rng, wavelength_mm=(20, 60), sd=2.5, components=3)
    values = field.at(rng.uniform(-5000, 5000, size=(3, 40_000)))
    np.testing.assert_allclose(values.std(axis=1), 2.5, rtol=0.03)
    np.testing.assert_allclose(values.mean(axis=1), 0, atol=0.1)


def test_later_paint_covers_earlier_paint_and_respects_the_mask():
    points = lattice(8.0)
    canvas = Canvas(points)
    canvas.paint(Tissue.LIVER, ellipsoid((0, 0, 0), (6, 6, 6)))
    canvas.paint(Tissue.AORTA, ellipsoid((0, 0, 0), (3, 3, 3)), within=points[0] > 0)
    distance = np.linalg.norm(points, axis=0)
    np.testing.assert_array_equal(canvas.tissue == Tissue.AORTA, (distance < 3) & (points[0] > 0))
    np.testing.assert_array_equal(canvas.tissue == Tissue.AIR, distance >= 6)
    assert canvas.depth[canvas.tissue == Tissue.LIVER].max() < 0


def test_only_the_largest_piece_of_an_organ_stays():
    tissue = np.zeros((9, 5, 5), dtype=np.uint8)
    tissue[:4], tissue[6:8, :2, :2], tissue[8] = Tissue.SPLEEN, Tissue.SPLEEN, Tissue.MUSCLE
    expected = tissue.copy()
    expected[6:8, :2, :2] = Tissue.FAT
    np.testing.assert_array_equal(without_islands(tissue), expected)
