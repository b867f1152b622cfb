"""A case name is safe wherever it is put: in a path, a table, a page, a terminal."""

import os
import re
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfs.errors import InputError
from medfs.io import case_name, unique_case_names
from medfs.io.names import is_safe, shown, stem, volume_suffix

HOSTILE = [
    "a;$(reboot).nii.gz",
    "=HYPERLINK(1).nii",
    "+1.nii",
    "-rf.nii",
    "@SUM.nii",
    "<img src=x onerror=alert(1)>.nii.gz",
    "\x1b[31mred.nii.gz",
    "two\nlines.nii.gz",
    "tab\there.nii.gz",
    "\u202egnp.nii.gz",
    "K\u00f6rper \u8085\u81df.nii.gz",
    "quote\"and'.nii.gz",
    "back\\slash.nii.gz",
    "per%41cent.nii.gz",
    "..%2f..%2fetc.nii.gz",
    ".hidden.nii.gz",
    "C:evil.nii.gz",
    "null\0byte.nii.gz",
    b"\xff\xfe.nii.gz".decode("utf-8", "surrogateescape"),
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_percent_encoded_and_decode_to_themselves(name):
    safe = case_name(name)
    assert re.fullmatch(r"[A-Za-z0-9_%-][A-Za-z0-9._%-]*", safe)
    assert os.fsdecode(urllib.parse.unquote_to_bytes(safe)) + volume_suffix(name) == name
    assert shown(name).isprintable()


@given(st.text(min_size=1, max_size=16))
def test_different_names_stay_different(text):
    name = text.replace("/", "_") + ".nii.gz"
    try:
        safe = stem(name)
    except InputError:
        assert not text.replace("/", "_").strip(".")
    else:
        assert is_safe(safe)
        assert urllib.parse.unquote_to_bytes(safe) == os.fsencode(text.replace("/", "_"))


@pytest.mark.parametrize("name", [".nii.gz", "..nii.gz", "...nii.gz", "", "/", "x" * 250 + ".nii.gz", "\u8085" * 70])
def test_names_that_name_nothing_are_refused(name):
    with pytest.raises(InputError):
        case_name(name)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/../x/liver_012.nii.gz", "liver_012"),
        ("liver_012_0000.nii.gz", "liver_012"),
        ("liver_0001.nii.gz", "liver_0001"),
        ("_0000.nii.gz", "_0000"),
        ("a.b.c.nii", "a.b.c"),
        ("scan.MHA", "scan"),
        ("scan.seg.nrrd", "scan"),
        ("wm.mgz", "wm"),
        ("pair.img", "pair"),
        ("study.dcm", "study.dcm"),
    ],
)
def test_known_suffixes_and_the_first_channel_mark_are_dropped(path, name):
    assert case_name(path) == name


@pytest.mark.parametrize(
    "pair", [("a.nii", "a.nii.gz"), ("A.nii.gz", "a.nii.gz"), ("x/a.nii", "y/a.nii"), ("a.nii", "a_0000.nii")]
)
def test_names_that_would_overwrite_each_other_are_all_listed(pair):
    with pytest.raises(InputError, match=r"equal case names") as caught:
        unique_case_names([*pair, "fine.nii", "b.nii", "b.mha"])
    assert f"{os.path.basename(pair[0])} and {os.path.basename(pair[1])}, b.nii and b.mha" in str(caught.value)
    assert "fine" not in str(caught.value)


def test_distinct_names_keep_their_order():
    assert list(unique_case_names(["b.nii", "a.nii"])) == ["b", "a"]
