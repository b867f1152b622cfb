"""Scans made ready: what is kept, what is checked, and which supervoxels belong to which scan."""

from dataclasses import replace

import numpy as np
import pytest
from marked_cases import marked_arrays, write_marked

from medfs.errors import InputError
from medfs.fewshot import find_objects, prepare_case
from medfs.io import Case, Volume, read_labels, write_image, write_labels

AFFINE = np.diag([1.0, 1.5, 6.0, 1.0])


@pytest.fixture
def marked(tmp_path):
    (case,) = write_marked(tmp_path, 1)
    return case, tmp_path / "supervoxels" / "case_0.nii.gz", tmp_path / "cache"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_arrays_have_the_slices_first_and_the_image_is_standardised(marked, axis):
    ready = prepare_case(*marked, axis=axis)
    image, objects = ready.open()
    source, _, supervoxels = marked_arrays()
    order = {0: (0, 2, 1), 1: (1, 2, 0), 2: (2, 1, 0)}[axis]
    expected = (source.astype(float) - source.mean(dtype=float)) / source.std(dtype=float)
    np.testing.assert_allclose(image, expected.transpose(order), atol=1e-5)
    np.testing.assert_array_equal(objects, supervoxels.transpose(order))
    assert image.dtype == np.float32
    assert objects.dtype == np.uint8
    assert isinstance(image, np.memmap)
    assert not image.flags.writeable
    assert (ready.index.length, ready.organs.length) == (image.shape[0], image.shape[0])
    np.testing.assert_allclose(ready.affine, AFFINE, atol=1e-6)


def test_thick_slices_are_found_wherever_the_file_has_them(tmp_path):
    image, labels, supervoxels = (np.moveaxis(array, 2, 0) for array in marked_arrays())
    affine = np.array([[0, 1, 0, 3], [0, 0, 1.5, 4], [6, 0, 0, 5], [0, 0, 0, 1.0]])
    paths = [tmp_path / f"{name}.nii.gz" for name in ("scan", "organs", "supervoxels")]
    for path, array, write in zip(paths, (image, labels, supervoxels), (write_image, *[write_labels] * 2), strict=True):
        write(path, array, Volume.from_array(array, affine))
    ready = prepare_case(Case("scan", "p", *paths[:2]), paths[2], tmp_path / "cache")
    np.testing.assert_array_equal(ready.open()[1], supervoxels.transpose(0, 2, 1))
    assert (ready.index.axis, ready.organs.axis, ready.index.length) == (0, 0, 26)


def test_a_constant_scan_becomes_zero(marked):
    case, supervoxels, cache = marked
    image = np.full(marked_arrays()[0].shape, 7.0, np.float32)
    write_image(case.image, image, Volume.from_array(image, AFFINE))
    assert not prepare_case(case, supervoxels, cache).open()[0].any()


def test_what_is_ready_is_not_read_again_until_a_file_changes(marked, monkeypatch):
    case = marked[0]
    first = prepare_case(*marked)
    with monkeypatch.context() as patched:
        patched.setattr("medfs.fewshot.cases.read_image", None)
        patched.setattr("medfs.fewshot.index.read_labels", None)
        again = prepare_case(*marked)
    assert (again.image_file, again.objects_file) == (first.image_file, first.objects_file)
    np.testing.assert_array_equal(again.affine, first.affine)
    image = marked_arrays(seed=5)[0]
    write_image(case.image, image, Volume.from_array(image, AFFINE))
    changed = prepare_case(*marked)
    assert changed.image_file != first.image_file
    np.testing.assert_allclose(np.corrcoef(changed.open()[0].ravel(), image.T.ravel()), 1, atol=1e-6)
    assert first.open()[0].shape == changed.open()[0].shape


def test_objects_that_are_the_organs_are_known_as_such(marked):
    case, supervoxels, cache = marked
    assert prepare_case(case, case.label, cache).of_organs
    assert not prepare_case(case, supervoxels, cache).of_organs
    assert not prepare_case(replace(case, label=None), case.label, cache).of_organs


