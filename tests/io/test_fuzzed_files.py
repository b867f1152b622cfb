"""Seeded damage by the thousand: a file is refused in one line or read as its header says, within bounds.

A small part runs always, all of it with ``-m slow``. A case depends on its number alone, so that one that fails can be
made again.
"""

import gzip
import random
import resource
import struct
import time

import nibabel as nib
import nifti_bytes as nb
import numpy as np
import pytest

from medfs.errors import InputError
from medfs.io import read_image, read_labels

HEADERS, FLIPS = 20_000, 2_000
LONGEST_S = 10.0
MOST_MEMORY_KB = 512 << 10  # beyond what the process had before
SHAPE = (9, 8, 7)
BYTES = (0, 1, 0x7F, 0x80, 0xFF)
NUMBERS = (0, 1, -1, 2, 3, 4, 7, 8, 16, 32767, -32768, 255)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, 3e38, float("nan"), float("inf"), float("-inf"), 351.0, 352.0, 353.0)


def part(count, always):
    return pytest.mark.parametrize(
        "numbers", [range(always), pytest.param(range(always, count), marks=pytest.mark.slow)], ids=["few", "many"]
    )


def sources():
    """Small good files: NIfTI-1 in both byte orders and several types, and NIfTI-2."""
    contents = [
        nb.header_bytes(SHAPE, kind, order=order, scl_slope=slope)
        + nb.voxels(SHAPE, kind).astype(order + kind).tobytes(order="F")
        for kind, order, slope in (("i2", "<", 1), ("u1", "<", 1), ("f4", ">", 1), ("i2", ">", 0.5), ("f8", "<", 1))
    ]
    header = nib.Nifti2Image(nb.voxels(SHAPE), np.diag([0.8, 0.9, 2.5, 1])).header
    header["vox_offset"], header["magic"], header["scl_slope"], header["scl_inter"] = 544, b"n+2", 1, 0
    return [*contents, header.binaryblock + bytes(4) + nb.voxels(SHAPE).tobytes(order="F")]


def mutated(content, generator):
    """Some bytes or whole fields of the header changed, or the end cut off."""
    content = bytearray(content)
    length = 348 if len(content) < 540 or content[:4] != struct.pack("<i", 540) else 540
    kind = generator.random()
    if kind < 0.2:
        return bytes(content[: generator.randrange(len(content))])
    for _ in range(generator.randint(1, 4)):
        if kind < 0.6 or length == 540:
            content[generator.randrange(length)] = generator.choice([*BYTES, generator.randrange(256)])
        else:
            _set_field(content, generator)
    return bytes(content)


def _set_field(content, generator):
    order = "<" if content[0] == 348 % 256 else ">"
    offset, form = nb.FIELDS[generator.choice([name for name in nb.FIELDS if name not in ("sizeof_hdr", "magic")])]
    letter = form[-1]
    place = offset + struct.calcsize("=" + letter) * generator.randrange(int(form[:-1] or 1))
    value = generator.choice(FLOATS if letter == "f" else NUMBERS)
    struct.pack_into(order + letter, content, place, value % 256 if letter == "B" else value)


def stated(content):
    """Values and affine as the header states them, put together without the reader."""
    kind, order = next(
        (kind, order)
        for kind in (nib.Nifti1Header, nib.Nifti2Header)
        for order in "<>"
        if struct.unpack(order + "i", content[:4])[0] == kind.template_dtype.itemsize
    )
    header = kind(content[: kind.template_dtype.itemsize], endianness=order, check=False)
    shape = header["dim"][1:4].tolist()
    stored = np.frombuffer(content, header.get_data_dtype(), int(np.prod(shape)), int(header["vox_offset"]))
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    slope, inter = (slope, inter) if slope else (1.0, 0.0)
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # as the standard's own library takes it
    affine = header.get_sform() if header["sform_code"] > 0 else header.get_qform()
    affine[:3] *= {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0)
    return stored.reshape(shape, order="F"), slope, inter, affine


def read(reader, path):
    """The volume, or None where it is refused in one line that begins with the name."""
    start, said, volume = time.perf_counter(), "", None
    try:
        volume = reader(path)
    except InputError as error:
        said = str(error)
    assert time.perf_counter() - start < LONGEST_S
    assert volume is not None or (said.startswith(f"{path.name}: ") and "\n" not in said)
    return volume


@pytest.fixture
def bounded():
    """Fail where the process has taken much more memory than before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY_KB


@part(HEADERS, 600)
@pytest.mark.usefixtures("bounded")
def test_mutated_headers_and_cut_files_are_refused_or_read_as_they_say(tmp_path, numbers):
    good, accepted = sources(), 0
    for number in numbers:
        generator = random.Random(number)
        content = mutated(generator.choice(good), generator)
        packed = generator.random() < 0.4
        path = tmp_path / ("a.nii.gz" if packed else "a.nii")
        path.write_bytes(gzip.compress(content, 1) if packed else content)
        image, labels = read(read_image, path), read(read_labels, path)
        for volume in (image, labels):
            if volume is not None:
                stored, slope, inter, affine = stated(content)
                np.testing.assert_allclose(volume.affine, affine, rtol=1e-6, atol=1e-6, err_msg=str(number))
                assert min(volume.spacing_mm) > 0
        if image is not None:
            accepted += 1
            with np.errstate(over="ignore"):
                expected = (stored * np.float64(slope) + inter).astype(np.float32)
            np.testing.assert_array_equal(image.array, expected, err_msg=str(number))
        if labels is not None and np.isfinite([slope, inter]).all():
            np.testing.assert_array_equal(labels.array, stored * np.float64(slope) + inter, err_msg=str(number))
    print(f"{accepted} of {len(numbers)} images read, each as its header says; the others refused")
    assert 0.1 < accepted / len(numbers) < 0.9


@part(FLIPS, 200)
@pytest.mark.usefixtures("bounded")
def test_a_changed_byte_of_a_gzip_file_is_noticed_or_harmless(tmp_path, numbers):
    packed = [gzip.compress(content, level, mtime=0) for content in sources() for level in (1, 9)]
    packed.append(b"".join(gzip.compress(sources()[0][i : i + 300]) for i in range(0, len(sources()[0]), 300)))
    path, refused = tmp_path / "a.nii.gz", 0
    truth = []
    for content in packed:
        path.write_bytes(content)
        truth.append(read_image(path))
    for number in numbers:
        generator = random.Random(number)
        which = generator.randrange(len(packed))
        content = bytearray(packed[which])
        content[generator.randrange(len(content))] ^= generator.randrange(1, 256)
        path.write_bytes(content)
        volume = read(read_image, path)
        if volume is None:
            refused += 1
        else:
            np.testing.assert_array_equal(volume.array, truth[which].array, err_msg=str(number))
            np.testing.assert_array_equal(volume.affine, truth[which].affine, err_msg=str(number))
    print(f"{refused} of {len(numbers)} refused; the others equal to the last bit")
    assert refused > 0.9 * len(numbers)
