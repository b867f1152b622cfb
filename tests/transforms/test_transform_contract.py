"""What holds for every transform of the package with a dictionary twin."""

import inspect
import pickle

import numpy as np
import pytest
import torch
from grids import affine_of
from monai.data import MetaTensor, set_track_meta
from monai.transforms import Compose, InvertibleTransform, MapTransform

import medfs.transforms

ARRAY = {
    name: getattr(medfs.transforms, name)
    for name in dir(medfs.transforms)
    if inspect.isclass(getattr(medfs.transforms, name)) and hasattr(medfs.transforms, name + "d")
}
ARGUMENTS = {
    "CanonicalOrientation": {2: {"codes": "RA"}},
    "CropOrPadInPlane": {2: {"size": (7, 12)}, 3: {"size": (7, 12)}},
    "ResampleToSpacing": {2: {"spacing_mm": (1, 2)}, 3: {"spacing_mm": (1, None, 2)}},
    "ResampleLabelsToSpacing": {2: {"spacing_mm": (1, 2)}, 3: {"spacing_mm": (1, None, 2)}},
}
every_transform = pytest.mark.parametrize("name", sorted(ARRAY))
every_rank = pytest.mark.parametrize("rank", [2, 3])


def arguments(name, rank):
    return ARGUMENTS.get(name, {}).get(rank, {})


def volume_of(rank):
    shape = (1, *(8, 9, 7)[:rank])
    voxels = torch.from_numpy(np.random.default_rng(0).integers(0, 5, shape)).float()
    flat = np.array([[-1.5, 0, 4], [0, 2, 7], [0, 0, 1]])
    affine = flat if rank == 2 else affine_of((1.5, 2, 3), "LSP", (6, -4, 11))
    return MetaTensor(voxels, affine=torch.from_numpy(affine), meta={"filename_or_obj": "scan.nii.gz"})


def test_all_transforms_of_the_chain_are_there():
    chain = {"CanonicalOrientation", "ClipPercentile", "WindowHU", "StandardizeVolume", "CropOrPadInPlane"}
    assert chain | {"ResampleToSpacing", "ResampleLabelsToSpacing"} <= set(ARRAY)
    assert all(issubclass(getattr(medfs.transforms, name + "d"), MapTransform) for name in ARRAY)


@every_transform
@every_rank
def test_the_twin_does_what_the_array_transform_does_and_neither_touches_its_input(name, rank):
    volume = volume_of(rank)
    copy, affine = volume.as_tensor().clone(), volume.affine.clone()
    transform = ARRAY[name](**arguments(name, rank))
    twin = getattr(medfs.transforms, name + "d")(["image", "other"], **arguments(name, rank), allow_missing_keys=True)
    alone, again, data = transform(volume), transform(volume), {"image": volume, "case": 7}
    mapped = twin(data)
    for found in (alone, again, mapped["image"]):
        assert isinstance(found, MetaTensor)
        assert torch.equal(found.as_tensor(), alone.as_tensor())
        assert torch.equal(found.affine, alone.affine)
        assert found.meta["filename_or_obj"] == "scan.nii.gz"
    assert (mapped["case"], data["image"] is volume) == (7, True)
    assert torch.equal(volume.as_tensor(), copy)
    assert torch.equal(volume.affine, affine)
    assert volume.applied_operations == volume.pending_operations == []
    with pytest.raises(KeyError, match="other"):
        getattr(medfs.transforms, name + "d")(["image", "other"], **arguments(name, rank))(data)


@every_transform
@every_rank
def test_arrays_and_plain_tensors_have_an_identity_affine(name, rank):
    transform = ARRAY[name](**arguments(name, rank))
    voxels = volume_of(rank).as_tensor()
    expected = transform(MetaTensor(voxels, affine=torch.eye(rank + 1)))
    for given in (voxels, voxels.numpy()):
        found = transform(given)
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
        np.testing.assert_allclose(found.affine[:rank, :rank], expected.affine[:rank, :rank])


@every_transform
def test_it_works_without_metadata_tracking(name):
    transform, volume = ARRAY[name](**arguments(name, 3)), volume_of(3).as_tensor()
    expected = transform(MetaTensor(volume, affine=torch.eye(4)))
    set_track_meta(False)
    try:
        found = transform(volume)
    finally:
        set_track_meta(True)
    assert type(found) is torch.Tensor
    assert torch.equal(found, expected.as_tensor())


@every_transform
@every_rank
def test_what_changes_the_grid_is_invertible_and_what_does_not_keeps_it(name, rank):
    volume = volume_of(rank)
    transform = ARRAY[name](**arguments(name, rank))
    found = transform(volume)
    if isinstance(transform, InvertibleTransform):
        back = transform.inverse(found)
        assert back.shape == volume.shape
        np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)
        assert back.applied_operations == []
    else:
        assert torch.equal(found.affine, volume.affine)
        assert found.shape == volume.shape


@every_transform
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float16, torch.float32, torch.float64])
def test_intensities_become_floating_and_the_rest_keeps_its_type(name, dtype):
    found = ARRAY[name](**arguments(name, 3))(volume_of(3).to(dtype)).dtype
    intensity = name in {"ClipPercentile", "WindowHU", "StandardizeVolume", "ResampleToSpacing"}
    assert found == ((torch.float64 if dtype == torch.float64 else torch.float32) if intensity else dtype)


@every_transform
def test_it_can_be_sent_to_a_worker(name):
    twin = getattr(medfs.transforms, name + "d")("image", **arguments(name, 3))
    data = {"image": volume_of(3)}
    assert torch.equal(pickle.loads(pickle.dumps(twin))(data)["image"].as_tensor(), twin(data)["image"].as_tensor())


def test_the_whole_chain_goes_there_and_back():
    steps = [
        medfs.transforms.CanonicalOrientationd("image"),
        medfs.transforms.ClipPercentiled("image"),
        medfs.transforms.ResampleToSpacingd("image", (1, 1, 2)),
        medfs.transforms.CropOrPadInPlaned("image", (20, 20)),
        medfs.transforms.StandardizeVolumed("image"),
    ]
    volume = volume_of(3)
    for lazy in (False, True):
        chain = Compose(steps, lazy=lazy)
        back = chain.inverse(chain({"image": volume}))["image"]
        assert back.shape == volume.shape
        np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)
