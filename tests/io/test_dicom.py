"""DICOM series: order and geometry from positions, values as ITK reads them, faults named."""

import contextlib
import random
import re
import resource
import struct
import tracemalloc
import zlib

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import uid, write_series, write_slice
from nibabel.eulerangles import euler2mat
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from medfs.errors import InputError, UsageError
from medfs.io.dicom import dicom_series, read_dicom_series

ARRAY = np.random.default_rng(0).integers(0, 3000, (7, 6, 5)).astype(np.uint16)
AFFINE = np.diag([-0.8, -0.9, 2.5, 1.0])
AFFINE[:3, 3] = [11.0, -22.0, 33.0]


def itk_reads(files):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in files])
    image = reader.Execute()
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1.0, -1, 1, 1]) @ lps


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def many(monkeypatch):
    """Parse in this process where a child for each of hundreds of files would take minutes."""
    monkeypatch.setattr("medfs.io.dicom.confined", lambda work, name, **limits: work())


@pytest.mark.parametrize("angles", [(0, 0, 0), (0.3, -0.2, 0.1), (np.pi / 2, 0, 0), (0, np.pi / 2, 0.4)])
def test_values_and_geometry_are_those_of_itk(folder, angles):
    affine = AFFINE.copy()
    affine[:3, :3] = euler2mat(*angles) @ AFFINE[:3, :3]
    write_series(folder, ARRAY, affine)
    volume = read_dicom_series(folder)
    array, itk_affine = itk_reads(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, itk_affine, atol=1e-5)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
    assert volume.warnings == ()


def test_neither_names_nor_instance_numbers_nor_thickness_decide_the_order(folder):
    names = [f"{k}.dcm" for k in random.Random(3).sample(range(5), 5)]
    changes = {k: {"InstanceNumber": n} for k, n in enumerate([4, 4, 1, 9, 2])}
    write_series(folder, ARRAY, AFFINE, names=names, changes=changes)
    volume = read_dicom_series(folder)
    np.testing.assert_array_equal(volume.array, ARRAY.astype(np.float32) - 1000)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)


def test_slices_written_from_the_top_come_back_from_the_bottom_in_their_places(folder):
    downwards = AFFINE.copy()
    downwards[:3, 2] *= -1
    write_series(folder, ARRAY, downwards)
    volume = read_dicom_series(folder)
    np.testing.assert_array_equal(volume.array, ARRAY[..., ::-1].astype(np.float32) - 1000)
    corner = np.array([2, 3, 0, 1])
    np.testing.assert_allclose(volume.affine @ corner, downwards @ [2, 3, 4, 1], atol=1e-6)
    assert volume.affine[2, 2] > 0


def test_a_tilted_gantry_is_a_shear_that_is_kept_and_named(folder):
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.6
    write_series(folder, ARRAY, sheared)
    volume = read_dicom_series(folder)
    np.testing.assert_allclose(volume.affine, sheared, atol=1e-5)
    assert re.search(r"sheared by 13 degrees \(gantry tilt\?\)", volume.warnings[0])


def test_each_slice_has_its_own_rescaling(folder):
    changes = {k: {"RescaleSlope": 0.5 * (k + 1), "RescaleIntercept": -k} for k in range(5)}
    files = write_series(folder, ARRAY, AFFINE, changes=changes)
    expected = ARRAY * 0.5 * np.arange(1, 6) - np.arange(5)
    np.testing.assert_array_equal(read_dicom_series(files).array, expected.astype(np.float32))


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16"])
def test_stored_types_and_inverted_display_leave_the_values_alone(folder, kind):
    array = (
        (ARRAY % 256).astype(kind) if kind == "uint8" else (ARRAY.astype(int) - 500 * (kind == "int16")).astype(kind)
    )
    write_series(folder, array, AFFINE, modality="MR", PhotometricInterpretation="MONOCHROME1")
    volume = read_dicom_series(folder)
    np.testing.assert_array_equal(volume.array, array.astype(np.float32))
    assert "MONOCHROME1" in volume.warnings[0]


def test_ct_without_rescaling_is_noted(folder):
    write_series(folder, ARRAY, AFFINE, RescaleSlope=None)
    assert "may be no Hounsfield units" in read_dicom_series(folder).warnings[0]


def test_one_of_several_series_is_chosen_by_its_uid(folder):
    write_series(folder, ARRAY, AFFINE, names=[f"a{k}.dcm" for k in range(5)])
    write_series(folder, ARRAY[..., :2], AFFINE, names=["b0.dcm", "b1.dcm"], SeriesInstanceUID=uid(7))
    message = f"2 series mixed; choose one by its UID: {uid(1)} (5 files), {uid(7)} (2 files)"
    with pytest.raises(InputError, match=re.escape(message)):
        read_dicom_series(folder)
    assert dicom_series(folder, series_uid=uid(7)).shape == (7, 6, 2)
    with pytest.raises(UsageError, match=r"no series 1\.2\.3; found"):
        read_dicom_series(folder, series_uid="1.2.3")


