"""What is found about files: each of the faults a folder can hold, once, at the right file."""

import json
import os

import nibabel as nib
import nifti_bytes as nb
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import write_series

from medfs.io.hashes import unordered_digest, voxel_digest
from medfs.io.inspection import inspect
from medfs.io.scan_folders import find_targets

ARRAY = nb.voxels((6, 5, 4))


def findings(path, known=()):
    """(file, level, text) of all findings, in their order."""
    found = inspect(find_targets(path), known)
    return [(item.path.name, finding.level, finding.text) for item in found for finding in item.findings]


def labels_of(folder, array, **fields):
    (folder / "labels").mkdir(exist_ok=True)
    return nb.write_nifti(folder / "labels" / "a.nii", array, **fields)


def test_a_conflict_of_forms_and_a_constant_scan_are_faults_and_a_shear_is_a_note(tmp_path):
    nb.write_nifti(tmp_path / "a.nii", ARRAY, qoffset=[-10, 24, 33])
    nb.write_nifti(tmp_path / "b.nii", np.full((6, 5, 4), 3, np.int16))
    sheared = [0.8, 0, 0, -10, 0, 0.9, 1.0, 20, 0, 0, 2.5, 30]
    nb.write_nifti(tmp_path / "c.nii", ARRAY + 1, srow=sheared, qform_code=0, pixdim=[1, 0.8, 0.9, 2.6926, 0, 0, 0, 0])
    assert findings(tmp_path) == [
        ("a.nii", "fault", "qform and sform place the volume up to 5 mm apart; the sform is used"),
        ("b.nii", "fault", "all voxels are 3"),
        ("c.nii", "note", "the axes are sheared by 22 degrees (gantry tilt?); the geometry is kept"),
    ]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((6, 5, 4), np.uint8), ("note", "no voxel is labelled")),
        (ARRAY * 0.5, ("fault", "label value 42.5 among 64")),
        (ARRAY - 200, ("fault", "label values -200 (3 voxels)")),
        ((ARRAY % 3).astype("f8"), ("note", "label values are stored as float64; expected integers")),
        (ARRAY.astype(np.int32) % 2 * 70_000, ()),
    ],
    ids=["empty", "halves", "negative", "floats", "large"],
)
def test_label_maps_are_held_to_integers_from_0(tmp_path, array, said):
    labels_of(tmp_path, array)
    found = findings(tmp_path)
    assert len(found) == bool(said)
    for _, level, text in found:
        assert (level, text[: len(said[1])]) == said


def test_unknown_values_are_counted_and_many_are_cut_short(tmp_path):
    labels_of(tmp_path, np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
    (_, level, text), = findings(tmp_path, range(4))  # fmt: skip
    assert level == "fault"
    assert text == (
        "label values 4 (1 voxels), 5 (1 voxels), 6 (1 voxels), 7 (1 voxels), 8 (1 voxels) and 3 more; expected 0 to 3"
    )


def test_the_voxels_of_every_value_are_counted(tmp_path):
    values = np.random.default_rng(0).choice([0, 1, 5, 300], (7, 6, 5)).astype(np.int16)
    labels_of(tmp_path, values)
    for shift in (0, 70_000):
        labels_of(tmp_path, values.astype(np.int32) + shift)
        (checked,) = inspect(find_targets(tmp_path))
        expected = dict(zip(*np.unique(values.astype(int) + shift, return_counts=True), strict=True))
        assert dict(checked.values) == {int(value): int(count) for value, count in expected.items()}


def test_scans_that_come_twice_and_label_maps_that_do(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    copies = {"a": ARRAY, "b": ARRAY.astype("f4"), "c": np.ascontiguousarray(ARRAY.T[::-1]), "d": ARRAY + 1}
    for name, array in copies.items():
        nb.write_nifti(tmp_path / f"images/{name}.nii", array)
        nb.write_nifti(tmp_path / f"labels/{name}.nii", (array % 2).astype(np.uint8))
    assert findings(tmp_path) == [
        ("b.nii", "fault", "the same voxels as a.nii; expected each scan once"),
        ("b.nii", "note", "the same labels as a.nii"),
        ("c.nii", "fault", "the voxels of a.nii, flipped or turned; expected each scan once"),
    ]
    (tmp_path / "more").mkdir()
    nb.write_nifti(tmp_path / "more/z.nii", ARRAY)
    assert findings(tmp_path)[-1] == ("z.nii", "fault", "the same voxels as images/a.nii; expected each scan once")


def test_digests_tell_voxels_apart_and_the_unordered_one_no_order():
    random = np.random.default_rng(0)
    array = random.normal(size=(8, 7, 6)).astype(np.float32)
    shuffled = random.permutation(array.ravel()).reshape(6, 7, 8)
    changed = array.copy()
    changed[3, 2, 1] = np.nextafter(changed[3, 2, 1], np.float32(9))
    swapped_bits = array.copy()
    swapped_bits[0, 0, 0], swapped_bits[1, 0, 0] = swapped_bits[0, 0, 0] + 1, swapped_bits[1, 0, 0] - 1
    assert unordered_digest(array) == unordered_digest(shuffled)
    assert len({unordered_digest(a) for a in (array, changed, swapped_bits, array * 2, array[:-1])}) == 5
    assert voxel_digest(array) != voxel_digest(array[::-1])
    assert voxel_digest(ARRAY) == voxel_digest(np.asfortranarray(ARRAY.astype(np.int64)))


def test_everything_below_a_folder_is_found_and_hidden_files_are_not(tmp_path):
    for name in ("set/imagesTr", "set/labelsTr", "set/supervoxels", "loose/labels", ".hidden", "series"):
        (tmp_path / name).mkdir(parents=True)
    for number, name in enumerate(
        ["set/imagesTr/x_0000.nii", "set/labelsTr/x.nii", "set/supervoxels/x.nii", "loose/labels/y.nii",
         "loose/z.nii.gz", ".hidden/h.nii", "loose/.h.nii"]
    ):  # fmt: skip
        nb.write_nifti(tmp_path / name, ARRAY + number)
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkUInt8), tmp_path / "loose/s.seg.nrrd")
    (tmp_path / "loose/alone.img").write_bytes(b"data")
    (tmp_path / "loose/a.hdr").write_bytes(nb.header_bytes(ARRAY.shape, magic=b"ni1\0", vox_offset=0)[:348])
    (tmp_path / "loose/a.img").write_bytes((ARRAY + 99).tobytes(order="F"))
    write_series(tmp_path / "series", ARRAY.astype(np.uint16), np.diag([1.0, 1, 2, 1]), names=list("abcd"))
    found = {str(item.path.relative_to(tmp_path)): item for item in inspect(find_targets(tmp_path), range(200))}
    assert {path: item.role for path, item in found.items()} == {
        "loose/a.hdr": "image",
        "loose/alone.img": "image",
        "loose/labels/y.nii": "labels",
        "loose/s.seg.nrrd": "labels",
        "loose/z.nii.gz": "image",
        "series": "dicom",
        "set/imagesTr/x_0000.nii": "image",
        "set/labelsTr/x.nii": "labels",
        "set/supervoxels/x.nii": "supervoxels",
    }
    assert found["set/labelsTr/x.nii"].image == tmp_path / "set/imagesTr/x_0000.nii"
    faulty = {path: item.findings[0].text for path, item in found.items() if item.faults}
    assert faulty == {"loose/alone.img": "alone.hdr is missing beside it; a pair needs both"}


