"""Volumes on another spacing: values, geometry, the way back."""

import numpy as np
import pytest
import torch
from grids import affine_of, blob_at, centre_in_world
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose, Invertd, SpatialResample
from scipy import ndimage

from medfs.errors import InputError, UsageError
from medfs.transforms import (
    ResampleLabelsToSpacing,
    ResampleLabelsToSpacingd,
    ResampleToSpacing,
    ResampleToSpacingd,
)

SIZES = ("covering", "published")


def scan(shape=(20, 17, 9), spacing_mm=(1.62, 1.5, 6.1), degrees=(8, -5, 12), dtype=torch.float32):
    """A smooth MetaTensor (1, *shape) with an oblique, flipped affine."""
    values = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 1.5)
    affine = torch.from_numpy(affine_of(spacing_mm, "RPS", degrees))
    return MetaTensor(torch.from_numpy(1000 * values[None]).to(dtype), affine=affine)


def spacing_of(volume):
    return np.linalg.norm(np.asarray(volume.affine)[:3, :3], axis=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("spacing_mm", [(1, 1, 2), (3, 0.7, 7.7), (1.25, None, None)])
def test_values_are_those_of_monai_on_the_same_grid(size, spacing_mm):
    volume = scan(dtype=torch.float64)
    found = ResampleToSpacing(spacing_mm, size)(volume)
    expected = SpatialResample(mode="bilinear", padding_mode="border", dtype=torch.float64)(
        volume, dst_affine=found.affine, spatial_size=found.shape[1:]
    )
    index = np.indices(found.shape[1:]).reshape(3, -1)
    to_old = np.linalg.inv(np.asarray(volume.affine)) @ np.asarray(found.affine)
    position = (to_old[:3, :3] @ index + to_old[:3, 3:]).reshape(3, *found.shape[1:])
    inside = (position < np.array(volume.shape[1:])[:, None, None, None] - 0.5).all(axis=0)
    np.testing.assert_allclose(found[0].numpy()[inside], expected[0].numpy()[inside], atol=1e-3)
    assert (found[0].numpy()[~inside] == 0).all()
    assert inside.all() == (size == "covering")


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 600), st.floats(0.2, 9), st.floats(0.2, 9))
def test_the_covering_grid_is_the_smallest_over_the_field_and_samples_only_inside(n, old_mm, new_mm):
    volume = MetaTensor(torch.zeros(1, n, 1), affine=np.diag([old_mm, 1, 1.0]))
    found = ResampleToSpacing((new_mm, None))(volume)
    count, tolerance = found.shape[1], 2e-3 * new_mm
    field = (-old_mm / 2, (n - 0.5) * old_mm)
    first = float(found.affine[0, 2])
    last = first + (count - 1) * new_mm
    assert field[0] - tolerance <= first <= last <= field[1] + tolerance
    assert first - new_mm / 2 <= field[0] + tolerance
    assert last + new_mm / 2 >= field[1] - tolerance
    assert first + last == pytest.approx(sum(field), abs=1e-6)
    assert count == 1 or (count - 1) * new_mm < n * old_mm
    assert spacing_of(MetaTensor(found, affine=np.diag([*np.diag(found.affine)[:2], 1, 1])))[0] == pytest.approx(
        new_mm, rel=2e-6
    )


@pytest.mark.parametrize("size", SIZES)
def test_a_volume_on_its_own_spacing_comes_back_as_it_was(size):
    volume = scan()
    labels = MetaTensor((volume > 0).to(torch.uint8).as_tensor(), affine=volume.affine)
    own = tuple(spacing_of(volume))
    for transform, given_volume in ((ResampleToSpacing, volume), (ResampleLabelsToSpacing, labels)):
        found = transform(own, size)(given_volume)
        np.testing.assert_allclose(found.affine, volume.affine, atol=1e-12)
        inner = found[:, :20, :17, :9]
        assert torch.equal(inner.as_tensor(), given_volume.as_tensor())
        # published: an exact fit gains one sample, which is outside the field and 0
        assert tuple(found.shape[1:]) == ((20, 17, 9) if size == "covering" else (21, 18, 10))
        assert found.sum(dtype=torch.float64) == inner.sum(dtype=torch.float64)


def test_the_single_precision_of_a_header_does_not_blur():
    volume = scan(spacing_mm=np.float32((1.62, 1.5, 7.7)), degrees=(0, 0, 0))
    assert torch.equal(ResampleToSpacing((1.62, 1.5, 7.7))(volume).as_tensor(), volume.as_tensor())


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.sampled_from(("RAS", "LPS", "SAL", "PIR")),
    st.tuples(*[st.floats(0.8, 3)] * 3),
    st.sampled_from(SIZES),
)
def test_a_landmark_keeps_its_place_in_the_world(degrees, codes, spacing_mm, size):
    blob = blob_at((24, 22, 18), (11, 9, 8), affine_of((1.2, 1.5, 2.0), codes, degrees))
    found = ResampleToSpacing(spacing_mm, size)(blob)
    np.testing.assert_allclose(centre_in_world(found), centre_in_world(blob), atol=0.05)


