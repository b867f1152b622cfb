"""Pictures: stored values exactly, or a line that says why not."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medfs.errors import InputError
from medfs.io import write_image
from medfs.io.nifti import read_image
from medfs.io.pictures import picture_volume, read_picture

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)  # rows, columns
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def saved(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
@pytest.mark.parametrize("stored", [GREY, RGB], ids=["grey", "rgb"])
def test_values_are_exact_and_columns_come_first(tmp_path, suffix, stored):
    np.testing.assert_array_equal(read_picture(saved(tmp_path / f"a.{suffix}", stored)), np.swapaxes(stored, 0, 1))


def test_a_palette_gives_its_indices(tmp_path):
    indices = GREY % 5
    image = Image.fromarray(indices)
    image.putpalette(RNG.integers(0, 256, 768).tolist())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), indices.T)


def test_one_bit_gives_0_and_1_and_16_bits_are_kept(tmp_path):
    np.testing.assert_array_equal(read_picture(saved(tmp_path / "a.png", GREY > 99)), (GREY > 99).T)
    deep = GREY.astype(np.uint16) * 257
    array = read_picture(saved(tmp_path / "b.png", deep))
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array, deep.T)


def test_an_exif_rotation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_picture(saved(tmp_path / "a.jpg", RGB, exif=exif)).shape == (7, 5, 3)


def test_transparency_is_dropped_only_where_there_is_none(tmp_path):
    opaque = np.dstack([RGB, np.full((5, 7), 255, np.uint8)])
    np.testing.assert_array_equal(read_picture(saved(tmp_path / "a.png", opaque)), np.swapaxes(RGB, 0, 1))
    opaque[0, 0, 3] = 0
    with pytest.raises(InputError, match=r"a\.png: transparent in places"):
        read_picture(saved(tmp_path / "a.png", opaque))


def test_other_kinds_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"a\.jpg: pixels of kind CMYK"):
        read_picture(saved(tmp_path / "a.jpg", RGB, "CMYK"))
    frames = [Image.fromarray(GREY), Image.fromarray(GREY.T.copy().reshape(5, 7))]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"a\.tif: 2 frames"):
        read_picture(tmp_path / "a.tif")
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + bytes(20))
    with pytest.raises(InputError, match=r"a\.gif: no picture in one of the formats PNG"):
        read_picture(tmp_path / "a.gif")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
def test_every_cut_file_is_refused(tmp_path, suffix):
    path = saved(tmp_path / f"a.{suffix}", RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8))
    raw = path.read_bytes()
    for part in range(24):
        path.write_bytes(raw[: len(raw) * part // 25])
        with pytest.raises(InputError, match=rf"^a\.{suffix}: "):
            read_picture(path)


def test_a_header_that_promises_too_much_is_refused_before_decoding(tmp_path):
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + head
    end = b"IEND"
    content = b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
        for c in (chunk, b"IDAT" + zlib.compress(bytes(10)), end)
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(InputError, match="100000 x 100000 pixels; at most 2e\\+08"):
        read_picture(tmp_path / "a.png")


def test_a_picture_as_a_volume_of_one_slice_comes_back(tmp_path):
    volume = picture_volume(GREY.T, tmp_path / "a.png")
    write_image(tmp_path / "a.nii.gz", volume.array, volume)
    again = read_image(tmp_path / "a.nii.gz")
    assert again.array.shape == (7, 5, 1)
    np.testing.assert_array_equal(again.array[..., 0], GREY.T)
    # radiological viewers put L to the right and P down: the picture hangs as it was taken
    np.testing.assert_array_equal(again.affine @ [6, 4, 0, 1], [-6, -4, 0, 1])
