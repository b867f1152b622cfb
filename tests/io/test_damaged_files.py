"""Damage is found, whatever byte it hits; nothing but InputError leaves the reader."""

import gzip
import itertools
import os
import random
import struct
import subprocess
import sys
import time

import nifti_bytes as nb
import numpy as np
import pytest

from medfs.errors import InputError
from medfs.io import read_image, read_labels

SHAPE = (9, 8, 7)


@pytest.fixture
def good(tmp_path):
    return nb.write_nifti(tmp_path / "good.nii.gz", nb.voxels(SHAPE))


def outcome(path):
    """The voxels, or the message of the one permitted exception."""
    try:
        return read_image(path).array
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    assert message.startswith(f"{path.name}: ")
    return message


def test_a_gzip_file_cut_at_any_64th_is_truncated(good, tmp_path):
    raw = good.read_bytes()
    for part in range(1, 64):
        cut = tmp_path / "cut.nii.gz"
        cut.write_bytes(raw[: len(raw) * part // 64])
        assert "truncated" in outcome(cut), part


@pytest.mark.parametrize("missing", range(1, 9))
def test_a_missing_gzip_trailer_is_noticed(good, missing):
    good.write_bytes(good.read_bytes()[:-missing])
    assert "truncated: the gzip stream ends early" in outcome(good)


def test_a_wrong_checksum_is_noticed(good):
    raw = bytearray(good.read_bytes())
    raw[-8] ^= 1
    good.write_bytes(raw)
    assert "checksum does not fit" in outcome(good)


def test_a_wrong_length_in_the_trailer_is_noticed(good):
    raw = bytearray(good.read_bytes())
    raw[-1] ^= 1
    good.write_bytes(raw)
    assert "incorrect length check" in outcome(good)


def test_a_flipped_bit_in_any_byte_is_refused_or_harmless(good, tmp_path):
    raw, truth = good.read_bytes(), read_image(good).array
    target = tmp_path / "flipped.nii.gz"
    refused = 0
    for position, bit in itertools.product(range(len(raw)), (0, 3, 6)):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << (position + bit) % 8
        target.write_bytes(damaged)
        result = outcome(target)
        refused += isinstance(result, str)
        assert isinstance(result, str) or np.array_equal(result, truth), position
    assert refused > 0.95 * 3 * len(raw)


def test_mutated_headers_never_raise_anything_else(tmp_path):
    raw = bytearray(nb.write_nifti(tmp_path / "plain.nii", nb.voxels(SHAPE)).read_bytes())
    generator, target, results = random.Random(0), tmp_path / "mutant.nii", []
    for _ in range(1000):
        mutant = raw.copy()
        for _ in range(generator.randint(1, 4)):
            mutant[generator.randrange(348)] = generator.choice([0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)])
        target.write_bytes(mutant)
        for read in (read_image, read_labels):
            try:
                volume = read(target)
            except InputError:
                results.append(False)
            else:
                results.append(True)
                assert np.isfinite(volume.affine).all()
                assert np.isfinite(volume.array).all()
                assert min(volume.spacing_mm) > 0
    assert 0.05 < np.mean(results) < 0.95


def test_random_bytes_are_not_a_volume(tmp_path):
    generator = random.Random(1)
    for suffix in (".nii", ".nii.gz", ".mgz", ".mha", ".nrrd", ".hdr"):
        for size in (1, 3, 4, 347, 348, 2000):
            path = tmp_path / f"noise{suffix}"
            path.write_bytes(generator.randbytes(size))
            assert isinstance(outcome(path), str)


@pytest.mark.parametrize(("content", "cause"), [(b"", "empty file"), (b"Dear radiologist,\n" * 99, "not a NIfTI file")])
def test_what_is_no_scan_at_all_is_named(tmp_path, content, cause):
    path = tmp_path / "letter.nii.gz"
    path.write_bytes(content)
    assert cause in outcome(path)


@pytest.mark.parametrize("missing", [1, 500])
def test_a_short_plain_file_says_what_it_needs(tmp_path, missing):
    path = nb.write_nifti(tmp_path / "short.nii", nb.voxels(SHAPE))
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-missing])
    assert f"truncated: needs {size} bytes, has {size - missing}" in outcome(path)


def test_a_short_header_says_what_it_needs(tmp_path):
    path = tmp_path / "short.nii"
    path.write_bytes(nb.header_bytes(SHAPE)[:200])
    assert "truncated: 200 bytes; the header alone needs 348" in outcome(path)


@pytest.mark.parametrize(("name", "pack"), [("a.nii", gzip.compress), ("a.nii.gz", gzip.decompress)])
def test_a_misnamed_file_is_read_by_content_with_a_warning(good, tmp_path, name, pack):
    content = gzip.decompress(good.read_bytes())
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if pack is gzip.compress else content)
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, nb.voxels(SHAPE))
    assert "unlike the name" in volume.warnings[0]


