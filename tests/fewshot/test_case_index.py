"""The index against counting voxel by voxel, and what becomes of it when files change."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medfs.errors import InputError, UsageError
from medfs.fewshot import CaseIndex, index_case, write_class_slices
from medfs.io import Volume, write_labels

DTYPES = st.sampled_from([np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64])
SHAPES = array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=7)


@st.composite
def label_maps(draw):
    values = draw(st.sampled_from([[0, 1, 2], [0, 1, 2, 3, 7, 100], [0, 5], [3]]))
    dtype = draw(DTYPES)
    factor = draw(st.sampled_from([1, 1_000_003])) if np.dtype(dtype).itemsize > 2 else 1
    labels = draw(arrays(dtype, SHAPES, elements=st.sampled_from(values))) * np.asarray(factor, dtype)
    return draw(st.sampled_from([np.asfortranarray, np.ascontiguousarray, lambda a: a[::-1]]))(labels)


@given(label_maps(), st.sampled_from([0, 1, 2]))
@settings(max_examples=150, deadline=None)
def test_the_index_is_what_counting_voxel_by_voxel_gives(labels, axis):
    index = CaseIndex.from_labels(labels, axis)
    expected = [int(value) for value in np.unique(labels) if value != 0]
    assert index.ids.tolist() == expected
    assert index.area_table().shape == (len(expected), labels.shape[axis])
    other = tuple({0, 1, 2} - {axis})
    for place, value in enumerate(expected):
        mask = labels == value
        areas = mask.sum(axis=other)
        assert index.areas_of(value).tolist() == areas.tolist() == index.area_table()[place].tolist()
        assert index.volumes[place] == mask.sum()
        where = np.argwhere(mask)
        assert index.boxes[place].tolist() == [where.min(axis=0).tolist(), (where.max(axis=0) + 1).tolist()]
        found = [z for first, end in index.runs(value) for z in range(first, end)]
        assert found == np.flatnonzero(areas).tolist()
        assert all(end < first for (_, end), (first, _) in zip(index.runs(value), index.runs(value)[1:], strict=False))
    assert index.areas_of(0).tolist() == (labels == 0).sum(axis=other).tolist()
    assert index.areas_of(99).sum() == 0


def test_what_is_no_label_map_is_refused():
    with pytest.raises(UsageError, match="float32"):
        CaseIndex.from_labels(np.zeros((2, 2, 2), np.float32))
    with pytest.raises(UsageError, match=r"\(2, 2\)"):
        CaseIndex.from_labels(np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match="-3"):
        CaseIndex.from_labels(np.full((2, 2, 2), -3))


@pytest.fixture
def blocks(tmp_path):
    def write(name="a.nii.gz", labels=None):
        if labels is None:
            labels = np.zeros((6, 5, 4), np.int16)
            labels[:2, :3, 1:3] = 4
            labels[4, 4, 3] = 9
        write_labels(tmp_path / name, labels, Volume.from_array(labels, np.eye(4)))
        return tmp_path / name

    return write


def equal(first, second):
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in CaseIndex.__dataclass_fields__)


def test_an_index_is_kept_and_found_again(blocks, tmp_path, monkeypatch):
    path, cache = blocks(), tmp_path / "cache"
    first = index_case(path, cache)
    assert first.ids.tolist() == [4, 9]
    monkeypatch.setattr(CaseIndex, "from_labels", None)  # whoever counts again fails
    again = index_case(path, cache)
    assert equal(first, again)
    assert again.shape == (6, 5, 4)


def test_a_changed_file_another_axis_and_a_damaged_index_are_counted_anew(blocks, tmp_path):
    path, cache = blocks(), tmp_path / "cache"
    index_case(path, cache)
    assert index_case(path, cache, axis=0).length == 6
    labels = np.zeros((6, 5, 4), np.int16)
    labels[0] = 2
    assert index_case(blocks(labels=labels), cache).ids.tolist() == [2]
    for damage in (lambda b: b[:100], lambda b: b"", lambda b: b[: len(b) // 2] + b"!" + b[len(b) // 2 + 1 :]):
        for file in cache.iterdir():
            file.write_bytes(damage(file.read_bytes()))
        with pytest.warns(UserWarning, match="damaged in the cache; made again"):
            assert index_case(path, cache).ids.tolist() == [2]


def test_an_index_of_another_source_or_format_is_not_taken(blocks, tmp_path):
    index = index_case(blocks())
    index.save(tmp_path / "i.npz", "abc")
    assert equal(CaseIndex.load(tmp_path / "i.npz", "abc"), index)
    assert CaseIndex.load(tmp_path / "i.npz", "xyz") is None
    assert CaseIndex.load(tmp_path / "i.npz", "abc", axis=1) is None
    assert CaseIndex.load(tmp_path / "none.npz", "abc") is None


def test_without_a_cache_nothing_is_written(blocks, tmp_path):
    path = blocks()
    index_case(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_label_map_is_named(tmp_path):
    path = tmp_path / "bad.nii.gz"
    with pytest.raises(InputError, match=r"^bad\.nii\.gz: "):
        index_case(path, tmp_path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"^bad\.nii\.gz: "):
        index_case(path, tmp_path)
    negative = np.full((2, 3, 4), -1, np.int16)
    write_labels(path, negative, Volume.from_array(negative, np.eye(4)))
    with pytest.raises(InputError, match=r"^bad\.nii\.gz: .*-1"):
        index_case(path)


def test_class_slices_have_the_published_form(blocks, tmp_path):
    second = np.zeros((6, 5, 4), np.int16)
    second[..., 0] = 9
    paths = {"7": blocks(), "8": blocks("b.nii.gz", second)}
    write_class_slices(tmp_path / "classmap_1.json", paths, {0: "BG", 4: "LIVER", 9: "SPLEEN"})
    assert json.loads((tmp_path / "classmap_1.json").read_text()) == {
        "BG": {"7": [0, 1, 2, 3], "8": [1, 2, 3]},
        "LIVER": {"7": [1, 2], "8": []},
        "SPLEEN": {"7": [3], "8": [0]},
    }


def test_a_slice_counts_by_the_pixels_of_the_class_and_not_by_what_its_labels_sum_to(blocks, tmp_path):
    paths = {"7": blocks()}
    for fewest, spleen in ((1, [3]), (2, [])):  # one voxel of label 9: its slice sums to 9
        write_class_slices(tmp_path / "map.json", paths, {4: "LIVER", 9: "SPLEEN"}, min_pixels=fewest)
        found = json.loads((tmp_path / "map.json").read_text())
        assert found == {"LIVER": {"7": [1, 2]}, "SPLEEN": {"7": spleen}}
    with pytest.raises(InputError, match="one class name"):
        write_class_slices(tmp_path / "map.json", paths, {4: "LIVER", 9: "LIVER"})
