"""The body on CT and MR, against plain SciPy and against masks that were published as files."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from medfs.body_mask import body_mask, published_body_mask
from medfs.errors import InputError, UsageError
from medfs.phantom import phantom_case

SPACING = (4.0, 4.0, 6.0)


def phantom(modality):
    return phantom_case(3, spacing_mm=SPACING, modality=modality, oblique=False)


@pytest.fixture(scope="module")
def ct():
    """HU, with the body as plain thresholding finds it: no table, no noise to speak of."""
    image = phantom("ct").image.astype(np.float32)
    truth = np.stack([ndimage.binary_fill_holes(image[:, :, z] > -500) for z in range(image.shape[2])], axis=2)
    return image, truth


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_the_body_on_ct_is_what_lies_above_minus_500_hu_with_its_air_filled(ct):
    image, truth = ct
    assert dice(body_mask(image, spacing_mm=SPACING), truth) > 0.97


def test_the_body_on_mr_holds_every_organ_and_leaves_the_corners():
    case = phantom("mr")
    mask = body_mask(case.image, spacing_mm=SPACING)
    organs = case.labels > 0
    assert np.count_nonzero(organs & ~mask) < 0.001 * np.count_nonzero(organs)
    assert not mask[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert dice(mask, body_mask(phantom("ct").image, spacing_mm=SPACING)) > 0.95


def test_a_table_is_not_the_body(ct):
    image, truth = ct
    padded = np.pad(image, ((0, 0), (12, 0), (0, 0)), constant_values=-1000)
    padded[:, 2] = 0.0  # 4 mm thick and as wide as the scan
    mask = body_mask(padded, spacing_mm=SPACING)
    assert not mask[:, :4].any()
    assert dice(mask[:, 12:], truth) > 0.97


def test_a_few_extreme_voxels_do_not_move_it_unlike_the_published_mask(ct):
    image, truth = ct
    bright = image.copy()
    bright[np.unravel_index(truth.argmax(), truth.shape)] = 1e5
    assert dice(body_mask(bright, spacing_mm=SPACING), truth) > 0.97
    assert dice(published_body_mask(image), truth) > 0.9
    assert dice(published_body_mask(bright), truth) < 0.01


def test_padding_far_below_air_is_no_background(ct):
    image, truth = ct
    padded = np.pad(image, ((8, 8), (8, 8), (0, 0)), constant_values=-3024)
    mask = body_mask(padded, spacing_mm=SPACING)[8:-8, 8:-8]
    assert dice(mask, truth) > 0.97


def test_a_body_that_reaches_the_edge_of_the_scan_reaches_it_in_the_mask(ct):
    image, truth = ct
    cut = slice(image.shape[0] // 3, 2 * image.shape[0] // 3)
    mask = body_mask(image[cut], spacing_mm=SPACING)
    assert dice(mask[0], truth[cut][0]) > 0.95


@settings(max_examples=60, deadline=None)
@given(arrays(np.int16, st.tuples(*[st.integers(1, 9)] * 3), elements=st.integers(0, 40)))
def test_the_published_mask_is_the_largest_piece_of_each_slice_with_its_holes_filled(image):
    mask = published_body_mask(image)
    low, high = int(image.min()), int(image.max())
    for z in range(image.shape[2]):
        bright = (image[:, :, z].astype(float) - low) * 255 > 10 * (high - low)
        pieces, count = ndimage.label(bright, np.ones((3, 3)))
        if count == 0 or low == high:
            assert not mask[:, :, z].any()
            continue
        sizes = ndimage.sum_labels(bright, pieces, range(1, count + 1))
        largest = [pieces == 1 + i for i in np.flatnonzero(sizes == sizes.max())]
        assert any((mask[:, :, z] == ndimage.binary_fill_holes(piece)).all() for piece in largest)


def test_the_published_mask_equals_that_of_published_supervoxels(real_data):
    folder = real_data / "chaost2_mr"
    for number in (1, 8, 22, 39):
        image = np.asarray(nib.load(folder / "images" / f"image_{number}.nii.gz").dataobj)
        stored = nib.load(folder / "supervoxels_5000" / f"superpix-MIDDLE_{number}.nii.gz")
        np.testing.assert_array_equal(published_body_mask(image), np.asarray(stored.dataobj) > 0)


def test_the_organs_of_real_scans_lie_inside(real_data):
    for folder, image_name, label_name in (
        ("chaost2_mr", "image_3", "label_3"),
        ("chaost2_mr", "image_20", "label_20"),
        ("openkbp_hn_ct", "pt_004", "pt_004"),
    ):
        image = nib.load(real_data / folder / "images" / f"{image_name}.nii.gz")
        organs = np.asarray(nib.load(real_data / folder / "labels" / f"{label_name}.nii.gz").dataobj) > 0
        mask = body_mask(np.asarray(image.dataobj), spacing_mm=image.header.get_zooms()[:3])
        assert np.count_nonzero(organs & ~mask) < 1e-3 * np.count_nonzero(organs)
        assert mask.mean() < 0.8


@pytest.mark.parametrize("shape", [(0, 3, 3), (3, 3, 0), (1, 1, 1), (4, 5, 6)])
def test_of_nothing_or_of_equal_voxels_there_is_no_body(shape):
    for mask in (body_mask(np.full(shape, 7.0), spacing_mm=(1, 1, 1)), published_body_mask(np.full(shape, 7.0))):
        assert mask.shape == shape
        assert mask.dtype == bool
        assert not mask.any()


def test_two_values_alone_are_told_apart():
    image = np.zeros((30, 30, 3))
    image[8:20, 8:20] = 5
    mask = body_mask(image, spacing_mm=(2, 2, 2))
    assert mask[image > 0].all()
    assert not mask[ndimage.distance_transform_edt(image == 0, sampling=2) > 4].any()
    np.testing.assert_array_equal(published_body_mask(image), image > 0)


def test_what_cannot_be_used_is_refused():
    with pytest.raises(UsageError, match="shape"):
        body_mask(np.zeros((3, 3)), spacing_mm=(1, 1, 1))
    with pytest.raises(UsageError, match="complex"):
        published_body_mask(np.zeros((3, 3, 3), complex))
    with pytest.raises(UsageError, match="spacing"):
        body_mask(np.zeros((3, 3, 3)), spacing_mm=(1, 0, 1))
    with pytest.raises(InputError, match="1 voxels not finite"):
        body_mask(np.array([[[0.0, np.nan, 1.0]]]), spacing_mm=(1, 1, 1))
