"""Labels on the grid of the file, against resampling that was not written here."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd, Spacingd
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medfs.transforms import argmax_on_grid, spatial

CLASSES = 4


def smooth_scores(shape, seed=0, classes=CLASSES):
    """Scores (N, *shape) with regions of several voxels; float64, so that ties do not happen."""
    noise = np.random.default_rng(seed).normal(size=(classes, *shape))
    return ndimage.gaussian_filter(noise, (0, 2, 2, 2), mode="nearest")


def by_scipy(scores, affine, shape, target):
    """Class by class with scipy; the second result is whether a voxel lies in the box of the scores."""
    to_working = np.linalg.inv(affine) @ target
    resampled = [
        ndimage.affine_transform(one, to_working[:3, :3], to_working[:3, 3], shape, order=1, mode="nearest")
        for one in scores
    ]
    voxel = np.einsum("ij,jxyz->ixyz", to_working[:3, :3], np.indices(shape)) + to_working[:3, 3, None, None, None]
    size = np.array(scores.shape[1:])[:, None, None, None]
    inside = ((voxel > -1) & (voxel < size)).all(axis=0)
    return np.where(inside, np.argmax(resampled, axis=0), 0)


def grid(spacing, *, codes="RAS", degrees=(0, 0, 0), origin=(0, 0, 0)):
    affine = np.eye(4)
    orientation = nib.orientations.axcodes2ornt(tuple(codes))
    directions = np.zeros((3, 3))
    directions[orientation[:, 0].astype(int), range(3)] = orientation[:, 1]
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ directions @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


WORKING = grid((2, 2, 2.5), origin=(-20, -15, 5))
TARGETS = {
    "the same grid": ((14, 12, 10), WORKING),
    "finer": ((27, 23, 24), grid((1, 1, 1), origin=(-20, -15, 5))),
    "coarser and anisotropic": ((14, 12, 3), grid((2, 2, 8), origin=(-20, -15, 5))),
    "permuted and flipped": ((9, 26, 20), grid((2.5, 1, 1.2), codes="SLP", origin=(6, 8, 5))),
    "oblique": ((20, 22, 18), grid((1.3, 1.1, 1.7), degrees=(12, -20, 33), origin=(-15, -14, 6))),
    "oblique and flipped": ((20, 22, 18), grid((1.3, 1.1, 1.7), codes="LPS", degrees=(5, 8, -9), origin=(8, 9, 4))),
    "sheared": ((18, 16, 12), WORKING @ np.array([[1, 0, 0.2, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])),
    "a single slice": ((14, 12, 1), grid((2, 2, 3), origin=(-20, -15, 12))),
    "larger than the scores": ((30, 30, 30), grid((2, 2, 2), origin=(-35, -30, -8))),
    "elsewhere": ((5, 5, 5), grid((1, 1, 1), origin=(400, 0, 0))),
}


@pytest.mark.parametrize("shape_and_target", TARGETS.values(), ids=TARGETS)
def test_labels_are_those_of_scipy(shape_and_target):
    shape, target = shape_and_target
    scores = smooth_scores((14, 12, 10))
    labels = argmax_on_grid(torch.from_numpy(scores), WORKING, shape, target)
    assert labels.dtype == torch.uint8
    np.testing.assert_array_equal(labels.numpy(), by_scipy(scores, WORKING, shape, target))


def test_a_target_elsewhere_is_background_even_where_another_class_would_win():
    scores = torch.zeros(2, 4, 4, 4)
    scores[1] = 1
    shape, target = TARGETS["elsewhere"]
    assert not argmax_on_grid(scores, np.eye(4), shape, target).any()
    assert argmax_on_grid(scores, np.eye(4), (4, 4, 4), np.eye(4)).all()


def test_single_precision_agrees_but_for_ties():
    shape, target = TARGETS["oblique"]
    scores = smooth_scores((14, 12, 10))
    labels = argmax_on_grid(torch.from_numpy(scores).float(), WORKING, shape, target).numpy()
    assert (labels != by_scipy(scores, WORKING, shape, target)).mean() < 1e-3


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision_scores_are_placed_exactly(precision):
    shape, target = (300, 5, 5), grid((1, 1, 1), origin=(0, 0, 0))
    scores = torch.zeros(3, 150, 3, 3)
    scores[1, 60:] = 1
    scores[2, 100:] = 2
    working = grid((2, 2, 2))
    expected = argmax_on_grid(scores.double(), working, shape, target)
    assert torch.equal(argmax_on_grid(scores.to(precision), working, shape, target), expected)


@pytest.mark.parametrize("working_shape", [(14, 12, 1), (1, 12, 10), (1, 1, 1)])
def test_scores_of_a_single_slice_hold_for_its_neighbourhood(working_shape):
    scores = np.random.default_rng(0).normal(size=(CLASSES, *working_shape))
    shape, target = (14, 12, 10), WORKING
    labels = argmax_on_grid(torch.from_numpy(scores), WORKING, shape, target)
    np.testing.assert_array_equal(labels.numpy(), by_scipy(scores, WORKING, shape, target))
    assert labels[:1, :1, :1].item() == scores[:, 0, 0, 0].argmax()


@pytest.mark.parametrize("values", [1, 5_000, 2**24])
@pytest.mark.parametrize("name", ["oblique", "a single slice"])
def test_the_size_of_a_slab_changes_nothing(monkeypatch, values, name):
    shape, target = TARGETS[name]
    scores = torch.from_numpy(smooth_scores((14, 12, 10)))
    expected = argmax_on_grid(scores, WORKING, shape, target)
    monkeypatch.setattr(spatial, "_SLAB_VALUES", values)
    assert torch.equal(argmax_on_grid(scores, WORKING, shape, target), expected)


def test_more_than_256_classes_get_a_wider_type():
    scores = torch.zeros(300, 2, 2, 2)
    scores[299] = 1
    labels = argmax_on_grid(scores, np.eye(4), (2, 2, 2), np.eye(4))
    assert labels.dtype == torch.int16
    assert (labels == 299).all()
    assert argmax_on_grid(scores[:256], np.eye(4), (2, 2, 2), np.eye(4)).dtype == torch.uint8


@pytest.mark.parametrize(
    "codes", ["".join(axes) for p in itertools.permutations(("R", "P", "S")) for axes in [p]], ids=str
)
def test_labels_are_those_of_monai_s_way_back(codes):
    native = grid((1.5, 2.0, 3.0), codes=codes, origin=(10, -20, 30))
    image = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(18, 15, 12)), 1.5)
    tensor = MetaTensor(torch.from_numpy(image[None]), affine=torch.from_numpy(native))
    there = Compose(
        [
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=(2.0, 2.0, 2.0), mode="bilinear", dtype=torch.float64),
        ]
    )
    data = there({"image": tensor})
    working = data["image"]
    scores = torch.from_numpy(smooth_scores(working.shape[1:]))
    labels = argmax_on_grid(scores, np.asarray(working.affine), image.shape, native)
    data["pred"] = MetaTensor(scores, affine=working.affine, meta=working.meta)
    data["pred"].applied_operations = working.applied_operations
    back = Invertd("pred", transform=there, orig_keys="image", nearest_interp=False)(data)["pred"]
    assert back.shape[1:] == labels.shape
    # MONAI lets the two working voxels at a border differ; inside, both interpolate the same scores
    inner = tuple(slice(2, -2) for _ in range(3))
    assert (back.argmax(0)[inner].numpy() != labels[inner].numpy()).mean() < 1e-3
