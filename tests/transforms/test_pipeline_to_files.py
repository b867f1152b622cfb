"""From a file through MONAI's working grid and back onto the grid of the file."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd, Spacingd
from scipy.spatial.transform import Rotation

from medfs.errors import StorageError
from medfs.io import Volume, read_image, read_labels, write_image
from medfs.io.monai_reader import Reader
from medfs.transforms import ArgmaxOnSourceGridd, SaveLabelsd

SPACING = (2.0, 2.0, 2.5)
ORIENTATIONS = [
    "".join(signed) for axes in itertools.permutations(("LR", "PA", "IS")) for signed in itertools.product(*axes)
]


def labelled_body():
    """A map (24, 20, 16) on a RAS grid: 1 on the right, 2 in front, 3 on top, all different in size."""
    labels = np.zeros((24, 20, 16), dtype=np.uint8)
    labels[15:21, 5:13, 4:10] = 1
    labels[5:11, 14:18, 3:12] = 2
    labels[4:9, 3:8, 11:15] = 3
    return labels


def file_of(folder, codes="RAS", *, degrees=(0, 0, 0), name="scan.nii.gz"):
    """The body written in another axis order, its labels as intensities."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * SPACING
    affine[:3, 3] = (-30, -40, 50)
    labels = labelled_body()
    ras = nib.orientations.axcodes2ornt(("R", "A", "S"))
    turn = nib.orientations.ornt_transform(ras, nib.orientations.axcodes2ornt(tuple(codes)))
    turned = np.ascontiguousarray(nib.apply_orientation(labels, turn))
    affine = affine @ nib.orientations.inv_ornt_aff(turn, labels.shape)
    write_image(folder / name, turned.astype(np.float32), Volume.from_array(turned, affine, folder / name))
    return folder / name, turned


def one_hot(data):
    """A network that sees the labels: scores (4, *S) of an image (1, *S) on the working grid."""
    image = data["image"]
    nearest = torch.as_tensor(image).round().long()[0]
    scores = torch.nn.functional.one_hot(nearest, 4).movedim(-1, 0).float()
    return {**data, "pred": MetaTensor(scores, affine=image.affine, meta=image.meta)}


def there(pixdim=SPACING):
    return Compose(
        [
            LoadImaged("image", reader=Reader()),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=pixdim, mode="nearest"),
        ]
    )


def back(folder):
    return Compose(
        [ArgmaxOnSourceGridd("pred", reference="image"), SaveLabelsd("pred", reference="image", output_dir=folder)]
    )


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_axis_order_comes_back_voxel_for_voxel(tmp_path, codes):
    path, turned = file_of(tmp_path, codes)
    back(tmp_path / "out")(one_hot(there()({"image": str(path)})))
    found = read_labels(tmp_path / "out" / "scan_seg.nii.gz")
    np.testing.assert_array_equal(found.array, turned)
    np.testing.assert_array_equal(found.affine, read_image(path).affine)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAL"])
def test_right_stays_right(tmp_path, codes):
    path, _ = file_of(tmp_path, codes)
    back(tmp_path)(one_hot(there()({"image": str(path)})))
    found = read_labels(tmp_path / "scan_seg.nii.gz")
    centre = {}
    for value in (1, 2, 3):
        voxel = np.argwhere(found.array == value).mean(axis=0)
        centre[value] = found.affine[:3, :3] @ voxel + found.affine[:3, 3]
    assert centre[1][0] > centre[2][0]
    assert centre[2][1] > centre[3][1]
    assert centre[3][2] > centre[1][2]


@pytest.mark.parametrize("codes", ["RAS", "PIL", "ASR"])
def test_an_oblique_scan_on_another_spacing_comes_back(tmp_path, codes):
    path, turned = file_of(tmp_path, codes, degrees=(8, -5, 12))
    back(tmp_path)(one_hot(there((1.0, 1.0, 1.0))({"image": str(path)})))
    found = read_labels(tmp_path / "scan_seg.nii.gz")
    assert found.array.shape == turned.shape
    np.testing.assert_array_equal(found.affine, read_image(path).affine)
    for value in (1, 2, 3):
        mask, truth = found.array == value, turned == value
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9


def test_a_decollated_batch_comes_back_too(tmp_path):
    path, turned = file_of(tmp_path, "LPS")
    batch = list_data_collate([one_hot(there()({"image": str(path)}))])
    (item,) = decollate_batch(batch)
    result = back(tmp_path)(item)
    np.testing.assert_array_equal(result["pred"][0].numpy(), turned)
    np.testing.assert_array_equal(read_labels(tmp_path / "scan_seg.nii.gz").array, turned)


def test_labels_carry_the_affine_of_the_file(tmp_path):
    path, turned = file_of(tmp_path, "AIR", degrees=(3, 4, 5))
    result = ArgmaxOnSourceGridd("pred")(one_hot(there((3, 3, 3))({"image": str(path)})))["pred"]
    assert result.shape == (1, *turned.shape)
    np.testing.assert_allclose(result.affine, read_image(path).affine)


def test_other_keys_are_left_alone_and_missing_ones_reported(tmp_path):
    path, _ = file_of(tmp_path)
    data = one_hot(there()({"image": str(path), "case": "seven"}))
    result = ArgmaxOnSourceGridd("pred")(data)
    assert result["case"] == "seven"
    assert result["image"] is data["image"]
    assert data["pred"].shape[0] == 4
    with pytest.raises(KeyError, match="other"):
        ArgmaxOnSourceGridd("other")(data)
    assert ArgmaxOnSourceGridd(["pred", "other"], allow_missing_keys=True)(data)["pred"].shape[0] == 1


def test_files_are_named_after_case_and_suffix(tmp_path):
    path, _ = file_of(tmp_path, name="liver_0000.nii.gz")
    data = ArgmaxOnSourceGridd("pred")(one_hot(there()({"image": str(path)})))
    SaveLabelsd("pred", output_dir=tmp_path / "a" / "b", suffix="_teacher")(data)
    assert [item.name for item in (tmp_path / "a" / "b").iterdir()] == ["liver_teacher.nii.gz"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    path, _ = file_of(tmp_path)
    data = ArgmaxOnSourceGridd("pred")(one_hot(there()({"image": str(path)})))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        SaveLabelsd("pred", output_dir=tmp_path / "file" / "out")(data)
    (tmp_path / "scan_seg.nii.gz").symlink_to(tmp_path / "file")
    with pytest.raises(StorageError, match="symbolic link"):
        SaveLabelsd("pred", output_dir=tmp_path)(data)
