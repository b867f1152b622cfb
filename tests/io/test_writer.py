"""What is written lies where the source lies, byte for byte, is complete, and comes back."""

import gzip
import os

import nibabel as nib
import nifti_bytes as nb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medfs.errors import StorageError, UsageError
from medfs.io import Volume, read_image, read_labels, write_image, write_labels

SHAPE = (5, 4, 3)
LABELS = np.arange(60).reshape(SHAPE) % 7


def floats(low, high):
    return st.floats(low, high, width=32, allow_subnormal=False)


@st.composite
def geometry_fields(draw):
    """Header fields of any of the 48 axis orders, oblique or sheared, with codes, units and qforms that may differ."""
    axes = draw(st.permutations([0, 1, 2]))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    spacing = draw(st.tuples(*[floats(0.125, 8)] * 3))
    matrix = np.zeros((3, 4))
    for column, (axis, sign, size) in enumerate(zip(axes, signs, spacing, strict=True)):
        matrix[axis, column] = sign * size
    angles = draw(st.one_of(st.just((0.0, 0.0, 0.0)), st.tuples(*[floats(-0.5, 0.5)] * 3)))
    matrix[:, :3] = nib.eulerangles.euler2mat(*angles) @ matrix[:, :3]
    matrix[:, 2] += draw(st.sampled_from([0.0, 0.25])) * matrix[:, 0]
    matrix[:, 3] = draw(st.tuples(*[floats(-500, 500)] * 3))
    sform_code, qform_code = draw(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(any))
    imaginary = draw(st.tuples(*[floats(-0.5, 0.5)] * 3))
    return {
        "srow": matrix.ravel().tolist(),
        "sform_code": sform_code,
        "qform_code": qform_code,
        "quatern": list(imaginary),
        "qoffset": draw(st.lists(floats(-500, 500), min_size=3, max_size=3)),
        "pixdim": [draw(st.sampled_from([-1, 0, 1])), *spacing, 0, 0, 0, 0],
        "xyzt_units": draw(st.sampled_from([0, 2, 10, 18])),
    }


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=geometry_fields(),
    order=st.sampled_from("<>"),
    source_kind=st.sampled_from(["u1", "i2", "f4", "f8", "i8"]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
    labels=hnp.arrays(
        st.sampled_from([np.bool_, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64]),
        st.tuples(*[st.integers(1, 9)] * 3),
    ),
)
def test_geometry_bytes_and_labels_survive_a_round_trip(tmp_path, fields, order, source_kind, suffix, labels):
    plain = nb.write_nifti(tmp_path / f"plain{suffix}", nb.voxels(labels.shape, source_kind), **fields)
    source = nb.write_nifti(tmp_path / f"source{suffix}", nb.voxels(labels.shape, source_kind), order=order, **fields)
    target = tmp_path / f"target{suffix}"
    like = read_image(source)
    write_labels(target, labels, like=like)
    written, expected = nb.content_of(target), nb.content_of(plain)
    for block in nb.GEOMETRY:
        assert written[block] == expected[block]
    again = read_labels(target)
    np.testing.assert_array_equal(again.array, labels)
    np.testing.assert_array_equal(again.affine, like.affine)
    peer = nib.load(target)
    np.testing.assert_array_equal(np.asarray(peer.dataobj), labels)
    assert peer.shape == labels.shape


def test_the_rest_of_the_header_is_fresh(tmp_path):
    source = nb.write_nifti(tmp_path / "a.nii", nb.voxels((*SHAPE, 1)), scl_slope=2, scl_inter=-9)
    raw = bytearray(source.read_bytes())
    raw[148:159] = b"DOE^JANE 42"
    source.write_bytes(raw)
    write_labels(tmp_path / "b.nii", LABELS, like=read_image(source))
    written = (tmp_path / "b.nii").read_bytes()
    assert b"DOE" not in written
    header = nib.Nifti1Header(written[:348], check=True)
    assert header["scl_slope"] == 1
    assert header["scl_inter"] == 0
    assert header["dim"].tolist() == [3, 5, 4, 3, 1, 1, 1, 1]
    assert header["vox_offset"] == 352
    assert len(written) == 352 + LABELS.size


@pytest.mark.parametrize(
    ("highest", "lowest", "kind"),
    [(1, 0, "u1"), (255, 0, "u1"), (256, 0, "i2"), (1, -1, "i2"), (40_000, 0, "u2"), (70_000, 0, "i4"),
     (2**31, 0, "u4"), (2**32, 0, "i8"), (2**63, 0, "u8")],
)  # fmt: skip
def test_the_smallest_integer_type_is_stored(tmp_path, highest, lowest, kind):
    array = np.zeros(SHAPE, np.uint64 if highest == 2**63 else np.int64)
    array[0, 0, 0] = highest
    array[1, 0, 0] = lowest if lowest < 0 else 0
    write_labels(tmp_path / "a.nii.gz", array, like=Volume.from_array(LABELS, np.eye(4)))
    assert nib.load(tmp_path / "a.nii.gz").get_data_dtype() == np.dtype(kind)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.nii.gz").array, array)


