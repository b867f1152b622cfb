"""Splits are by patient, the same everywhere, nested, and without leaks."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import nifti_bytes as nb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfs.errors import InputError, StorageError, UsageError
from medfs.io import Case, Split, make_split
from medfs.io.splits import PARTS, draw_labelled, require_distinct_voxels, split_from_datalist

ROOT = Path("/data")


def make_cases(labelled=20, unlabelled=5, scans=1):
    names = [f"p{i:02d}" for i in range(labelled + unlabelled)]
    return [
        Case(f"{p}_{s}", p, ROOT / f"images/{p}_{s}.nii", ROOT / f"labels/{p}_{s}.nii" if i < labelled else None)
        for i, p in enumerate(names)
        for s in range(scans)
    ]


def names(cases):
    return {case.name for case in cases}


def patients(cases):
    return {case.patient for case in cases}


@given(st.integers(), st.integers(0, 5), st.integers(0, 5), st.integers(1, 5), st.integers(1, 3), st.randoms())
def test_any_split_is_disjoint_by_patient_and_loses_nothing(seed, validation, test, labelled, scans, random):
    cases = make_cases(15, 4, scans)
    counts = {"validation": validation, "test": test, "labelled": labelled}
    split = make_split(cases, seed=seed, **counts)
    for part, count in counts.items():
        assert len(patients(split.cases(part))) == count
        assert all(case.label for case in split.cases(part))
    groups = [patients(split.cases(part)) for part in PARTS]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 19
    assert sum(len(split.cases(part)) for part in PARTS) == len(cases)
    assert all(case.label is None for case in split.unlabelled)
    random.shuffle(cases)
    assert make_split(cases, seed=seed, **counts) == split


def test_fewer_labelled_are_a_subset_of_more():
    cases = make_cases()
    splits = [make_split(cases, labelled=n, validation=3, test=4, seed=7) for n in (1, 4, 10, 13)]
    splits.append(make_split(cases, validation=3, test=4, seed=7))
    for small, large in pairwise(splits):
        assert names(small.labelled) <= names(large.labelled)
        assert small.validation == large.validation
        assert small.test == large.test
        assert names(small.labelled + small.unlabelled) == names(large.labelled + large.unlabelled)
    assert splits[-1] == splits[-2]


def test_patients_are_ordered_by_hash_for_good():
    # `printf '0\0p00' | sha256sum` and so on sort as p00 p04 p05 p01 p03 p02; this must never change, on any machine.
    split = make_split(make_cases(6, 0), labelled=2, validation=1, test=1, seed=0)
    in_order = [case.patient for part in ("test", "validation", "labelled", "unlabelled") for case in split.cases(part)]
    assert in_order == ["p00", "p04", "p05", "p01", "p03", "p02"]


def test_another_seed_is_another_split():
    assert len({make_split(make_cases(), labelled=4, validation=3, test=4, seed=s).sha256 for s in range(20)}) == 20


def test_test_patients_do_not_depend_on_the_other_counts():
    cases = make_cases()
    test = make_split(cases, labelled=4, validation=3, test=4, seed=1).test
    assert make_split(cases, labelled=9, validation=0, test=4, seed=1).test == test


def test_unlabelled_scans_of_held_out_patients_are_in_no_part():
    cases = [replace(c, label=None) if c.name.endswith("_1") else c for c in make_cases(10, 0, scans=2)]
    split = make_split(cases, labelled=3, validation=2, test=2, seed=0)
    assert len(split.labelled) == 3
    assert len(split.unlabelled) == 3 * 2 + 3
    held_out = patients(split.validation + split.test)
    assert not held_out & patients(split.unlabelled)


@pytest.mark.parametrize(
    "counts",
    [
        {"labelled": 14, "validation": 3, "test": 4},
        {"validation": 16, "test": 4},
        {"labelled": 0, "validation": 1, "test": 1},
        {"labelled": 4, "validation": -1, "test": 1},
    ],
)
def test_impossible_counts_are_refused(counts):
    with pytest.raises(UsageError, match="20 patients with labels"):
        make_split(make_cases(), seed=0, **counts)


def test_a_split_file_comes_back_and_moves_with_its_data(tmp_path):
    cases = [replace(c, image=tmp_path / "d" / c.image.name, label=c.label and tmp_path / "d/l" / c.label.name)
             for c in make_cases()]  # fmt: skip
    split = make_split(cases, labelled=4, validation=3, test=4, seed=3)
    split.write(tmp_path / "split.json")
    assert Split.read(tmp_path / "split.json") == split
    content = json.loads((tmp_path / "split.json").read_text())
    assert content["sha256"] == split.sha256
    assert content["labelled"][0]["image"].startswith("d/p")
    (tmp_path / "new").mkdir()
    shutil.move(tmp_path / "split.json", tmp_path / "new/split.json")
    moved = Split.read(tmp_path / "new/split.json")
    assert moved.sha256 == split.sha256
    assert moved.test[0].image == tmp_path / "new/d" / split.test[0].image.name


def test_a_split_file_that_was_edited_is_refused(tmp_path):
    split = make_split(make_cases(), labelled=4, validation=3, test=4, seed=3)
    path = tmp_path / "split.json"

    def edited(change):
        split.write(path)
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"^split\.json: ") as caught:
            Split.read(path)
        return str(caught.value)

    assert "hash" in edited(lambda c: c["test"].pop())
    assert "hash" in edited(lambda c: c.update(seed=4))
    assert "share patient" in edited(lambda c: c["test"].append(dict(c["unlabelled"][0], case="x", label="l.nii")))
    assert "comes 2 times" in edited(lambda c: c["test"].append(c["test"][0]))
    assert "incomplete" in edited(lambda c: c.pop("validation"))
    assert "incomplete" in edited(lambda c: c["test"][0].pop("image"))
    assert "incomplete" in edited(lambda c: c.update(test=[1, 2]))
    assert "no medfs split" in edited(lambda c: c.pop("format"))


def test_a_split_that_cannot_be_written_is_a_storage_error(tmp_path):
    split = make_split(make_cases(), labelled=4, validation=3, test=4, seed=3)
    with pytest.raises(StorageError):
        split.write(tmp_path / "none/split.json")


def test_leaks_are_refused_by_construction():
    a, b = make_cases(2, 0)
    with pytest.raises(InputError, match=r"p00_0 \(training\) and b \(test\) share patient p00"):
        Split((a,), (), (), (replace(b, name="b", patient="p00"),))
    with pytest.raises(InputError, match=r"p00_0 \(training\) and p01_0 \(validation\) share image /data"):
        Split((), (replace(a, label=None),), (replace(b, image=a.image),), ())
    with pytest.raises(InputError, match="the case name p00_0 comes 2 times"):
        Split((a,), (), (), (replace(b, name="P00_0"),))
    with pytest.raises(InputError, match="p01_0 is in test without a label"):
        Split((a,), (), (), (replace(b, label=None),))


@pytest.mark.parametrize("copy", [lambda a: a, lambda a: a[::-1], lambda a: a.transpose(2, 0, 1), lambda a: a[:, ::-1]])
def test_a_renamed_or_turned_copy_is_found_by_its_voxels(tmp_path, copy):
    array = nb.voxels((5, 4, 3), "f4")
    images = [
        nb.write_nifti(tmp_path / "a.nii.gz", array),
        nb.write_nifti(tmp_path / "b.nii.gz", np.ascontiguousarray(copy(array))),
        nb.write_nifti(tmp_path / "c.nii.gz", array + 1),
    ]
    a, b, c = (Case(p.name[0], p.name[0], p, p) for p in images)
    require_distinct_voxels(Split((a, b), (), (), (c,)).uses)
    with pytest.raises(InputError, match=r"a \(training\) and b \(test\) share voxels"):
        require_distinct_voxels(Split((a,), (), (), (b, c)).uses)


def test_items_are_what_monai_takes():
    split = make_split(make_cases(), labelled=4, validation=3, test=4, seed=0)
    assert all(set(item) == {"image", "label", "case"} for item in split.items("labelled"))
    assert all(set(item) == {"image", "case"} for item in split.items("unlabelled"))
    with pytest.raises(UsageError, match="expected one of labelled, unlabelled, validation, test"):
        split.items("train")


def test_a_datalist_states_its_own_split(tmp_path):
    for name in ("a", "b", "c", "d", "e", "l"):
        (tmp_path / f"{name}.nii").touch()
    content = {
        "training": [{"image": "a.nii", "label": "l.nii"}, {"image": "b.nii"}],
        "validation": [{"image": "c.nii", "label": "l.nii"}],
        "test": [{"image": "d.nii", "label": "l.nii"}, "e.nii"],
    }
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(content))
    split = split_from_datalist(path)
    assert [[case.name for case in split.cases(part)] for part in PARTS] == [["a"], ["b"], ["c"], ["d"]]
    content["test"][0]["patient"] = "a"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"datalist\.json: split: a \(training\) and d \(test\) share patient a"):
        split_from_datalist(path)


@given(st.integers(0, 50), st.integers(1, 8))
def test_another_draw_keeps_who_is_tested_and_fewer_labels_are_among_more(seed: int, labelled: int):
    fixed = make_split(make_cases(scans=2), validation=3, test=4)
    few, more = (draw_labelled(fixed, number, seed) for number in (labelled, labelled + 1))
    assert (few.test, few.validation) == (fixed.test, fixed.validation)
    assert len({case.patient for case in few.labelled}) == labelled
    assert set(few.labelled) < set(more.labelled)
    names = [{case.name for case in split.labelled + split.unlabelled} for split in (fixed, few, more)]
    assert names[0] == names[1] == names[2]
    assert all(case.label is None for case in few.unlabelled)


def test_two_seeds_draw_different_patients():
    fixed = make_split(make_cases(), validation=3, test=4)
    assert draw_labelled(fixed, 4, 0).labelled != draw_labelled(fixed, 4, 1).labelled
    assert set(draw_labelled(fixed, None, 1).labelled) == set(fixed.labelled)


@pytest.mark.parametrize("labelled", [0, 14])
def test_a_draw_of_more_than_there_are_is_refused(labelled: int):
    with pytest.raises(UsageError, match="to the 13 patients"):
        draw_labelled(make_split(make_cases(), validation=3, test=4), labelled, 0)