def test_results_of_medfs_segment_are_label_maps(tmp_path):
    nb.write_nifti(tmp_path / "a_seg.nii.gz", np.zeros((6, 5, 4), np.uint8))
    assert findings(tmp_path) == [("a_seg.nii.gz", "note", "no voxel is labelled")]


def test_a_folder_that_cannot_be_listed_is_a_fault_and_not_the_end(tmp_path, monkeypatch):
    (tmp_path / "secret").mkdir()
    nb.write_nifti(tmp_path / "a.nii", ARRAY, bitpix=9)
    listing = os.scandir

    def scandir(path):
        if os.path.basename(path) == "secret":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return listing(path)

    monkeypatch.setattr("os.scandir", scandir)
    found = findings(tmp_path)
    assert ("secret", "fault", "cannot be listed: Permission denied") in found
    assert any(name == "a.nii" for name, _, _ in found)


def test_one_file_and_a_datalist_will_do(tmp_path):
    path = nb.write_nifti(tmp_path / "a.nii", ARRAY, bitpix=9)
    assert [name for name, _, _ in findings(path)] == ["a.nii"]
    nb.write_nifti(tmp_path / "b.nii", ARRAY[1:] % 3)
    (tmp_path / "list.json").write_text(json.dumps({"training": [{"image": "a.nii", "label": "b.nii"}]}))
    assert [(name, level) for name, level, _ in findings(tmp_path / "list.json")] == [
        ("a.nii", "note"),
        ("b.nii", "fault"),
    ]


def test_files_of_impossible_names_are_faults_of_their_own(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        nb.write_nifti(tmp_path / folder / "...nii", ARRAY)
        nb.write_nifti(tmp_path / folder / "good.nii", ARRAY + 1)
        (tmp_path / folder / "...nii").rename(tmp_path / folder / ("x" * 201 + ".nii"))
    assert [(name[:2], level) for name, level, _ in findings(tmp_path)] == [("xx", "fault"), ("xx", "fault")]


def test_what_reads_well_in_other_formats_is_sound(tmp_path):
    image = sitk.GetImageFromArray(ARRAY.T)
    sitk.WriteImage(image, tmp_path / "a.mha")
    (tmp_path / "labels").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray((ARRAY.T % 3).astype(np.float32)), tmp_path / "labels/a.mha")
    nib.save(nib.MGHImage(ARRAY.astype(np.float32) + 1, np.diag([1.0, 1, 2, 1])), tmp_path / "b.mgz")
    assert findings(tmp_path) == []
