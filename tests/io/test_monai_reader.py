"""MONAI's transforms get the guarded reader's voxels and affine, and its errors."""

import subprocess
import sys

import nibabel as nib
import nifti_bytes as nb
import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImage, LoadImaged, Orientationd, Spacingd

from medfs.errors import InputError
from medfs.io import read_image
from medfs.io.monai_reader import LabelReader, Reader

ARRAY = nb.voxels((9, 8, 7))
SROW = [0, 0, 2.5, -10, -0.8, 0, 0, 20, 0, 0.9, 0, 30]  # axes P, S, R


@pytest.fixture
def item(tmp_path):
    fields = {"srow": SROW, "qform_code": 0, "pixdim": [1, 0.8, 0.9, 2.5, 0, 0, 0, 0]}
    image = nb.write_nifti(tmp_path / "image.nii.gz", ARRAY, **fields)
    label = nb.write_nifti(tmp_path / "label.nii.gz", (ARRAY > 50).astype("u1"), **fields)
    return {"image": str(image), "label": str(label), "case": "a"}


@pytest.mark.parametrize("reader", [Reader, Reader(), "medfs.io.monai_reader.Reader"], ids=["class", "object", "name"])
def test_an_image_has_its_values_and_affine(item, reader):
    image = LoadImaged("image", reader=reader)(item)["image"]
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(image.numpy(), ARRAY)
    np.testing.assert_allclose(image.affine.numpy()[:3].ravel(), SROW, atol=1e-6)
    assert image.meta["filename_or_obj"] == item["image"]
    assert image.meta["spatial_shape"].tolist() == [9, 8, 7]


def test_the_affine_follows_orientation_and_spacing(item):
    load = Compose([LoadImaged(["image", "label"], reader=Reader), EnsureChannelFirstd(["image", "label"])])
    turned = Orientationd(["image", "label"], axcodes="RAS", labels=None)(load(item))
    canonical = nib.as_closest_canonical(nib.load(item["image"]))
    assert turned["image"].shape == (1, 7, 9, 8)
    np.testing.assert_array_equal(turned["image"][0].numpy(), np.asarray(canonical.dataobj))
    np.testing.assert_allclose(turned["image"].affine.numpy(), canonical.affine, atol=1e-6)
    spaced = Spacingd("image", pixdim=(1.25, 0.8, 0.9), align_corners=True)(turned)["image"]
    np.testing.assert_allclose(np.linalg.norm(spaced.affine.numpy()[:3, :3], axis=0), [1.25, 0.8, 0.9], atol=1e-6)
    np.testing.assert_allclose(spaced.affine.numpy()[:3, 3], canonical.affine[:3, 3], atol=1e-5)
    np.testing.assert_allclose(spaced[0, ::2].numpy(), turned["image"][0].numpy(), atol=1e-3)


def test_monai_does_not_warn_of_readers_that_nobody_asked_for(item, caplog):
    LoadImage(reader=Reader())(item["image"])
    assert caplog.records == []


def test_an_unlabelled_item_passes(item):
    del item["label"]
    loaded = LoadImaged(["image", "label"], reader=Reader, allow_missing_keys=True)(item)
    assert set(loaded) == {"image", "case"}


def test_a_damaged_file_is_not_read_by_another_reader_after_all(item, tmp_path):
    path = tmp_path / "image.nii.gz"
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1  # inside the checksum: MONAI's own reader never looks at it
    path.write_bytes(raw)
    np.testing.assert_array_equal(LoadImage()(path).numpy(), ARRAY)
    with pytest.raises(InputError, match=r"^image\.nii\.gz: damaged gzip data"):
        LoadImage(reader=Reader)(path)
    with pytest.raises(RuntimeError) as caught:
        Compose([LoadImaged("image", reader=Reader)])(item)
    assert isinstance(caught.value.__cause__, InputError)


def test_two_files_for_one_volume_are_refused(item):
    with pytest.raises(InputError, match="2 files for one volume"):
        LoadImage(reader=Reader)([item["image"], item["label"]])


def test_labels_are_exact_or_refused(tmp_path):
    wide = np.array([0, 2**24 + 1, 2**40 + 1], np.int64).reshape(3, 1, 1)
    path = nb.write_nifti(tmp_path / "a.nii", wide)
    labels = LoadImage(reader=LabelReader, dtype=np.int64)(path)
    np.testing.assert_array_equal(labels.numpy(), wide)
    half = nb.write_nifti(tmp_path / "b.nii", wide * 0.0 + 0.5)
    with pytest.raises(InputError, match=r"label value 0\.5 among 3"):
        LoadImage(reader=LabelReader)(half)


def test_options_reach_the_reader(tmp_path):
    array = ARRAY.astype("f4")
    array[0, 0, 0] = np.nan
    path = nb.write_nifti(tmp_path / "a.nii", array, qform_code=0, sform_code=0)
    image = LoadImage(reader=Reader(assume_orientation=True, replace_nan=True))(path)
    assert torch.isfinite(torch.as_tensor(image)).all()
    assert "no orientation" in image.meta["reader_warnings"]


def test_monai_and_medfs_agree_on_real_scans(real_data):
    path = sorted((real_data / "chaost2_mr/images").iterdir())[0]
    image, volume = LoadImage(reader=Reader)(path), read_image(path)
    np.testing.assert_array_equal(image.numpy(), volume.array)
    np.testing.assert_array_equal(image.affine.numpy(), volume.affine)


@pytest.mark.subprocess
def test_the_package_itself_stays_light():
    code = "import medfs.io, sys; print(sorted({'torch', 'monai', 'SimpleITK', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_label_values_that_the_network_has_not_are_named_with_their_counts(tmp_path):
    labels = np.zeros((4, 3, 2), np.int16)
    labels[0, 0, 0], labels[1], labels[3, 2, 1] = 2, 7, -1
    path = nb.write_nifti(tmp_path / "a.nii", labels)
    with pytest.raises(InputError) as caught:
        LoadImage(reader=LabelReader(classes=3))(path)
    assert str(caught.value) == (
        "a.nii: label values -1 (1 voxels), 7 (6 voxels); expected 0 to 2, the classes of the network"
    )
    assert LoadImage(reader=LabelReader(classes=8))(nb.write_nifti(tmp_path / "b.nii", abs(labels))).max() == 7
