"""Voxels of MetaImage and NRRD: damage, cuts and odd data files are found before ITK reads them."""

import bz2
import gzip
import os
import zlib

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medfs.errors import InputError
from medfs.io import read_image

ARRAY = np.random.default_rng(0).integers(0, 900, (8, 7, 6)).astype(np.int16)
VOXELS = ARRAY.tobytes(order="F")
NRRD = "NRRD0004\ntype: int16\ndimension: 3\nspace: left-posterior-superior\nsizes: 8 7 6\nendian: little\n" \
    "space directions: (1,0,0) (0,1,0) (0,0,1)\nkinds: domain domain domain\nspace origin: (0,0,0)\n"  # fmt: skip
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nOffset = 0 0 0\n"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementSpacing = 1 1 1\nDimSize = 8 7 6\nElementType = MET_SHORT\n"
)


def nrrd(path, fields="encoding: raw\n", data=VOXELS):
    path.write_bytes((NRRD + fields + "\n").encode() + data)
    return path


def meta(path, fields="ElementDataFile = LOCAL\n", data=VOXELS):
    path.write_bytes((META + fields).encode() + data)
    return path


def beside(folder, suffix, name):
    """A header that names ``name`` as the file of its voxels."""
    if suffix == ".mhd":
        return meta(folder / "a.mhd", f"ElementDataFile = {name}\n", b"")
    return nrrd(folder / "a.nhdr", f"encoding: raw\ndata file: {name}\n", b"")


def refusal(path):
    with pytest.raises(InputError, match=f"^{path.name}: ") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(params=[".nrrd", ".nhdr"])
def packed(request, tmp_path):
    """Header, the file with the gzip stream, and the place where that begins."""
    path = tmp_path / f"a{request.param}"
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY.T), path, useCompression=True)
    data = path if request.param == ".nrrd" else tmp_path / "a.raw.gz"
    np.testing.assert_array_equal(read_image(path).array, ARRAY)
    return path, data, data.read_bytes().index(b"\x1f\x8b")


def test_a_changed_byte_of_a_gzip_nrrd_is_noticed_or_harmless(packed):
    path, data, start = packed
    raw, refused = data.read_bytes(), 0
    places = [*range(start, start + 12), *range(start + 12, len(raw) - 8, 5), *range(len(raw) - 8, len(raw))]
    for position in places:
        damaged = bytearray(raw)
        damaged[position] ^= 16
        data.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(read_image(path).array, ARRAY)
        except InputError:
            refused += 1
    assert refused >= len(places) - 7  # time, flags and system of the gzip header mean nothing


def test_every_cut_of_a_gzip_nrrd_is_refused(packed):
    path, data, start = packed
    raw = data.read_bytes()
    for length in (start, start + 1, start + 9, start + 200, *range(len(raw) - 9, len(raw))):
        data.write_bytes(raw[:length])
        refusal(path)


def test_a_gzip_nrrd_that_holds_more_or_less_is_refused_and_bytes_behind_it_are_counted(packed):
    path, data, start = packed
    raw = data.read_bytes()
    for content, said in ((VOXELS + b"\0", "more than 672 bytes; expected 672"), (VOXELS[:-1], "hold 671 bytes")):
        data.write_bytes(raw[:start] + gzip.compress(content))
        assert said in refusal(path)
    data.write_bytes(raw[:start] + gzip.compress(bytes(5 << 20)))
    assert "more than 672" in refusal(path)
    data.write_bytes(raw + bytes(3000))
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert "3000 bytes after the gzip stream ignored" in volume.warnings[0]


def test_gzip_in_parts_and_behind_skipped_bytes_is_read(tmp_path):
    parts = gzip.compress(VOXELS[:100]) + gzip.compress(VOXELS[100:])
    np.testing.assert_array_equal(read_image(nrrd(tmp_path / "a.nrrd", "encoding: GZ\n", parts)).array, ARRAY)
    skipped = nrrd(tmp_path / "b.nrrd", "encoding: gzip\nbyte skip: 9\n", gzip.compress(bytes(9) + VOXELS))
    np.testing.assert_array_equal(read_image(skipped).array, ARRAY)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("bzip2", bz2.compress(VOXELS)),
        ("bz2", bz2.compress(VOXELS)),
        ("ascii", " ".join(map(str, ARRAY.ravel(order="F"))).encode()),
        ("hex", VOXELS.hex().encode()),
    ],
)
def test_an_encoding_that_cannot_be_verified_is_refused_with_the_remedy(tmp_path, encoding, data):
    said = refusal(nrrd(tmp_path / "a.nrrd", f"encoding: {encoding}\n", data))
    assert said == f"a.nrrd: encoding {encoding} cannot be verified; save it with encoding raw or gzip"


@pytest.mark.parametrize("spelled", ["CompressedData = True", "CompressedData : true", "CompressedData\t=\t1"])
def test_a_compressed_metaimage_is_verified_however_it_says_so(tmp_path, spelled):
    stream = zlib.compress(VOXELS)
    fields = f"{spelled}\nCompressedDataSize = {len(stream)}\nElementDataFile = LOCAL\n"
    np.testing.assert_array_equal(read_image(meta(tmp_path / "a.mha", fields, stream)).array, ARRAY)
    refusal(meta(tmp_path / "a.mha", fields, stream[:300] + b"\0\0" + stream[302:]))
    for size in (len(stream) - 1, len(stream) + 1):  # ITK reads so many bytes, whatever the stream says
        wrong = fields.replace(str(len(stream)), str(size))
        assert "truncated" in refusal(meta(tmp_path / "a.mha", wrong, stream))
    assert "without CompressedDataSize" in refusal(
        meta(tmp_path / "a.mha", f"{spelled}\nElementDataFile = LOCAL\n", stream)
    )


