"""Synthetic pictures of named things."""

import json

import numpy as np
import pytest
from scipy import ndimage

from medfs.errors import UsageError
from medfs.io.picture_sets import class_names
from medfs.io.pictures import read_picture
from medfs.phantom import draw_scene, scene_classes, scene_sentences, write_scenes
from medfs.phantom.things import SHAPES, THINGS


def drawn(shape: str) -> np.ndarray:
    axis = np.linspace(-1.5, 1.5, 301)
    return SHAPES[shape](*np.meshgrid(axis, axis)) < 0


def test_there_are_at_least_twenty_classes_with_a_sentence_each():
    names = list(scene_classes().values())
    assert len(set(names)) == len(names) == len(THINGS) >= 20
    assert set(scene_sentences()) == set(names)
    assert len(set(scene_sentences().values())) == len(names)
    assert all(
        sentence.startswith("a photo of a ") and len(sentence.split()) < 40 for sentence in scene_sentences().values()
    )


@pytest.mark.parametrize("shape", list(SHAPES))
def test_a_shape_is_one_piece_and_only_the_ring_has_a_hole(shape: str):
    mask = drawn(shape)
    assert ndimage.label(mask)[1] == 1
    assert ndimage.label(~mask)[1] == (2 if shape == "ring" else 1)
    assert 0.05 < mask.mean() < 0.5


def test_areas_are_those_of_closed_forms():
    pixel = 0.01**2
    assert drawn("ball").sum() * pixel == pytest.approx(np.pi * 0.81, rel=0.01)
    assert drawn("hexagon").sum() * pixel == pytest.approx(1.5 * np.sqrt(3), rel=0.01)
    assert drawn("triangle").sum() * pixel == pytest.approx(0.75 * np.sqrt(3), rel=0.01)
    assert drawn("ring").sum() * pixel == pytest.approx(np.pi * 0.75, rel=0.01)


def test_a_scene_depends_on_seed_and_index_alone():
    first = draw_scene(3, 7)
    draw_scene(4, 7)
    again = draw_scene(3, 7)
    np.testing.assert_array_equal(first.picture, again.picture)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (draw_scene(3, 8).picture != first.picture).any()
    assert (draw_scene(4, 7).picture != first.picture).any()


def test_every_scene_shows_the_class_of_its_number_and_some_show_several():
    scenes = [draw_scene(0, index, 48) for index in range(2 * len(THINGS))]
    for index, scene in enumerate(scenes):
        assert (scene.labels == index % len(THINGS) + 1).sum() > 20
        assert scene.labels.max() <= len(THINGS)
        assert (scene.labels == 0).mean() > 0.2
    assert max(len(np.unique(scene.labels)) for scene in scenes) == 4


def test_a_written_folder_holds_what_was_drawn_and_names_its_classes(tmp_path):
    write_scenes(tmp_path, 5, seed=2, size=32)
    scene = draw_scene(2, 4, 32)
    np.testing.assert_array_equal(read_picture(tmp_path / "images" / "scene_00004.png"), scene.picture.swapaxes(0, 1))
    np.testing.assert_array_equal(read_picture(tmp_path / "labels" / "scene_00004.png"), scene.labels.T)
    assert class_names(tmp_path) == scene_classes()
    shown = json.loads((tmp_path / "class_slices.json").read_text())
    there = {name for value, name in scene_classes().items() if (scene.labels == value).any()}
    assert {name for name, places in shown.items() if places["scene_00004"]} == there | {"background"}


@pytest.mark.parametrize(("seed", "index", "size"), [(-1, 0, 32), (0, -1, 32), (0, 0, 8)])
def test_numbers_that_are_too_small_are_refused(seed: int, index: int, size: int):
    with pytest.raises(UsageError, match="expected numbers"):
        draw_scene(seed, index, size)
    with pytest.raises(UsageError, match="0 scenes"):
        write_scenes("nowhere", 0)
