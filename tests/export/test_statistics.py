"""label_counts, statistics_rows and write_table."""

import csv
from pathlib import Path

import numpy as np
import pytest

from medfs.anatomy import find_organ
from medfs.errors import InputError, UsageError
from medfs.export import label_counts, statistics_rows, write_table
from medfs.export.labels import organs_of

LIVER, SPLEEN = find_organ("liver"), find_organ("spleen")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64])
def test_counts_are_those_of_numpy(dtype: type, order: str):
    labels = np.asarray(np.random.default_rng(0).integers(0, 9, (7, 8, 9)), dtype=dtype, order=order)
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    assert label_counts(labels) == dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_counts_of_views_huge_values_masks_and_nothing():
    labels = np.zeros((4, 5, 6), np.int64)
    labels[1, 2:4, 3] = 2**40
    labels[0, 0, 0] = 3
    assert label_counts(labels.transpose(2, 0, 1)[::-1]) == {3: 1, 2**40: 2}
    assert label_counts(labels > 3) == {1: 2}
    assert label_counts(labels * 0) == {}
    assert label_counts(np.zeros((0, 3, 3), int)) == {}


def test_volumes_are_millilitres_also_on_a_sheared_grid():
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[2:7, 2:6, 2:4] = 1  # 40 voxels
    affine = np.diag([2.0, 1.5, 5, 1])  # 15 mm3
    affine[1, 2] = 1.1  # a shear keeps volumes
    (row,) = statistics_rows(labels, affine, {1: LIVER})
    assert row == {"label": 1, "organ": "liver", "voxels": 40, "volume_ml": 0.6, "touches_border": False}


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_an_organ_at_any_face_touches_the_border(axis: int, end: int):
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[2, 2, 2] = 1
    np.moveaxis(labels, axis, 0)[end, 2, 2] = 2
    rows = statistics_rows(labels, np.eye(4), {1: LIVER, 2: SPLEEN})
    assert [row["touches_border"] for row in rows] == [False, True]


def test_absent_and_unnamed_organs_have_rows():
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1, 1] = 17
    rows = statistics_rows(labels, np.eye(4), {0: find_organ("background"), 1: LIVER})
    assert [(row["label"], row["organ"], row["voxels"]) for row in rows] == [(1, "liver", 0), (17, "label_17", 1)]


def test_a_map_without_voxels_has_rows_of_nothing():
    (row,) = statistics_rows(np.zeros((0, 3, 3), np.uint8), np.eye(4), {1: LIVER})
    assert row == {"label": 1, "organ": "liver", "voxels": 0, "volume_ml": 0.0, "touches_border": False}


def test_made_up_organs_have_distinct_colours():
    organs = organs_of(range(1, 60), {})
    assert len({organ.color for organ in organs.values()}) == 59


def test_what_is_no_label_map_is_refused():
    with pytest.raises(UsageError, match="3 axes of integers"):
        statistics_rows(np.zeros((3, 3, 3)), np.eye(4), {})
    with pytest.raises(InputError, match="-2"):
        statistics_rows(np.full((3, 3, 3), -2), np.eye(4), {})


def test_a_spreadsheet_finds_no_formula(tmp_path: Path):
    texts = ["=1+1", "+1", "-cmd", "@sum", "a=b", 'quote"', "comma,", "leber größe"]
    write_table(tmp_path / "t.csv", [{"case": text, "voxels": -1} for text in texts])
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == [f"'{text}" for text in texts[:4]] + texts[4:]
    assert {row["voxels"] for row in rows} == {"-1"}


def test_control_characters_become_blanks(tmp_path: Path):
    write_table(tmp_path / "t.csv", [{"case": "\r=1"}, {"case": "a\nb\x1b"}])
    assert (tmp_path / "t.csv").read_bytes() == b"case\n' =1\na b \n"


def test_a_table_of_no_rows_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="no rows"):
        write_table(tmp_path / "t.csv", [])
    assert not list(tmp_path.iterdir())