@pytest.mark.parametrize("make", [nrrd, meta])
def test_raw_voxels_are_counted_before_memory_is_taken(tmp_path, make, capfd):
    path = make(tmp_path / f"a.{'nrrd' if make is nrrd else 'mha'}")
    raw = path.read_bytes()
    path.write_bytes(raw[:-1])
    assert "truncated: needs" in refusal(path)
    path.write_bytes(raw.replace(b"8 7 6", b"900 900 900"))
    assert f"has {len(raw) + 6}" in refusal(path)
    assert capfd.readouterr().err == ""  # MetaIO would print lines of its own
    path.write_bytes(raw + bytes(300))
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.warnings == (f"{path.name}: 300 bytes after the voxels ignored",)


def test_voxels_behind_the_header_of_another_format_are_counted_from_there(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(11) + VOXELS)
    fields = "encoding: raw\ndata file: a.raw\nbyte skip: "
    for path in (
        nrrd(tmp_path / "a.nhdr", f"{fields}11\n", b""),
        nrrd(tmp_path / "b.nhdr", f"{fields}-1\n", b""),
        meta(tmp_path / "a.mhd", "HeaderSize = 11\nElementDataFile = a.raw\n", b""),
        meta(tmp_path / "b.mhd", "HeaderSize = -1\nElementDataFile = a.raw\n", b""),
    ):
        np.testing.assert_array_equal(read_image(path).array, ARRAY)
    for path in (
        nrrd(tmp_path / "c.nhdr", f"{fields}12\n", b""),
        meta(tmp_path / "c.mhd", "HeaderSize = 12\nElementDataFile = a.raw\n", b""),
    ):
        assert "data file a.raw: truncated: needs 684 bytes, has 683" in refusal(path)
    assert "does not lead behind the header" in refusal(
        meta(tmp_path / "d.mha", "HeaderSize = 9\nElementDataFile = LOCAL\n")
    )
    assert "line skip is not supported" in refusal(nrrd(tmp_path / "d.nrrd", "encoding: raw\nline skip: 1\n"))


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_data_file_in_the_folder_of_its_header_is_read(tmp_path, suffix):
    (tmp_path / "sub").mkdir()
    for name in ("a.raw", "two words.raw", "sub/a.raw", "sub/../b.raw"):
        (tmp_path / name).write_bytes(VOXELS)
        for written in (name, tmp_path / name):
            np.testing.assert_array_equal(read_image(beside(tmp_path, suffix, written)).array, ARRAY)
    (tmp_path / "link.raw").symlink_to(tmp_path / "a.raw")
    np.testing.assert_array_equal(read_image(beside(tmp_path, suffix, "link.raw")).array, ARRAY)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_pipes_devices_folders_and_files_that_are_not_there_are_never_opened(tmp_path, suffix):
    os.mkfifo(tmp_path / "pipe.raw")
    (tmp_path / "folder.raw").mkdir()
    (tmp_path / "empty.raw").write_bytes(b"")
    for name, cause in (
        ("pipe.raw", "is a device or pipe"),
        ("folder.raw", "is a folder"),
        ("empty.raw", "empty file"),
        ("gone.raw", "cannot be read: No such file"),
    ):
        assert f"data file {name}: {cause}" in refusal(beside(tmp_path, suffix, name))


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_data_file_outside_the_folder_is_refused(tmp_path, suffix):
    inside = tmp_path / "scans"
    inside.mkdir()
    (tmp_path / "secret.raw").write_bytes(VOXELS)
    (inside / "link.raw").symlink_to(tmp_path / "secret.raw")
    (inside / "up").symlink_to(tmp_path)
    for name in ("/dev/zero", tmp_path / "secret.raw", "../secret.raw", "link.raw", "up/secret.raw"):
        assert "lies outside the header's folder; put it beside" in refusal(beside(inside, suffix, name))


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize("name", ["LIST", "LIST 2", "a%d.raw 1 6 1", "-", "~a.raw", "c:a.raw", "a\\b.raw", "a\x00b"])
def test_lists_patterns_and_names_that_itk_takes_otherwise_are_refused(tmp_path, suffix, name):
    if "\0" not in name:
        (tmp_path / name).write_bytes(VOXELS)
    assert "expected the plain name of one file" in refusal(beside(tmp_path, suffix, name))


@pytest.mark.parametrize(
    "fields",
    [
        "Comment = x\n  ElementDataFile\t:\tpipe.raw\nElementDataFile = LOCAL\n",
        "Comment =\nx = y\nElementDataFile =\n pipe.raw\nElementDataFile = LOCAL\n",
    ],
)
def test_the_first_data_file_of_a_metaimage_counts_however_it_is_spelled(tmp_path, fields):
    os.mkfifo(tmp_path / "pipe.raw")
    assert "pipe.raw: is a device or pipe" in refusal(meta(tmp_path / "a.mha", fields))


def test_a_data_file_of_an_nrrd_counts_however_it_is_spelled(tmp_path):
    os.mkfifo(tmp_path / "pipe.raw")
    for field in ("data file: pipe.raw\n", "DataFile: \t pipe.raw\n", "Data File: pipe.raw\r\n"):
        assert "pipe.raw: is a device or pipe" in refusal(nrrd(tmp_path / "a.nrrd", f"encoding: raw\n{field}"))
    assert "no NRRD header" in refusal(nrrd(tmp_path / "a.nrrd", "encoding: raw\n#\rdata file: pipe.raw\n"))


def test_long_headers_are_read(tmp_path):
    keys = "".join(f"Segment{n}_Tags:={'x' * 900}\n" for n in range(200))
    np.testing.assert_array_equal(read_image(nrrd(tmp_path / "a.nrrd", f"encoding: raw\n{keys}")).array, ARRAY)