@pytest.mark.parametrize("garbage", [b"\0", b"garbage", b"\x1f", b"x" * 100_000])
def test_garbage_after_the_gzip_stream_is_counted(good, garbage):
    good.write_bytes(good.read_bytes() + garbage)
    assert read_image(good).warnings == (f"good.nii.gz: {len(garbage)} bytes after the gzip stream ignored",)


def test_several_gzip_members_are_one_file(good):
    content = nb.content_of(good)
    good.write_bytes(b"".join(gzip.compress(content[i : i + 100]) for i in range(0, len(content), 100)))
    volume = read_image(good)
    np.testing.assert_array_equal(volume.array, nb.voxels(SHAPE))
    assert volume.warnings == ()


def test_a_few_bytes_too_many_are_counted_and_a_bomb_is_refused(tmp_path):
    path = nb.write_nifti(tmp_path / "tail.nii.gz", nb.voxels(SHAPE))
    content = nb.content_of(path)
    path.write_bytes(gzip.compress(content + bytes(1000)))
    assert read_image(path).warnings == ("tail.nii.gz: 1000 bytes after the voxels ignored",)
    path.write_bytes(gzip.compress(content + bytes(3 << 20)))
    assert "extra bytes after the voxels" in outcome(path)


def test_a_highly_compressible_volume_is_no_bomb(tmp_path):
    array = np.zeros((256, 256, 64), np.int16)
    array[0, 0, 0] = 1
    path = nb.write_nifti(tmp_path / "flat.nii.gz", array)
    assert path.stat().st_size < array.nbytes / 900
    np.testing.assert_array_equal(read_image(path).array, array)


CLAIMS = {
    "30000 cubed": ([3, 30000, 30000, 30000, 1, 1, 1, 1], "2.7e+13 voxels exceeds the limit"),
    "8 GB": ([3, 2000, 2000, 1000, 1, 1, 1, 1], "4e+09 voxels exceeds the limit"),
    "2 GB": ([3, 1000, 1000, 1000, 1, 1, 1, 1], "truncated"),
    "negative": ([3, 9, -32, 7, 1, 1, 1, 1], "expected positive"),
    "zero": ([3, 9, 0, 7, 1, 1, 1, 1], "empty volume"),
    "no dimension": ([0, 9, 8, 7, 1, 1, 1, 1], "empty volume"),
    "8 dimensions": ([8, 9, 8, 7, 1, 1, 1, 1], "states 8 dimensions"),
    "-1 dimensions": ([-1, 9, 8, 7, 1, 1, 1, 1], "states -1 dimensions"),
    "2D": ([2, 9, 56, 1, 1, 1, 1, 1], "2D; needs 3D"),
    "1D": ([1, 504, 1, 1, 1, 1, 1, 1], "1D; needs 3D"),
    "4D": ([4, 3, 8, 7, 3, 1, 1, 1], "4D with 3 volumes"),
    "5D": ([5, 3, 8, 7, 1, 3, 1, 1], "5D with 3 volumes"),
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("dim", "cause"), CLAIMS.values(), ids=CLAIMS)
def test_impossible_dimensions_are_refused_at_once(tmp_path, dim, cause, suffix):
    path = nb.write_nifti(tmp_path / f"claim{suffix}", nb.voxels(SHAPE), dim=dim)
    start = time.perf_counter()
    assert cause in outcome(path)
    assert time.perf_counter() - start < 1.0


@pytest.mark.subprocess
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read from Linux")
def test_a_claim_of_two_gigabytes_takes_no_memory(tmp_path):
    path = nb.write_nifti(tmp_path / "claim.nii.gz", nb.voxels(SHAPE), dim=[3, 1000, 1000, 1000, 1, 1, 1, 1])
    code = (
        "import re, sys\nfrom medfs.errors import InputError\nfrom medfs.io import read_image\n"
        "try:\n    read_image(sys.argv[1])\nexcept InputError as error:\n    assert 'truncated' in str(error)\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 512 << 10


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "missing", "zero"])
def test_what_is_no_regular_file_never_hangs(tmp_path, kind):
    path = tmp_path / "odd.nii.gz"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    assert isinstance(outcome(path), str)


def test_memory_that_is_not_there_is_an_input_error(good, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr("medfs.io.nifti.file_payload", refuse)
    assert "does not fit into memory" in outcome(good)


def test_a_nifti2_header_of_200_dimensions_is_refused(tmp_path):
    raw = bytearray(544)
    struct.pack_into("<i8s", raw, 0, 540, b"n+2\0\r\n\x1a\n")
    struct.pack_into("<q", raw, 16, 200)
    path = tmp_path / "stack.nii"
    path.write_bytes(raw)
    assert "states 200 dimensions" in outcome(path)


def test_a_nifti2_file_from_a_text_mode_transfer_is_named(tmp_path):
    raw = bytearray(544)
    struct.pack_into("<i8s", raw, 0, 540, b"n+2\0\n\x1a\n\0")
    path = tmp_path / "text.nii"
    path.write_bytes(raw)
    assert "text-mode transfer" in outcome(path)