def test_memory_order_does_not_show(tmp_path):
    like = Volume.from_array(LABELS, np.eye(4))
    for number, array in enumerate((LABELS, np.asfortranarray(LABELS), LABELS[::-1][::-1], LABELS.astype(">i4"))):
        write_labels(tmp_path / f"{number}.nii.gz", array, like=like)
    contents = {(tmp_path / f"{number}.nii.gz").read_bytes() for number in range(4)}
    assert len(contents) == 1
    raw = contents.pop()
    assert raw[3:8] == bytes(5)  # neither a name nor a time in the gzip header


def test_nifti2_and_wide_volumes_stay_nifti2(tmp_path):
    nib.Nifti2Image(LABELS.astype(np.int16), np.diag([1.5, 2, 3, 1])).to_filename(tmp_path / "a.nii.gz")
    write_labels(tmp_path / "b.nii.gz", LABELS, like=read_image(tmp_path / "a.nii.gz"))
    assert isinstance(nib.load(tmp_path / "b.nii.gz"), nib.Nifti2Image)
    wide = np.zeros((40_000, 1, 1), np.uint8)
    write_labels(tmp_path / "c.nii.gz", wide, like=Volume.from_array(wide, np.eye(4)))
    assert read_labels(tmp_path / "c.nii.gz").array.shape == wide.shape


def test_a_single_slice_keeps_its_third_axis(tmp_path):
    array = LABELS[..., :1]
    write_labels(tmp_path / "a.nii.gz", array, like=Volume.from_array(array, np.eye(4)))
    assert nib.load(tmp_path / "a.nii.gz").shape == (5, 4, 1)


def test_an_image_is_written_as_float32(tmp_path):
    image = np.random.default_rng(0).normal(size=SHAPE)
    like = Volume.from_array(image, np.diag([2.0, 2, 2, 1]))
    write_image(tmp_path / "a.nii.gz", image, like=like)
    again = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(again.array, image.astype(np.float32))
    np.testing.assert_array_equal(again.affine, like.affine)
    write_image(tmp_path / "b.nii.gz", (image * 1000).astype(np.int16), like=like)
    assert nib.load(tmp_path / "b.nii.gz").get_data_dtype() == np.int16


@pytest.mark.parametrize(
    ("write", "name", "array", "cause"),
    [
        (write_labels, "a.nii.gz", LABELS[1:], r"a\.nii\.gz: shape \(4, 4, 3\) on the grid of volume"),
        (write_labels, "a.nii.gz", LABELS * 0.5, "labels of type float64; expected integers"),
        (write_labels, "a.mha", LABELS, "expected a name that ends in"),
        (write_image, "a.nii.gz", LABELS * np.nan, "60 voxels are not finite"),
        (write_image, "a.nii.gz", np.full(SHAPE, 1e300), "60 voxels are not finite"),
    ],
)
def test_a_wrong_call_writes_nothing(tmp_path, write, name, array, cause):
    with pytest.raises(UsageError, match=cause):
        write(tmp_path / name, array, like=Volume.from_array(LABELS, np.eye(4)))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_reads_back_differently_never_gets_its_name(tmp_path, monkeypatch):
    class Forgetful(gzip.GzipFile):
        def write(self, data):
            return super().write(bytes(len(data)) if len(data) == 60 else data)

    monkeypatch.setattr(gzip, "GzipFile", Forgetful)
    with pytest.raises(StorageError, match="reads back other than it was written"):
        write_labels(tmp_path / "a.nii.gz", LABELS, like=Volume.from_array(LABELS, np.eye(4)))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_back_never_gets_its_name(tmp_path, monkeypatch):
    class Cut(gzip.GzipFile):
        def write(self, data):
            return super().write(data[:10])

    monkeypatch.setattr(gzip, "GzipFile", Cut)
    with pytest.raises(StorageError, match=r"a\.nii\.gz: does not read back \(.*truncated: 20 of 412 bytes\)"):
        write_labels(tmp_path / "a.nii.gz", LABELS, like=Volume.from_array(LABELS, np.eye(4)))
    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_is_never_written_through(tmp_path):
    (tmp_path / "precious.nii.gz").write_bytes(b"precious")
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "precious.nii.gz")
    with pytest.raises(StorageError, match=r"link\.nii\.gz: is a symbolic link"):
        write_labels(tmp_path / "link.nii.gz", LABELS, like=Volume.from_array(LABELS, np.eye(4)))
    assert (tmp_path / "precious.nii.gz").read_bytes() == b"precious"
    assert len(os.listdir(tmp_path)) == 2
