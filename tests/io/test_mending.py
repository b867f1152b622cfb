"""Repairs change what has one right answer and nothing else."""

import gzip
import os

import nibabel as nib
import nifti_bytes as nb
import numpy as np
import pytest

from medfs.errors import UsageError
from medfs.io import read_image, read_labels
from medfs.io.inspection import inspect
from medfs.io.mending import mend
from medfs.io.scan_folders import find_targets

ARRAY = nb.voxels((6, 5, 4))
SHEARED = [0.8, 0, 0, -10, 0, 0.9, 1.0, 20, 0, 0, 2.5, 30]


def mended(tmp_path):
    """What became of the files of ``tmp_path/in``, by name."""
    source, output = tmp_path / "in", tmp_path / "out"
    return {item.path.name: item.action for item in mend(source, output, inspect(find_targets(source)))}


@pytest.fixture
def source(tmp_path):
    (tmp_path / "in/labels").mkdir(parents=True)
    return tmp_path / "in"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "fields",
    [
        {"bitpix": 99},
        {"quatern": [2, 2, 2]},
        {"quatern": [2, 2, 2], "srow": SHEARED},
        {"pixdim": [1, 0, 0.9, float("nan"), 0, 0, 0, 0]},
        {"pixdim": [-1, 0.8, -0.9, 2.5, 0, 0, 0, 0], "xyzt_units": 2},
    ],
    ids=str,
)
def test_a_header_that_contradicts_itself_says_what_its_sform_says(tmp_path, source, order, fields):
    nb.write_nifti(source / "a.nii.gz", ARRAY, order=order, **fields)
    assert mended(tmp_path) == {"a.nii.gz": "repaired"}
    before, after = read_image(source / "a.nii.gz"), read_image(tmp_path / "out/a.nii.gz")
    np.testing.assert_array_equal(after.array, before.array)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert not [line for line in after.warnings if "sheared" not in line and "pixdim" not in line]
    peer = nib.load(tmp_path / "out/a.nii.gz")
    np.testing.assert_array_equal(np.asarray(peer.dataobj), ARRAY)
    if fields.get("srow") != SHEARED:
        np.testing.assert_allclose(peer.get_qform(), peer.get_sform(), atol=1e-5)
        assert after.warnings == ()
    content = [nb.content_of(folder / "a.nii.gz") for folder in (source, tmp_path / "out")]
    assert content[0][280:328] == content[1][280:328]  # the sform
    assert content[0][352:] == content[1][352:]


def test_compression_and_surplus_bytes_follow_the_name(tmp_path, source):
    raw = nb.header_bytes(ARRAY.shape, vox_offset=352 + 32, scl_slope=0.5) + b"an extension".ljust(32)
    raw += ARRAY.tobytes(order="F")
    (source / "a.nii.gz").write_bytes(raw + b"tail")
    (source / "b.nii").write_bytes(gzip.compress(raw.replace(b"\x0a", b"\x0a")) + b"garbage")
    (source / "b.nii").write_bytes(gzip.compress(raw[:384] + (ARRAY + 1).tobytes(order="F")) + b"garbage")
    assert mended(tmp_path) == {"a.nii.gz": "repaired", "b.nii": "repaired"}
    assert gzip.decompress((tmp_path / "out/a.nii.gz").read_bytes()) == raw
    assert (tmp_path / "out/b.nii").read_bytes()[352:364] == b"an extension"
    for name in ("a.nii.gz", "b.nii"):
        again = read_image(tmp_path / "out" / name)
        assert again.warnings == ()
        np.testing.assert_array_equal(again.array, read_image(source / name).array)


def test_label_maps_become_plain_integers_on_the_same_bytes_of_geometry(tmp_path, source):
    fields = {"sform_code": 2, "qform_code": 3, "xyzt_units": 2}
    nb.write_nifti(source / "labels/a.nii", (ARRAY % 3).astype("f4"), **fields)
    nb.write_nifti(source / "labels/b.nii.gz", ARRAY % 4, scl_slope=2, scl_inter=1, **fields)
    nb.write_nifti(source / "labels/c.nii", ARRAY % 5, scl_slope=float("nan"), **fields)
    assert set(mended(tmp_path).values()) == {"repaired"}
    for name, expected in (("a.nii", ARRAY % 3), ("b.nii.gz", 2 * (ARRAY % 4) + 1), ("c.nii", ARRAY % 5)):
        target = tmp_path / "out/labels" / name
        np.testing.assert_array_equal(np.asarray(nib.load(target).dataobj), expected)
        assert nib.load(target).get_data_dtype() == np.uint8
        assert read_labels(target).warnings == ()
        for block in nb.GEOMETRY:
            assert nb.content_of(target)[block] == nb.content_of(source / "labels" / name)[block]


@pytest.mark.parametrize(
    "fields",
    [
        {"qoffset": [-10, 24, 33]},
        {"pixdim": [1, 0.8, 0.9, 3.0, 0, 0, 0, 0]},
        {"qform_code": 0, "sform_code": 0},
        {"srow": [0.0] * 12},
        {"scl_slope": float("nan")},
        {"vox_offset": 0},
    ],
    ids=str,
)
def test_what_would_need_a_guess_is_left_out(tmp_path, source, fields):
    nb.write_nifti(source / "a.nii", ARRAY, **fields)
    assert mended(tmp_path) == {"a.nii": "left out"}
    assert not (tmp_path / "out/a.nii").exists()


def test_files_of_several_parts_are_named_and_left_to_the_user(tmp_path, source):
    (source / "a.hdr").write_bytes(nb.header_bytes(ARRAY.shape, magic=b"ni1\0", vox_offset=0)[:348])
    (source / "a.img").write_bytes(ARRAY.tobytes(order="F"))
    nb.write_nifti(source / "b.nii", ARRAY + 1)
    assert mended(tmp_path) == {"a.hdr": "left out", "b.nii": "copied"}
    assert os.listdir(tmp_path / "out") == ["b.nii"]


def test_a_second_call_writes_the_same_bytes(tmp_path, source):
    nb.write_nifti(source / "a.nii.gz", ARRAY, bitpix=9)
    mended(tmp_path)
    first = (tmp_path / "out/a.nii.gz").read_bytes()
    mended(tmp_path)
    assert (tmp_path / "out/a.nii.gz").read_bytes() == first


def test_folders_that_overlap_are_refused(tmp_path, source):
    (tmp_path / "link").symlink_to(source)
    nb.write_nifti(source / "a.nii", ARRAY)
    for output in (source, source / "labels", tmp_path, tmp_path / "link", tmp_path / "link" / "x"):
        with pytest.raises(UsageError, match="overlaps"):
            list(mend(source, output, []))
    with pytest.raises(UsageError, match="a folder as a whole"):
        list(mend(source / "a.nii", tmp_path / "out", []))
