"""Label sets: known, custom, and as rows of Slicer's colour table."""

import csv
import io
import itertools
import operator

import pytest

from medfs.anatomy import (
    COLOR_TABLE_COLUMNS,
    LabelSet,
    color_table_rows,
    custom_label_set,
    find_organ,
    label_set,
    label_set_names,
    nameless_label_set,
)
from medfs.errors import UsageError

# 3D Slicer developer guide, Colors, "Color table CSV file format": its header and its row of a right kidney.
SLICER_HEADER = (
    "LabelValue,Name,Color_R,Color_G,Color_B,Color_A,Category_CodingScheme,Category_CodeValue,Category_CodeMeaning,"
    "Type_CodingScheme,Type_CodeValue,Type_CodeMeaning,TypeModifier_CodingScheme,TypeModifier_CodeValue,"
    "TypeModifier_CodeMeaning,Region_CodingScheme,Region_CodeValue,Region_CodeMeaning,RegionModifier_CodingScheme,"
    "RegionModifier_CodeValue,RegionModifier_CodeMeaning"
)
SLICER_ROW = (
    "5,right_kidney,185,102,83,255,SCT,123037004,Anatomical Structure,SCT,64033007,Kidney,SCT,24028007,Right,,,,,,"
)


@pytest.mark.parametrize("name", ["AMOS", " Amos ", "amos"])
def test_the_case_of_a_set_name_does_not_matter(name: str) -> None:
    assert label_set(name) is label_set("amos")


def test_a_hyphen_in_a_set_name_is_an_underscore() -> None:
    assert label_set("head-neck") is label_set("head_neck")


def test_an_unknown_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        label_set("btcv13")
    assert "'btcv13'" in str(caught.value)
    assert all(name in str(caught.value) for name in label_set_names())


def test_a_custom_set_keeps_its_order_and_gains_a_background() -> None:
    labels = custom_label_set(["stomach", "RK", "liver"])
    assert labels.names == ("background", "stomach", "right_kidney", "liver")
    assert len(labels) == 4


def test_a_custom_set_with_a_background_in_front_keeps_it() -> None:
    assert custom_label_set(["background", "liver"]) == custom_label_set(["liver"])


def test_no_names_give_the_background_alone_and_no_rows() -> None:
    labels = custom_label_set([])
    assert labels.names == ("background",)
    assert color_table_rows(labels) == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["liver", "RK", "kidney_right"], "two names mean right_kidney"),
        (["liver", "background"], "always value 0"),
        (["background", "bg", "liver"], "always value 0"),
        (["liver", "kidney"], "ambiguous"),
        (["liver", "livr"], "nearest known: liver"),
        ("liver", "expected a list of names"),
    ],
)
def test_a_wrong_list_of_names_is_refused(names, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        custom_label_set(names)


def test_a_set_without_a_background_in_front_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="background"):
        LabelSet("odd", (find_organ("liver"),))
    with pytest.raises(ValueError, match="background"):
        LabelSet("empty", ())


def test_a_set_with_a_structure_twice_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="twice"):
        LabelSet("odd", (find_organ("background"), find_organ("liver"), find_organ("liver")))


def test_the_colour_table_is_byte_for_byte_the_one_of_slicers_guide() -> None:
    labels = custom_label_set(["liver", "spleen", "aorta", "pancreas", "right kidney"])
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLOR_TABLE_COLUMNS)
    writer.writerows(color_table_rows(labels))
    lines = stream.getvalue().split("\n")
    assert lines[0] == SLICER_HEADER
    assert lines[5] == SLICER_ROW
    assert lines[6:] == [""]


@pytest.mark.parametrize("name", label_set_names())
def test_a_colour_table_has_one_full_row_per_label(name: str) -> None:
    labels = label_set(name)
    rows = color_table_rows(labels)
    assert [int(row[0]) for row in rows] == list(range(1, len(labels)))
    assert [row[1] for row in rows] == list(labels.names[1:])
    assert all(len(row) == len(COLOR_TABLE_COLUMNS) and '"' not in "".join(row) for row in rows)


def test_a_region_narrows_the_two_classes_that_have_no_code_of_their_own() -> None:
    row = dict(zip(COLOR_TABLE_COLUMNS, color_table_rows(custom_label_set(["prostate/uterus"]))[0], strict=True))
    assert (row["Type_CodeMeaning"], row["Region_CodeMeaning"]) == ("Genital structure", "Pelvis")
    row = dict(zip(COLOR_TABLE_COLUMNS, color_table_rows(label_set("cmr"))[0], strict=True))
    assert (row["Type_CodeMeaning"], row["Region_CodeMeaning"]) == ("Myocardium", "Left ventricle of heart")


def test_organs_without_a_name_have_colours_that_can_be_told_apart():
    nameless = nameless_label_set(12)
    assert nameless.names == ("background", *(f"organ_{value}" for value in range(1, 13)))
    colors = [organ.color for organ in nameless.organs[1:]]
    distances = [sum(map(abs, map(operator.sub, *pair))) for pair in itertools.combinations(colors, 2)]
    assert min(distances) > 25
