"""Pictures of supervoxels: neighbours differ in colour, whatever the partition."""

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medfs.errors import StorageError, UsageError
from medfs.export import write_supervoxel_preview
from medfs.export.supervoxels import COLORS, neighbour_colors
from medfs.io import Volume
from medfs.phantom import phantom_case


@settings(max_examples=100, deadline=None)
@given(arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 10)))
def test_neighbours_have_different_colours(labels):
    colors = neighbour_colors(labels)
    assert colors.shape == (labels.max() + 1,)
    assert colors.min() >= 0
    assert colors.max() < len(COLORS)
    for axis in range(3):
        along = np.moveaxis(labels, axis, 0)
        first, second = along[:-1], along[1:]
        border = (first != second) & (first > 0) & (second > 0)
        assert (colors[first[border]] != colors[second[border]]).all()


def test_more_neighbours_than_colours_are_still_coloured():
    crowd = np.indices((20, 20, 20)).max(axis=0) + 1
    colors = neighbour_colors(np.concatenate([crowd, np.full((1, 20, 20), 99)]))
    assert np.unique(colors).size == len(COLORS)


def test_regions_are_filled_and_the_outside_stays_as_it_is(tmp_path):
    case = phantom_case(0, spacing_mm=12.0)
    image = Volume.from_array(case.image, case.affine, "scan.nii.gz")
    for name, labels in (("labels", case.labels), ("none", np.zeros_like(case.labels))):
        write_supervoxel_preview(tmp_path / f"{name}.png", image, labels)
    pictures = [matplotlib.image.imread(tmp_path / f"{name}.png") for name in ("labels", "none")]
    coloured = [(np.ptp(picture[..., :3], axis=2) > 0.2).any(axis=1).nonzero()[0] for picture in pictures]
    assert coloured[1].size == 0  # a grey scan
    assert coloured[0].min() > 0.4 * len(pictures[0])  # the lower row alone


def test_what_cannot_be_drawn_is_refused(tmp_path):
    image = Volume.from_array(np.zeros((3, 4, 5)), np.eye(4))
    labels = np.ones((3, 4, 5), np.int32)
    for path, array in (("a.jpg", labels), ("a.png", labels[:2]), ("a.png", labels * 1.0), ("a.png", -labels)):
        with pytest.raises(UsageError, match="expected"):
            write_supervoxel_preview(tmp_path / path, image, array)
    with pytest.raises(StorageError):
        write_supervoxel_preview(tmp_path / "missing" / "a.png", image, labels)
