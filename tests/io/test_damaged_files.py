"""Damage is found, whatever byte it hits; nothing but InputError leaves the reader."""

import gzip
import itertools
import os
import random
import subprocess
import sys

import nifti_bytes as nb
import numpy as np
import pytest

from medfs.errors import InputError
from medfs.io import read_image

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


def test_random_bytes_are_not_a_volume(tmp_path):
    generator = random.Random(1)
    for suffix in (".nii", ".nii.gz", ".mgz", ".mha", ".nrrd", ".hdr"):
        for size in (1, 3, 4, 347, 348, 2000):
            path = tmp_path / f"noise{suffix}"
            path.write_bytes(generator.randbytes(size))
            assert isinstance(outcome(path), str)


@pytest.mark.parametrize("garbage", [b"\0", b"garbage", b"\x1f", b"x" * 100_000])
def test_garbage_after_the_gzip_stream_is_counted(good, garbage):
    good.write_bytes(good.read_bytes() + garbage)
    assert read_image(good).warnings == (f"good.nii.gz: {len(garbage)} bytes after the gzip stream ignored",)


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


def test_memory_that_is_not_there_is_an_input_error(good, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr("medfs.io.nifti.file_payload", refuse)
    assert "does not fit into memory" in outcome(good)