def test_what_is_no_image_is_passed_over_and_noted(folder):
    write_series(folder, ARRAY, AFFINE)
    write_slice(folder / "structure.dcm", ARRAY[..., 0].T, (0, 0, 0), Rows=None, SeriesInstanceUID=uid(8))
    (folder / "notes.txt").write_text("not an image")
    (folder / "DONE").write_bytes(b"")
    (folder / "DICOMDIR").write_bytes((folder / "s000.dcm").read_bytes())
    (folder / ".hidden.dcm").write_text("")
    volume = read_dicom_series(folder)
    assert volume.array.shape == ARRAY.shape
    ignored = ("DONE: empty file", "notes.txt: no DICOM file", "structure.dcm: holds no image")
    assert volume.warnings == tuple(f"{line}; ignored" for line in ignored)
    (folder / "s009.dcm").write_bytes(b"")
    with pytest.raises(InputError, match=r"s009\.dcm: empty file"):
        read_dicom_series(folder)


PLACE = np.array([-11.0, 22.0, 33.0])  # of slice 0, in DICOM's frame


def beyond(*offset_mm):
    return PLACE + offset_mm


FAULTS = {
    "doubled": (
        {2: {"position": beyond(0, 0, 2.5)}},
        "s001.dcm and s002.dcm lie at one place .* copies of one slice",
    ),
    "two_echoes": (
        {0: {"EchoTime": 4}, 1: {"EchoTime": 9, "position": PLACE}},
        "at one place .* different EchoTime: several scans in one series",
    ),
    "uneven": ({4: {"position": beyond(0, 0, 11)}}, r"3.5 mm between s003.dcm and s004.dcm, 2.5 mm between"),
    "aside": ({2: {"position": beyond(2, 0, 5)}}, "s002.dcm lies 2 mm off the line of equal steps"),
    "no_place": ({1: {"ImagePositionPatient": None}}, "s001.dcm: ImagePositionPatient is none; expected 3 finite"),
    "no_orientation": ({1: {"ImageOrientationPatient": None}}, "s001.dcm: ImageOrientationPatient is none"),
    "no_spacing": ({1: {"PixelSpacing": None}}, "s001.dcm: PixelSpacing is none"),
    "zero_spacing": ({1: {"PixelSpacing": [0, 1]}}, "s001.dcm: PixelSpacing 0 x 1 mm; expected > 0"),
    "other_spacing": ({1: {"PixelSpacing": [1, 1]}}, "s000.dcm and s001.dcm: pixel spacings"),
    "other_shape": ({3: {"stored": ARRAY[:, :4, 3].T}}, r"s000.dcm and s003.dcm: \(7, 6\) and \(7, 4\) pixels"),
    "localiser": ({3: {"axes": ((0, 1, 0), (0, 0, 1))}}, "s000.dcm and s003.dcm: different orientations"),
    "skewed": ({0: {"axes": ((1, 0, 0), (0.5, 0.9, 0))}}, "s000.dcm: ImageOrientationPatient holds no two perpend"),
    "moved": ({3: {"FrameOfReferenceUID": uid(9)}}, "different frames of reference"),
    "slope_0": ({2: {"RescaleSlope": 0}}, "s002.dcm: RescaleSlope 0; expected a finite number"),
    "colours": ({0: {"SamplesPerPixel": 3}}, "s000.dcm: MONOCHROME2 with 3 values per pixel"),
    "mosaic": ({0: {"ImageType": ["ORIGINAL", "MOSAIC"]}}, "s000.dcm: a mosaic"),
    "frames": ({0: {"NumberOfFrames": 4}}, "s000.dcm: CT Image Storage of 4 frames in one file"),
    "cut": ({2: {"PixelData": b"\0" * 10}}, "s002.dcm: voxels cannot be decoded: .* less than expected"),
    "no_voxels": ({2: {"PixelData": None}}, "s002.dcm: voxels cannot be decoded"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_with_the_names_of_the_files(folder, fault):
    changes, message = FAULTS[fault]
    write_series(folder, ARRAY, AFFINE, changes=changes)
    with pytest.raises(InputError, match=message) as caught:
        read_dicom_series(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_slice_is_named_by_its_neighbours(folder):
    files = write_series(folder, ARRAY, AFFINE)
    files[2].unlink()
    with pytest.raises(InputError, match=r"5 mm between s001.dcm and s003.dcm, 2.5 mm between the others; 1 missing"):
        read_dicom_series(folder)


def test_steps_rounded_by_the_scanner_are_evened_out_and_noted(folder):
    write_series(folder, ARRAY, AFFINE, changes={2: {"position": beyond(0, 0, 5.1)}})
    volume = read_dicom_series(folder)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    assert "0.1 mm off equal steps of 2.5 mm" in volume.warnings[0]


def test_compression_without_a_decoder_is_refused_with_the_remedy(folder):
    # HTJ2K, which neither pydicom nor Pillow decodes
    write_slice(folder / "a.dcm", ARRAY[..., 0].T, (0, 0, 0))
    data = pydicom.dcmread(folder / "a.dcm")
    data.file_meta.TransferSyntaxUID = HTJ2KLossless
    data.PixelData = encapsulate([b"\xff\x4f no code stream"])
    data["PixelData"].is_undefined_length = True
    data.save_as(folder / "a.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match=r"a.dcm: compressed as High.* \(1.2.840.10008.1.2.4.201\) .* gdcmconv --raw"):
        read_dicom_series(folder)


def deflated(path, tail=b""):
    """Write a deflated slice with ``tail`` after its content."""
    write_slice(path, ARRAY[..., 0].T, (0, 0, 0), TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    raw = path.read_bytes()
    start = raw.index(DeflatedExplicitVRLittleEndian.encode()) + len(DeflatedExplicitVRLittleEndian)
    while True:  # the first place from which on everything inflates
        with contextlib.suppress(zlib.error):
            content = zlib.decompress(raw[start:], -zlib.MAX_WBITS)
            if content[:2] == b"\x08\x00":
                break
        start += 1
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(raw[:start] + packer.compress(content + tail) + packer.flush())


def test_a_deflated_file_is_read_and_a_bomb_is_refused_before_it_expands(folder):
    deflated(folder / "a.dcm")
    np.testing.assert_array_equal(read_dicom_series(folder).array, ARRAY[..., :1].astype(np.float32) - 1000)
    deflated(folder / "a.dcm", struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, 400 << 20) + bytes(400 << 20))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.dcm: compressed data that expand to more than 268435456 bytes"):
        read_dicom_series(folder / "a.dcm")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("kind", [b"XX", b"OB", b"UN", b"SQ", b"\0\0", b"UT"])
def test_odd_elements_of_the_meta_header_never_take_the_memory_they_claim(folder, kind):
    write_slice(folder / "a.dcm", ARRAY[..., 0].T, (0, 0, 0))
    raw = (folder / "a.dcm").read_bytes()
    odd = struct.pack("<HH2sHI", 2, 0x0102, kind, 0, 0xFFFFFFF0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for place in (132, 144):
        (folder / "a.dcm").write_bytes(raw[:place] + odd + raw[place:])
        with pytest.raises(InputError, match=r"a\.dcm: "):
            read_dicom_series(folder / "a.dcm")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless, JPEGBaseline8Bit])
@pytest.mark.parametrize("size", [38_000, 65_535])
def test_a_slice_that_claims_gigabytes_is_refused_without_taking_them(folder, size, syntax):
    write_slice(folder / "a.dcm", ARRAY[..., 0].T, (0, 0, 0))
    data = pydicom.dcmread(folder / "a.dcm")
    data.Rows = data.Columns = size
    if syntax is not ExplicitVRLittleEndian:
        data.file_meta.TransferSyntaxUID = syntax
        data.PixelData = encapsulate([struct.pack("<16I", 1, 64, *[0] * 14) + b"\x01\x02\x03\x81\0" * 20])
        data["PixelData"].is_undefined_length = True
    data.save_as(folder / "a.dcm", enforce_file_format=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"exceeds the limit|voxels cannot be decoded"):
        read_dicom_series(folder / "a.dcm")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10


def test_every_cut_of_a_file_is_refused(folder, many):
    write_slice(folder / "a.dcm", ARRAY[..., 0].T, (0, 0, 0))
    raw = (folder / "a.dcm").read_bytes()
    for length in range(0, len(raw), 23):
        (folder / "a.dcm").write_bytes(raw[:length])
        with pytest.raises(InputError, match=r"a\.dcm: "):
            read_dicom_series(folder / "a.dcm")


def test_flipped_header_bytes_never_raise_anything_else(folder, many):
    write_slice(folder / "a.dcm", ARRAY[..., 0].T, (0, 0, 0))
    raw = (folder / "a.dcm").read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(400):
        damaged = bytearray(raw)
        for position in rng.integers(128, len(raw) - ARRAY[..., 0].nbytes, rng.integers(1, 4)):
            damaged[position] = rng.integers(256)
        (folder / "a.dcm").write_bytes(damaged)
        try:
            assert np.isfinite(read_dicom_series(folder / "a.dcm").array).all()
        except InputError:
            refused += 1
    assert refused > 100


def test_folders_without_images_say_so(folder):
    with pytest.raises(InputError, match="no DICOM image inside"):
        read_dicom_series(folder)
    with pytest.raises(InputError, match="nowhere: cannot be read"):
        read_dicom_series(folder / "nowhere")
    (folder / "fake.dcm").write_text("hello")
    with pytest.raises(InputError, match=r"fake\.dcm: no DICOM file"):
        read_dicom_series(folder)
