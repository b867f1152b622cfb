"""COCO: outlines become pixels as other programs fill them, and classes keep their names."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from PIL import Image

from medfs.io import read_labels
from preprocessing.coco import RECIPE, draw_objects
from preprocessing.coco_classes import CLASSES
from preprocessing.command import main
from preprocessing.polygons import expand_runs, fill_polygon, fill_polygons

SIZE = (23, 17)  # columns, rows
corner = st.tuples(st.floats(-5, 28, width=32), st.floats(-5, 22, width=32))


def to_nearest_edge(places, points):
    """Distance of each place from the closest edge of a polygon."""
    starts, ends = points, np.roll(points, -1, axis=0)
    along = ends - starts
    length = np.maximum((along**2).sum(axis=1), 1e-30)
    share = np.clip(((places[:, None] - starts) * along).sum(axis=2) / length, 0, 1)
    return np.linalg.norm(places[:, None] - starts - share[..., None] * along, axis=2).min(axis=1)


@given(st.lists(corner, min_size=3, max_size=7))
def test_a_polygon_holds_the_pixel_centres_that_matplotlib_finds_inside(points):
    points = np.array(points, np.float64)
    columns, rows = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5, indexing="ij")
    places = np.stack([columns.ravel(), rows.ravel()], axis=1)
    clear = to_nearest_edge(places, points) > 1e-6
    expected = Outline(np.vstack([points, points[:1]]), closed=True).contains_points(places)
    np.testing.assert_array_equal(fill_polygon(points, SIZE).ravel()[clear], expected[clear])


def test_a_concave_outline_keeps_its_notch_and_two_outlines_are_one_object():
    letter_u = [2, 2, 12, 2, 12, 12, 9, 12, 9, 5, 5, 5, 5, 12, 2, 12]
    filled = fill_polygons([letter_u], SIZE)
    expected = np.zeros(SIZE, bool)
    expected[2:12, 2:12] = True
    expected[5:9, 5:12] = False
    np.testing.assert_array_equal(filled, expected)
    both = fill_polygons([letter_u, [6, 7, 8, 7, 8, 9, 6, 9]], SIZE)
    assert both.sum() == expected.sum() + 4


def test_runs_go_down_the_columns():
    mask = np.random.default_rng(0).random(SIZE) > 0.5  # columns, rows: the order of the runs
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(np.r_[False, flat]))
    counts = np.diff(np.r_[0, edges, flat.size])
    np.testing.assert_array_equal(expand_runs(counts.tolist(), SIZE), mask)
    with pytest.raises(ValueError, match="run lengths of 3 pixels"):
        expand_runs([1, 2], SIZE)


def square(left, top, side, category, **more):
    corners = [left, top, left + side, top, left + side, top + side, left, top + side]
    return {"id": 1, "category_id": category, "segmentation": [corners], **more}


def test_the_smaller_object_is_seen_and_crowds_lie_below():
    crowd = {
        "id": 3,
        "category_id": 1,
        "iscrowd": 1,
        "segmentation": {"counts": [0, SIZE[0] * SIZE[1]], "size": [17, 23]},
    }
    labels = draw_objects([square(4, 4, 3, 47), square(2, 2, 8, 67), crowd], SIZE)
    ids = {name: place for place, name in enumerate(CLASSES.values(), start=1)}
    assert labels[5, 5] == ids["cup"]
    assert labels[3, 3] == ids["dining table"]
    assert labels[20, 15] == 255
    assert (len(ids), ids["person"], ids["toothbrush"]) == (80, 1, 80)


@pytest.fixture
def tree(tmp_path):
    """Two pictures of 23 x 17; a function writes the annotation file."""
    for number in (9, 25):
        path = tmp_path / "raw" / "val2017" / f"{number:012d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((17, 23, 3), number, np.uint8)).save(path)

    def write(annotations, categories=None):
        names = categories or CLASSES
        content = {
            "images": [{"id": n, "file_name": f"{n:012d}.jpg"} for n in (9, 25)],
            "categories": [{"id": number, "name": name} for number, name in names.items()],
            "annotations": annotations,
        }
        path = tmp_path / "raw" / "annotations" / "instances_val2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return tmp_path / "raw"

    return write


def test_a_picture_is_made_again_only_if_its_own_objects_change(tree, tmp_path, capsys):
    call = [str(tree([square(1, 1, 4, 18, image_id=9)])), str(tmp_path / "out")]
    assert main(RECIPE, call) == 0
    labels = read_labels(tmp_path / "out" / "labels" / "000000000009.nii.gz").array
    assert labels.shape == (23, 17, 1)
    assert (labels[1:5, 1:5] == 17).all()
    assert labels.sum() == 17 * 16
    assert not read_labels(tmp_path / "out" / "labels" / "000000000025.nii.gz").array.any()
    capsys.readouterr()
    tree([square(1, 1, 4, 18, image_id=9), square(0, 0, 2, 1, image_id=25)])
    assert main(RECIPE, call) == 0
    lines = capsys.readouterr().err
    assert "000000000009: done, unchanged" in lines
    assert "000000000025: done, unchanged" not in lines


@pytest.mark.parametrize("content", ["{}", '{"categories": [], "annotations": [{}], "images": []}', "not JSON"])
def test_an_annotation_file_of_another_kind_is_one_line(tree, tmp_path, capsys, content):
    raw = tree([])
    (raw / "annotations" / "instances_val2017.json").write_text(content)
    assert main(RECIPE, [str(raw), str(tmp_path / "out")]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "instances_val2017.json: no " in line


def test_other_categories_and_broken_outlines_are_refused(tree, tmp_path, capsys):
    raw = tree([], {1: "person", 2: "unicycle"})
    assert main(RECIPE, [str(raw), str(tmp_path / "out")]) == 3
    assert "category 2 is 'unicycle', in COCO 'bicycle'" in capsys.readouterr().err
    tree([{"id": 5, "image_id": 9, "category_id": 1, "segmentation": {"counts": "abc", "size": [17, 23]}}])
    assert main(RECIPE, [str(raw), str(tmp_path / "out")]) == 1
    assert "object 5: no usable outline or class (ValueError('compressed run lengths" in capsys.readouterr().err