@pytest.mark.parametrize("moved", ["supervoxels", "labels"])
@pytest.mark.parametrize("prepared_before", [False, True])
def test_maps_on_another_grid_are_refused_also_when_they_are_moved_later(marked, moved, prepared_before):
    case, supervoxels, _ = marked
    if prepared_before:
        prepare_case(*marked)
    path = supervoxels if moved == "supervoxels" else case.label
    labels = read_labels(path).array
    affine = AFFINE.copy()
    affine[0, 3] = 2.5
    write_labels(path, labels, Volume.from_array(labels, affine))
    with pytest.raises(InputError, match=r"case_0\.nii\.gz.* 2\.5 mm apart"):
        prepare_case(*marked)
    write_labels(path, labels[..., 1:], Volume.from_array(labels[..., 1:], AFFINE))
    with pytest.raises(InputError, match="shapes"):
        prepare_case(*marked)


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, -1, 1, 1])])
def test_a_map_that_says_nothing_of_its_place_only_needs_the_shape(marked, affine):
    supervoxels = marked[1]
    labels = read_labels(supervoxels).array
    write_labels(supervoxels, labels, Volume.from_array(labels, affine))
    assert prepare_case(*marked).index.ids.size


@pytest.mark.parametrize(
    "names",
    [
        ("image_7.nii.gz", "superpix-MIDDLE_7.nii.gz"),
        ("image_7.nii.gz", "image_7.nii.gz"),
        ("image_7.nii.gz", "supervoxels_7.nii"),
        ("a_b.nii.gz", "a_b.mha"),
        ("liver_0000.nii.gz", "liver.nii.gz"),
    ],
)
def test_supervoxels_are_found_by_the_name_of_their_scan(tmp_path, names):
    image, supervoxels = names
    for name in (supervoxels, "image_77.nii.gz", "notes.txt"):
        (tmp_path / name).touch()
    case = Case(image.removesuffix(".nii.gz").removesuffix("_0000"), "p", tmp_path / image)
    lonely = Case("other", "q", tmp_path / "other.nii.gz")
    assert find_objects([case, lonely], tmp_path) == {case.name: tmp_path / supervoxels}


def test_the_name_of_the_scan_itself_comes_first(tmp_path):
    for name in ("image_7.nii.gz", "superpix-MIDDLE_7.nii.gz"):
        (tmp_path / name).touch()
    assert find_objects([Case("image_7", "p", tmp_path / "i.nii")], tmp_path)["image_7"].name == "image_7.nii.gz"
    with pytest.raises(InputError, match="both fit"):
        find_objects([Case("label_7", "p", tmp_path / "i.nii")], tmp_path)


def test_a_folder_without_fitting_supervoxels_is_refused(tmp_path):
    case = Case("image_7", "p", tmp_path / "i.nii")
    with pytest.raises(InputError, match="no such folder"):
        find_objects([case], tmp_path / "none")
    (tmp_path / "image_8.nii.gz").touch()
    with pytest.raises(InputError, match=r"expected e\.g\. image_7\.nii\.gz"):
        find_objects([case], tmp_path)


@pytest.mark.parametrize("part", ["image", "objects", "grid"])
@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "header"])
def test_a_damaged_array_of_the_cache_is_told_of_and_made_again(marked, part, damage):
    first = prepare_case(*marked)
    arrays = [array.copy() for array in first.open()]
    (path,) = first.image_file.parent.glob(f"*.{part}*.npy")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "header":
        content = bytearray(b"\x93NUMPY")
    path.write_bytes({"empty": b"", "half": content[: len(content) // 2]}.get(damage, content))
    with pytest.warns(UserWarning, match=rf"{path.name}: damaged in the cache; made again"):
        again = prepare_case(*marked)
    for found, expected in zip(again.open(), arrays, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(again.affine, first.affine)
