"""Texts of organs: from the table, from a user's file, divided where they are too long."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfs.anatomy import find_organ, label_set
from medfs.errors import InputError, UsageError
from medfs.text.prompts import organ_texts, prior_names, read_texts, split_text


def test_the_names_of_a_label_set_are_its_own():
    assert prior_names("amos") == label_set("amos").names


def test_organs_are_found_by_synonym_and_background_comes_first():
    assert prior_names(" spleen,right kidney ,LIVER") == ("background", "spleen", "right_kidney", "liver")


def test_all_names_hold_those_of_every_label_set():
    assert set(label_set("amos").names) < set(prior_names("all"))
    assert prior_names("all")[0] == "background"


def test_without_labels_the_names_are_those_of_the_own_texts():
    assert prior_names(None, {"tumour": {}, "liver": {}}) == ("background", "tumour", "liver")


def test_an_own_organ_may_stand_beside_known_ones():
    assert prior_names("liver,tumour", {"tumour": {}}) == ("background", "liver", "tumour")


@pytest.mark.parametrize("labels", ["", " , ", None])
def test_no_names_at_all_is_refused(labels):
    with pytest.raises(UsageError, match="no names"):
        prior_names(labels)


def test_an_unknown_organ_is_refused():
    with pytest.raises(UsageError, match="livre"):
        prior_names("spleen,livre")


def test_texts_come_from_the_table_unless_there_are_own_ones():
    texts = organ_texts(("liver", "spleen"), own={"spleen": {"location": "On the left."}})
    assert texts[0] == (find_organ("liver").shape, find_organ("liver").location)
    assert texts[1] == (find_organ("spleen").shape, "On the left.")


def test_own_texts_for_a_name_or_kind_that_is_not_asked_for_are_refused():
    with pytest.raises(UsageError, match="'spleen' is not among the names"):
        organ_texts(("liver",), own={"spleen": {"shape": "A wedge."}})
    with pytest.raises(UsageError, match="liver has a 'locaton' text"):
        organ_texts(("liver",), own={"liver": {"locaton": "Right."}})


def test_a_kind_that_the_table_lacks_must_be_written():
    assert organ_texts(("liver",), ("texture",), {"liver": {"texture": "Even."}}) == (("Even.",),)
    with pytest.raises(UsageError, match="liver: no texture text"):
        organ_texts(("liver",), ("texture",))


def test_an_organ_of_the_users_own_needs_every_text():
    own = {"tumour": {"shape": "Round.", "location": "Anywhere."}}
    assert organ_texts(("tumour",), own=own) == (("Round.", "Anywhere."),)
    with pytest.raises(UsageError, match="tumour"):
        organ_texts(("tumour",), own={"tumour": {"shape": "Round."}})


def test_json_and_csv_give_the_same_texts(tmp_path: Path):
    texts = {"liver": {"shape": "Large, and\nsmooth.", "location": "Right."}, "tumour": {"shape": "Größe."}}
    as_json, as_csv = tmp_path / "texts.json", tmp_path / "texts.csv"
    as_json.write_text(json.dumps(texts), encoding="utf-8")
    content = 'name,shape,location\nhepar,"Large, and\nsmooth.",Right.\ntumour,Größe.,\n'
    as_csv.write_text(content, encoding="utf-8-sig")
    assert read_texts(as_json) == read_texts(as_csv) == texts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "expected JSON"),
        ("a.json", '["liver"]', "expected JSON"),
        ("a.json", '{"liver": "large"}', "expected JSON"),
        ("a.json", '{"liver": {"shape": 3}}', "expected JSON"),
        ("a.json", '{"liver": {"shape": ["a"]}}', "expected JSON"),
        ("a.json", '{"liver": {}, "liver": {}}', "liver is there twice"),
        ("a.json", '{"liver": {}, "hepar": {}}', "liver is there twice"),
        ("a.csv", "organ,shape\nliver,a\n", "no column 'name'"),
        ("a.csv", "name,shape\nliver,a,b\n", "liver: expected as many cells"),
        ("a.csv", "name,shape,location\nliver,a\n", "liver: expected as many cells"),
        ("a.csv", 'name,shape\nliver,"a', "expected comma-separated"),
        ("a.csv", "name,shape\nliver,a\nliver,b\n", "liver is there twice"),
        ("a.csv", "", "no column 'name'"),
    ],
)
def test_a_malformed_file_of_texts_is_refused(tmp_path: Path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}.*{message}"):
        read_texts(tmp_path / name)


def test_a_missing_or_binary_file_of_texts_is_refused(tmp_path: Path):
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name in ("binary.json", "missing.json"):
        with pytest.raises(InputError, match="cannot be read"):
            read_texts(tmp_path / name)


def test_a_text_that_fits_stays_whole():
    assert split_text("  One. Two.  ", lambda piece: True) == ["One. Two."]


def test_a_long_text_becomes_its_sentences():
    text = "It is round, e.g. a fist. Is it flat? It lies there! 2 of them."
    pieces = split_text(text, lambda piece: len(piece) <= 26)
    assert pieces == ["It is round, e.g. a fist.", "Is it flat?", "It lies there!", "2 of them."]


def test_a_long_sentence_is_filled_up_by_clauses_then_words_then_characters():
    assert split_text("aa, bb, cc; ddd", lambda piece: len(piece) <= 8) == ["aa, bb,", "cc; ddd"]
    assert split_text("aa bb cc dd", lambda piece: len(piece) <= 5) == ["aa bb", "cc dd"]
    assert split_text("abcdefgh", lambda piece: len(piece) <= 3) == ["abc", "def", "gh"]


def test_a_limit_below_one_character_is_refused():
    with pytest.raises(UsageError, match="larger token limit"):
        split_text("abc", lambda piece: False)


@given(st.text(alphabet="ab ,.;!AB", max_size=60), st.integers(1, 20))
def test_every_piece_fits_and_no_character_is_lost(text, limit):
    pieces = split_text(text, lambda piece: len(piece) <= limit)
    assert all(len(piece) <= limit for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())