def test_a_sheared_scan_keeps_its_axes():
    shear = np.array([[1, 0.2, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    blob = blob_at((24, 22, 18), (11, 9, 8), affine_of((1.2, 1.5, 2.0)) @ shear)
    found = ResampleToSpacing((1, 1, 1))(blob)
    np.testing.assert_allclose(centre_in_world(found), centre_in_world(blob), atol=0.05)
    np.testing.assert_allclose(spacing_of(found), 1)


@pytest.mark.parametrize("size", SIZES)
def test_labels_get_the_grid_of_their_image(size):
    volume = scan()
    labels = MetaTensor((volume > 0).to(torch.int16).as_tensor(), affine=volume.affine)
    image = ResampleToSpacing((1.25, 1.25, 7.7), size)(volume)
    found = ResampleLabelsToSpacing((1.25, 1.25, 7.7), size)(labels)
    assert (found.shape, found.dtype) == (image.shape, torch.int16)
    np.testing.assert_array_equal(found.affine, image.affine)
    assert set(found.unique().tolist()) == {0, 1}


@pytest.mark.parametrize("size", SIZES)
def test_the_way_back_restores_grid_and_most_of_the_content(size):
    volume = scan((30, 28, 12), (1.5, 1.5, 3))
    labels = MetaTensor((volume > 50).to(torch.uint8).as_tensor(), affine=volume.affine)
    chain = Compose(
        [
            ResampleToSpacingd("image", (1, 1, 2), size),
            ResampleLabelsToSpacingd("label", (1, 1, 2), size),
        ]
    )
    there = chain({"image": volume, "label": labels})
    back = chain.inverse(there)
    for key, original in (("image", volume), ("label", labels)):
        assert back[key].shape == original.shape
        np.testing.assert_allclose(back[key].affine, original.affine, atol=1e-9)
        assert back[key].applied_operations == []
    inner = (0, slice(2, -2), slice(2, -2), slice(2, -2))
    assert np.corrcoef(back["image"][inner].numpy().ravel(), volume[inner].numpy().ravel())[0, 1] > 0.97
    assert (back["label"][inner] != labels[inner]).float().mean() < 0.05


@pytest.mark.parametrize("nearest", [True, False])
def test_a_prediction_of_a_batch_goes_back_through_invertd(nearest):
    volume = scan((15, 14, 8), (1.5, 1.5, 3))
    chain = Compose([ResampleToSpacingd("image", (1, 1, 2))])
    (data,) = decollate_batch(list_data_collate([chain({"image": volume})]))
    data["pred"] = MetaTensor((data["image"] > 0).float().as_tensor())
    back = Invertd("pred", chain, orig_keys="image", nearest_interp=nearest, to_tensor=True)(data)["pred"]
    assert back.shape == volume.shape
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)
    assert (set(back.unique().tolist()) == {0.0, 1.0}) == nearest


def test_each_channel_is_resampled_alone():
    volume = scan()
    two = MetaTensor(torch.cat([volume.as_tensor(), 3 * volume.as_tensor()]), affine=volume.affine)
    found = ResampleToSpacing((1, 2, 3))(two)
    torch.testing.assert_close(found[1].as_tensor(), 3 * found[0].as_tensor(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "spacing_mm", [(1.0, 0.0, 1.0), (1.0, -2.0, None), (float("nan"), 1, 1), (float("inf"), 1, 1), ()]
)
def test_a_spacing_that_is_not_positive_is_refused(spacing_mm):
    with pytest.raises(UsageError, match="positive number or None"):
        ResampleToSpacing(spacing_mm)


def test_other_misuse_is_one_line():
    with pytest.raises(UsageError, match="'covering' or 'published'"):
        ResampleToSpacing((1, 1, 1), "same")
    with pytest.raises(UsageError, match="3 spatial axes, but 2 spacings"):
        ResampleToSpacing((1, 1))(scan())
    named = MetaTensor(
        torch.zeros(1, 3, 3, 3), affine=np.diag([1, 0, 1, 1.0]), meta={"filename_or_obj": "/a/liver_7.nii.gz"}
    )
    with pytest.raises(InputError, match=r"^liver_7.nii.gz: .*spacing 1, 0, 1 mm"):
        ResampleToSpacing((1, 1, 1))(named)
    with pytest.raises(InputError, match="shape"):
        ResampleToSpacing((1, 1, 1))(torch.zeros(1, 0, 3, 3))
    for bad in (-1.0, 0.5, float("nan")):
        with pytest.raises(InputError, match="negative or fractional labels"):
            ResampleLabelsToSpacing((1, 1, 1))(torch.full((1, 3, 3, 3), bad))
