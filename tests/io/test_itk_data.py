"""Voxels of MetaImage and NRRD: damage and cuts are found before ITK reads them."""

import bz2
import gzip
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


def test_long_headers_are_read(tmp_path):
    keys = "".join(f"Segment{n}_Tags:={'x' * 900}\n" for n in range(200))
    np.testing.assert_array_equal(read_image(nrrd(tmp_path / "a.nrrd", f"encoding: raw\n{keys}")).array, ARRAY)
