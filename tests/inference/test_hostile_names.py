"""Files with hostile names: every output stays in its folder, every table and page can be read back."""

import csv
import io
import json
import os
import re
import urllib.parse
from html.parser import HTMLParser

import nrrd
import pytest
from folder_runs import Threshold, make_scans, segment_folder

from medfs.errors import ExitCode
from medfs.export.report import write_table
from medfs.inference.page import write_run_page
from medfs.inference.records import CaseRecord
from medfs.io import case_name
from medfs.io.names import is_safe, safe_name, shown

NAMES = [
    "..%2f..%2fescape",
    "..",
    "...",
    ".hidden",
    "a;touch canary",
    "$(touch canary)",
    "`touch canary`",
    "a|b & c",
    "-rf",
    "--output=x",
    "=cmd|' C calc'!A0",
    "+1+1",
    "@SUM(1)",
    "<script>alert(1)",
    '"><img src=x onerror=alert(1)>',
    "&lt;b&gt; &amp;",
    "]]><!--",
    "\x1b[31mred\x1b[0m",
    "two\nmedfs: all is well",
    "tab\tand\rreturn",
    "right\u202eleft",
    "zero\u200bwidth",
    "ümläut \U0001f9e0",
    "{{ 7 * 7 }} {% raw %}",
    "%s%n%x",
    "CON",
    "x" * 190,
    "name with 'quotes'",
]


class Texts(HTMLParser):
    """Text and tags of a page."""

    def __init__(self):
        super().__init__()
        self.texts, self.tags, self.attributes = [], set(), []

    def handle_data(self, data):
        self.texts.append(data)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [name for name, _ in attrs]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run over scans of these names, as many as a file can have."""
    folder = tmp_path_factory.mktemp("hostile")
    scan = next(make_scans(folder / "one", 1).iterdir()).read_bytes()
    scans = folder / "scans"
    scans.mkdir()
    for name in NAMES:
        if not name.startswith("."):  # hidden ones are not taken from a folder
            (scans / f"{name}.nii.gz").write_bytes(scan if name != "+1+1" else b"no scan")
    before = {path for path in folder.rglob("*") if "scans" not in path.parts}
    options = {"page": True, "slicer": True, "statistics": True}
    code = segment_folder(scans, folder / "deep" / "out", segment=Threshold(), **options)
    return scans, folder, before, code


def test_there_are_enough_of_them():
    assert len(set(NAMES)) >= 25


def test_every_output_lies_in_the_output_folder_under_a_harmless_name(done):
    scans, folder, before, code = done
    assert code is ExitCode.SOME_FAILED
    output = folder / "deep" / "out"
    new = {path for path in folder.rglob("*") if "scans" not in path.parts} - before - {output, output.parent}
    assert {path.parent for path in new} == {output}
    assert all(re.fullmatch(r"[A-Za-z0-9%_][A-Za-z0-9%._-]{1,254}", path.name) for path in new)
    assert len([path for path in new if path.name.endswith("_seg.nii.gz")]) == len(list(scans.iterdir())) - 1
    assert not os.path.exists("canary")


def test_a_case_name_gives_the_file_name_back(done):
    for path in done[0].iterdir():
        assert urllib.parse.unquote(case_name(path)) == path.name.removesuffix(".nii.gz")


def test_the_page_shows_the_names_and_holds_nothing_else(done):
    scans, folder = done[:2]
    page = Texts()
    page.feed((folder / "deep" / "out" / "report.html").read_text())
    for path in scans.iterdir():
        assert case_name(path) in page.texts
    assert not {"script", "iframe", "object"} & page.tags
    assert not [name for name in page.attributes if name.startswith("on")]


def test_tables_hold_no_formula_and_reports_no_control_characters(done):
    scans, folder = done[:2]
    for name in ("report.csv", "statistics.csv"):
        text = (folder / "deep" / "out" / name).read_text()
        rows = list(csv.DictReader(io.StringIO(text)))
        assert {row["case"].lstrip("'") for row in rows} <= {case_name(path) for path in scans.iterdir()}
        assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    for name in ("report.csv", "report.json", "report.jsonl", "report.html", "statistics.csv"):
        assert not set((folder / "deep" / "out" / name).read_text()) & set("\x1b\r\t\u202e")
    report = json.loads((folder / "deep" / "out" / "report.json").read_text())
    assert {row["input"] for row in report["cases"]} == {str(path) for path in scans.iterdir()}


def test_the_files_for_slicer_can_be_read_back(done):
    files = list((done[1] / "deep" / "out").glob("*.seg.nrrd"))
    assert len(files) > 20
    for path in files:
        assert nrrd.read_header(str(path))["Segment0_Name"] == "Liver"


@pytest.mark.parametrize("name", [name for name in NAMES if name.strip(".")])
def test_names_and_messages_come_back_from_page_and_table(tmp_path, name):
    record = CaseRecord(safe_name(name), "failed", "", 0.0, error=f"{shown(name)}: {name}")
    write_run_page(tmp_path, [record], [])
    page = Texts()
    page.feed((tmp_path / "report.html").read_text())
    assert record.case in page.texts
    assert any(text.replace("\r", "\n") == record.error.replace("\r", "\n") for text in page.texts)
    assert "img" not in page.tags
    write_table(tmp_path / "t.csv", [{"case": name}])
    ((cell,),) = list(csv.reader((tmp_path / "t.csv").open(newline="")))[1:]
    assert cell.removeprefix("'") == "".join(c if c.isprintable() else " " for c in name).removeprefix("'")
    assert not cell.startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("name", ["-rf", "--output=x", "-"])
def test_no_name_looks_like_an_option_of_another_program(name):
    assert safe_name(name).startswith("%2D")
    assert urllib.parse.unquote(safe_name(name)) == name
    assert not is_safe(name)
