"""The largest piece of each organ, against SciPy label by label."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import label

from medfs.anatomy import custom_label_set
from medfs.inference.components import LargestComponents, largest_components
from medfs.io import Volume


def by_scipy(labels):
    """The largest piece of each label, the first in memory of equal ones."""
    result = np.zeros_like(labels)
    for value in set(np.unique(labels)) - {0}:
        pieces, _ = label(labels == value, structure=np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        result[pieces == 1 + sizes.argmax()] = value
    return result


@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=7), elements=st.integers(0, 3)))
def test_the_largest_piece_of_each_label_stays(labels):
    kept, expected = largest_components(labels), by_scipy(labels)
    assert kept.dtype == labels.dtype
    for value in (1, 2, 3):
        assert (kept == value).sum() == (expected == value).sum()
        _, count = label(kept == value, structure=np.ones((3, 3, 3)))
        assert count <= 1
    assert ((kept == labels) | (kept == 0)).all()
    np.testing.assert_array_equal(largest_components(kept), kept)


def test_the_order_in_memory_does_not_matter():
    labels = np.random.default_rng(0).integers(0, 4, (9, 8, 7)).astype(np.int16)
    np.testing.assert_array_equal(largest_components(np.asfortranarray(labels)), largest_components(labels))


def test_an_empty_volume_stays_empty():
    assert largest_components(np.zeros((0, 3, 3), np.uint8)).shape == (0, 3, 3)


def test_a_segmenter_keeps_its_label_set_and_loses_small_pieces():
    class Speckled:
        label_set = custom_label_set(["liver", "spleen"])

        def __call__(self, volume):
            labels = np.zeros(volume.array.shape, np.uint8)
            labels[:3, 0, 0], labels[5, 5, 5] = 1, 1
            return labels

    segment = LargestComponents(Speckled())
    labels = segment(Volume.from_array(np.zeros((6, 6, 6), np.float32), np.eye(4)))
    assert segment.label_set == Speckled.label_set
    assert labels.sum() == 3
    assert labels[5, 5, 5] == 0
