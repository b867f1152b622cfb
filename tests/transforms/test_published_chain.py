"""The published preprocessing of MR, written once more with SimpleITK, against the chain of transforms."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from grids import affine_of
from monai.data import MetaTensor
from monai.transforms import Compose

from medfs.io import read_image, read_labels
from medfs.phantom import phantom_case
from medfs.transforms import ClipPercentiled, CropOrPadInPlaned, ResampleLabelsToSpacingd, ResampleToSpacingd

SPACING_MM, NEW_MM, SIZE = (1.62, 1.62, 6.1), (1.25, 1.25, 7.70), 256
AFFINE = affine_of(SPACING_MM, "LAS", (6, -4, 11))
TO_LPS = np.diag([-1.0, -1, 1])


def itk_image(array, affine):
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((TO_LPS @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((TO_LPS @ affine[:3, 3]).tolist())
    return image


def affine_of_itk(image):
    affine = np.eye(4)
    affine[:3, :3] = TO_LPS @ np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    affine[:3, 3] = TO_LPS @ image.GetOrigin()
    return affine


def on_new_grid(image):
    old, size = image.GetSpacing(), image.GetSize()
    new_size = [int(np.floor(n * s / t)) + 1 for n, s, t in zip(size, old, NEW_MM, strict=True)]
    return sitk.Resample(
        image, new_size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), NEW_MM, image.GetDirection(), 0.0
    )


def centred(image, fill):
    """Cropped or padded in plane to SIZE so that index n // 2 becomes SIZE // 2; SimpleITK moves the origin along."""
    size = np.array(image.GetSize()[:2])
    below, above = SIZE // 2 - size // 2, (SIZE - SIZE // 2) - (size - size // 2)
    widths = [[int(max(0, n)) for n in side] + [0] for side in (below, above)]
    padded = sitk.ConstantPad(image, *widths, fill)
    start = [int(max(0, -n)) for n in below]
    return sitk.RegionOfInterest(padded, [SIZE, SIZE, image.GetSize()[2]], [*start, 0])


def published(image, labels, affine):
    """Image and labels as published, where a label has exactly one half, and the affine the published file has."""
    clipped = np.minimum(image.astype(np.float64), np.percentile(image, 99.5))
    resampled = on_new_grid(itk_image(clipped, affine))
    vote, to_half = np.zeros(resampled.GetSize()[::-1], np.uint8), np.inf
    for value in np.unique(labels):
        share = sitk.GetArrayFromImage(on_new_grid(itk_image((labels == value).astype(np.float64), affine)))
        vote[share >= 0.5] = value
        to_half = np.minimum(to_half, abs(share - 0.5))
    votes, ties = sitk.GetImageFromArray(vote), sitk.GetImageFromArray((to_half < 1e-6).astype(np.uint8))
    low = float(sitk.GetArrayViewFromImage(resampled).min())
    return centred(resampled, low), centred(votes, 0), centred(ties, 0), affine_of_itk(resampled)


def chain():
    return Compose(
        [
            ClipPercentiled("image"),
            ResampleToSpacingd("image", NEW_MM, "published"),
            ResampleLabelsToSpacingd("label", NEW_MM, "published"),
            CropOrPadInPlaned("image", (SIZE, SIZE)),
            CropOrPadInPlaned("label", (SIZE, SIZE), pad=0),
        ]
    )


def compare(image, labels, affine=AFFINE):
    data = {
        "image": MetaTensor(torch.from_numpy(image[None].astype(np.float32)), affine=affine),
        "label": MetaTensor(torch.from_numpy(labels[None].astype(np.uint8)), affine=affine),
    }
    found = chain()(data)
    expected, vote, ties, published_affine = published(image, labels, affine)
    values, scale = sitk.GetArrayFromImage(expected).T, float(np.ptp(image))
    np.testing.assert_allclose(found["image"][0].numpy(), values, atol=1e-5 * scale)
    differ = found["label"][0].numpy() != sitk.GetArrayFromImage(vote).T
    tied = sitk.GetArrayFromImage(ties).T.astype(bool)
    assert not (differ & ~tied).any()
    assert tied.mean() < 1e-3
    for key in ("image", "label"):
        np.testing.assert_allclose(found[key].affine, affine_of_itk(expected), atol=1e-5)
    return found, published_affine


@pytest.mark.parametrize("case", [1, 22])
@pytest.mark.parametrize("box", [(256, 256), (170, 151)], ids=["cropped", "padded"])
def test_a_real_scan_is_prepared_as_published(real_data, case, box):
    folder = real_data / "chaost2_mr"
    image = read_image(next(folder.glob(f"**/image_{case}.nii.gz"))).array
    labels = read_labels(next(folder.glob(f"**/label_{case}.nii.gz"))).array
    inner = tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(image.shape, box, strict=False))
    compare(image[inner], labels[inner])


def test_a_phantom_is_prepared_as_published_but_for_the_published_origin():
    phantom = phantom_case(0, spacing_mm=SPACING_MM, modality="mr", axis_codes="LAS")
    found, published_affine = compare(phantom.image, phantom.labels, phantom.affine)
    offset = np.linalg.inv(published_affine) @ np.asarray(found["image"].affine)
    resampled = [int(n * s / t) + 1 for n, s, t in zip(phantom.image.shape, SPACING_MM, NEW_MM, strict=True)]
    # the published file says that its first voxel is that of the uncropped scan
    np.testing.assert_allclose(offset[:2, 3], [n // 2 - SIZE // 2 for n in resampled[:2]], atol=1e-4)
    assert abs(offset[:2, 3]).min() > 0
