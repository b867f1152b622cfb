"""Slices of one size."""

import numpy as np
import pytest
import torch
from grids import affine_of, blob_at, centre_in_world
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import CenterSpatialCrop, Compose, Invertd

from medfs.errors import UsageError
from medfs.transforms import CanonicalOrientationd, CropOrPadInPlane, CropOrPadInPlaned

AFFINE = affine_of((1.25, 1.5, 7.7), "LPS", (7, -4, 20))


def numbered(*shape):
    return MetaTensor(torch.arange(1, 1 + int(np.prod(shape))).reshape(1, *shape).float(), affine=AFFINE)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_every_voxel_keeps_its_value_and_place_and_the_centre_its_index(nx, ny, mx, my):
    volume = numbered(nx, ny, 2)
    found = CropOrPadInPlane((mx, my), pad=0)(volume)
    assert found.shape == (1, mx, my, 2)
    assert found[0, mx // 2, my // 2, 1] == volume[0, nx // 2, ny // 2, 1]
    kept = np.argwhere(found[0].numpy() > 0)
    origin = np.argwhere(np.isin(volume[0].numpy(), found[0].numpy()))
    to_world = np.asarray(found.affine)
    np.testing.assert_allclose(
        kept @ to_world[:3, :3].T + to_world[:3, 3], origin @ AFFINE[:3, :3].T + AFFINE[:3, 3], atol=1e-9
    )
    overlap = [min(n // 2, m // 2) + min(n - n // 2, m - m // 2) for n, m in ((nx, mx), (ny, my))]
    assert len(kept) == 2 * overlap[0] * overlap[1]


def test_a_crop_is_monai_s():
    volume = numbered(11, 10, 3)
    found, expected = CropOrPadInPlane((6, 7))(volume), CenterSpatialCrop((6, 7, -1))(volume)
    assert torch.equal(found.as_tensor(), expected.as_tensor())
    np.testing.assert_allclose(found.affine, expected.affine)


@pytest.mark.parametrize(("pad", "value"), [("minimum", -3.0), (0, 0.0), (7.5, 7.5)])
def test_new_voxels_have_the_value_asked_for(pad, value):
    found = CropOrPadInPlane((5, 2), pad)(numbered(3, 2, 2) - 4)
    assert (found[:, 0] == value).all()
    assert (found[:, 4] == value).all()
    assert found.shape == (1, 5, 2, 2)


def test_a_landmark_keeps_its_place_in_the_world():
    blob = blob_at((40, 30, 12), (18, 17, 6), AFFINE)
    for size in ((30, 50), (64, 24)):
        np.testing.assert_allclose(centre_in_world(CropOrPadInPlane(size, 0)(blob)), centre_in_world(blob), atol=0.01)


@pytest.mark.parametrize("size", [(4, 9), (9, 4), (3, 3), (6, 7)])
def test_the_way_back_restores_the_grid_and_puts_0_where_voxels_were_cut(size):
    volume = numbered(6, 7, 2)
    transform = CropOrPadInPlane(size, pad=0)
    there = transform(volume)
    back = transform.inverse(there)
    np.testing.assert_allclose(back.affine, AFFINE, atol=1e-12)
    kept = np.isin(volume.numpy(), there.numpy())
    np.testing.assert_array_equal(back.numpy(), np.where(kept, volume.numpy(), 0))
    assert back.applied_operations == []


def test_a_prediction_of_a_batch_goes_back_through_invertd():
    volume = numbered(6, 7, 2)
    chain = Compose([CanonicalOrientationd("image"), CropOrPadInPlaned("image", (9, 5), pad=0)])
    (data,) = decollate_batch(list_data_collate([chain({"image": volume})]))
    data["pred"] = MetaTensor(data["image"].as_tensor().clone())
    back = Invertd("pred", chain, orig_keys="image")(data)["pred"]
    assert back.shape == volume.shape
    np.testing.assert_array_equal(back.numpy(), np.where(np.isin(volume, data["image"]), volume, 0))


@pytest.mark.parametrize("pad", ["minimum", 0, 3])
def test_lazy_execution_gives_the_same(pad):
    volume = numbered(6, 7, 2) - 9
    steps = [CanonicalOrientationd("image"), CropOrPadInPlaned("image", (9, 5), pad)]
    eager, lazy = (Compose(steps, lazy=waits)({"image": volume})["image"] for waits in (False, True))
    assert torch.equal(eager.as_tensor(), lazy.as_tensor())
    np.testing.assert_allclose(eager.affine, lazy.affine)
    assert lazy.pending_operations == []


def test_the_result_shares_no_memory_with_the_volume():
    volume = numbered(6, 6, 2)
    for size in ((6, 6), (4, 4), (8, 8)):
        CropOrPadInPlane(size)(volume)[...] = -1
    assert (volume > 0).all()


def test_other_sizes_and_pads_are_refused():
    for size in ((256,), (256, 0), (1, 2, 3)):
        with pytest.raises(UsageError, match="two positive numbers"):
            CropOrPadInPlane(size)
    with pytest.raises(UsageError, match="'edge'; expected a number or 'minimum'"):
        CropOrPadInPlane(pad="edge")
