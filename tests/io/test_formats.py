"""MGH, MetaImage and NRRD are held to the same rules as NIfTI."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medfs.errors import InputError
from medfs.io import read_image, read_labels, write_labels

ARRAY = np.random.default_rng(0).integers(-50, 1000, (9, 8, 7)).astype(np.int16)
DIRECTION = nib.eulerangles.euler2mat(0.3, -0.2, 0.1)
LPS = np.diag([-1, -1, 1])


def write_itk(path, array=ARRAY, compressed=False):
    image = sitk.GetImageFromArray(array.T)
    image.SetSpacing((0.7, 0.8, 3.0))
    image.SetOrigin((-11.0, 22.0, 33.0))
    image.SetDirection(DIRECTION.ravel().tolist())
    sitk.WriteImage(image, str(path), compressed)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_itk_formats_have_their_voxels_and_a_ras_affine(tmp_path, suffix, compressed):
    volume = read_image(write_itk(tmp_path / f"a{suffix}", compressed=compressed))
    np.testing.assert_array_equal(volume.array, ARRAY)
    expected = np.eye(4)
    expected[:3, :3] = LPS @ DIRECTION * [0.7, 0.8, 3.0]
    expected[:3, 3] = LPS @ [-11.0, 22.0, 33.0]
    np.testing.assert_allclose(volume.affine, expected, atol=1e-12)
    assert volume.warnings == ()


def test_labels_of_an_itk_image_lie_where_itk_finds_them(tmp_path):
    source = write_itk(tmp_path / "a.mha")
    write_labels(tmp_path / "a.nii.gz", ARRAY > 0, like=read_image(source))
    image, labels = sitk.ReadImage(str(source)), sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    for corner in ((0, 0, 0), (8, 7, 6), (0, 7, 0)):
        place = image.TransformIndexToPhysicalPoint(corner)
        np.testing.assert_allclose(labels.TransformIndexToPhysicalPoint(corner), place, atol=1e-4)
    assert int(labels[1, 2, 3]) == int(image[1, 2, 3] > 0)
    header = read_labels(tmp_path / "a.nii.gz").header
    assert header["qform_code"] == header["sform_code"] == 1


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_cut_file_is_refused(tmp_path, suffix, compressed):
    path = write_itk(tmp_path / f"a{suffix}", compressed=compressed)
    raw = path.read_bytes()
    for part in range(1, 16):
        path.write_bytes(raw[: len(raw) * part // 16])
        with pytest.raises(InputError, match=f"^a{suffix}: "):
            read_image(path)


@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_every_flipped_byte_of_a_compressed_metaimage_is_noticed(tmp_path, suffix):
    # ITK itself gives zeros for the rest and no error.
    path = write_itk(tmp_path / f"a{suffix}", compressed=True)
    data = path if suffix == ".mha" else tmp_path / "a.zraw"
    raw = data.read_bytes()
    for position in range(raw.find(b"LOCAL\n") + 6 if suffix == ".mha" else 0, len(raw), 37):
        damaged = bytearray(raw)
        damaged[position] ^= 16
        data.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged compressed data"):
            read_image(path)


def test_nan_in_an_itk_file_is_not_replaced_silently(tmp_path):
    array = ARRAY.astype(np.float32)
    array[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="1 of 504 voxels are NaN"):
        read_image(write_itk(tmp_path / "a.mha", array))


def test_colours_complex_numbers_and_time_series_are_refused(tmp_path):
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3), tmp_path / "rgb.mha")
    sitk.WriteImage(sitk.Image([4, 4, 4, 3], sitk.sitkUInt8), tmp_path / "time.mha")
    sitk.WriteImage(sitk.Image([4, 4], sitk.sitkUInt8), tmp_path / "flat.nrrd")
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkComplexFloat32), tmp_path / "complex.nrrd")
    for name, cause in (("rgb.mha", "one real number"), ("time.mha", "4D with 3"), ("flat.nrrd", "2D; needs 3D")):
        with pytest.raises(InputError, match=cause):
            read_image(tmp_path / name)
    with pytest.raises(InputError):
        read_image(tmp_path / "complex.nrrd")


def test_another_format_under_an_itk_name_is_refused(tmp_path):
    for kind in ("nii", "png", "dcm", "nrrd"):
        image = sitk.Image([4, 4, 4] if kind in ("nii", "nrrd") else [4, 4], sitk.sitkUInt8)
        sitk.WriteImage(image, tmp_path / f"real.{kind}")
        content = (tmp_path / f"real.{kind}").read_bytes()
        (tmp_path / "a.mha").write_bytes(content + b"\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n")
        with pytest.raises(InputError, match=r"^a\.mha: cannot be read: "):
            read_image(tmp_path / "a.mha")


def test_an_itk_header_without_orientation_is_refused(tmp_path):
    raw = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 3 4\nspacings: 1 1 2\nencoding: raw\n\n" + bytes(24)
    (tmp_path / "a.nrrd").write_bytes(raw)
    with pytest.raises(InputError, match="no orientation"):
        read_image(tmp_path / "a.nrrd")
    assert "no orientation" in read_image(tmp_path / "a.nrrd", assume_orientation=True).warnings[0]


@pytest.mark.parametrize("suffix", [".mgh", ".mgz"])
@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "f4"])
def test_mgh_is_read_as_nibabel_reads_it(tmp_path, suffix, kind):
    affine = np.eye(4)
    affine[:3, :3] = DIRECTION * [1.5, 1, 2]
    affine[:3, 3] = [5, -6, 7]
    array = np.abs(ARRAY).clip(0, 200).astype(kind)
    nib.save(nib.MGHImage(array, affine), tmp_path / f"a{suffix}")
    volume = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_array_equal(volume.affine, nib.load(tmp_path / f"a{suffix}").affine)
    assert volume.warnings == ()


def mgh_bytes(**changes):
    fields = {"version": 1, "shape": (4, 3, 2, 1), "type": 0, "good": 1, "delta": (1.0, 1.0, 1.0)} | changes
    directions = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)
    head = struct.pack(">7i h 3f 9f 3f", fields["version"], *fields["shape"], fields["type"], 0, fields["good"],
                       *fields["delta"], *directions, 0, 0, 0)  # fmt: skip
    return head.ljust(284, b"\0") + bytes(range(24))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"version": 2}, "expected version 1, got 2"),
        ({"shape": (4, 3, -2, 1)}, "expected positive"),
        ({"shape": (4, 0, 2, 1)}, "empty volume"),
        ({"shape": (3000, 3000, 3000, 1)}, "exceeds the limit"),
        ({"shape": (4, 3, 1, 2)}, "4D with 2"),
        ({"shape": (400, 300, 20, 1)}, "truncated"),
        ({"type": 7}, "unknown MGH type 7"),
        ({"good": 0}, "no orientation"),
        ({"delta": (1.0, 0.0, 1.0)}, "singular"),
        ({"delta": (1.0, float("nan"), 1.0)}, "NaN"),
    ],
)
def test_a_wrong_mgh_header_is_refused(tmp_path, changes, cause):
    (tmp_path / "a.mgz").write_bytes(gzip.compress(mgh_bytes()))
    np.testing.assert_array_equal(read_image(tmp_path / "a.mgz").array.ravel(order="F"), np.arange(24))
    (tmp_path / "a.mgz").write_bytes(gzip.compress(mgh_bytes(**changes)))
    with pytest.raises(InputError, match=cause):
        read_image(tmp_path / "a.mgz")
