"""The volumes of a 4D file: those that nibabel finds, and no more than the file holds."""

import nibabel as nib
import numpy as np
import pytest

from medfs.errors import InputError
from medfs.io import read_frames, read_image

ARRAY = np.random.default_rng(0).integers(-90, 900, (5, 4, 3, 6)).astype(np.int16)


def save(path, array=ARRAY, kind=nib.Nifti1Image):
    nib.save(kind(array, np.diag([2.0, 2.0, 3.0, 1.0])), path)
    return path


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image, nib.Nifti1Pair])
def test_every_volume_comes_as_a_3d_one_would(tmp_path, kind):
    path = save(tmp_path / ("a.img" if kind is nib.Nifti1Pair else "a.nii.gz"), kind=kind)
    frames = read_frames(path)
    assert len(frames) == 6
    for k, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.array, ARRAY[..., k])
        single = read_image(save(tmp_path / "b.nii.gz", ARRAY[..., k]))
        np.testing.assert_array_equal(frame.affine, single.affine)
        assert frame.array.dtype == np.float32


def test_a_3d_file_gives_one_volume(tmp_path):
    frames = read_frames(save(tmp_path / "a.nii.gz", ARRAY[..., 0]))
    assert len(frames) == 1
    np.testing.assert_array_equal(frames[0].array, ARRAY[..., 0])


def test_a_cut_or_overpromising_file_is_refused(tmp_path):
    path = save(tmp_path / "a.nii")
    raw = bytearray(path.read_bytes())
    path.write_bytes(raw[:-1])
    with pytest.raises(InputError, match=r"a\.nii: truncated"):
        read_frames(path)
    raw[40:50] = np.array([4, 5, 4, 3, 30000], "<i2").tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"a\.nii: truncated"):
        read_frames(path)
    raw[40:50] = np.array([4, 5000, 5000, 50, 30000], "<i2").tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError, match="exceeds the limit"):
        read_frames(path)
    raw[40:52] = np.array([5, 5, 4, 3, 3, 2], "<i2").tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError, match="5D with 6 volumes"):
        read_frames(path)


def test_real_4d_files_have_the_volumes_of_nibabel(real_data):
    for name in ("example4d.nii.gz", "functional.nii"):
        path = real_data / "awkward_files" / "nifti" / name
        expected = nib.load(path).get_fdata(dtype=np.float32)
        frames = read_frames(path)
        assert len(frames) == expected.shape[3]
        for k, frame in enumerate(frames):
            np.testing.assert_allclose(frame.array, expected[..., k], rtol=1e-6)
