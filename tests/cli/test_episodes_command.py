"""``medfs episodes``: what it counts, what it draws, and how it ends."""

import numpy as np
import pytest
from marked_cases import write_marked
from PIL import Image

from medfs.errors import ExitCode

SMALL = ("--min-pixels", 6)


@pytest.fixture
def data(tmp_path):
    write_marked(tmp_path / "data", 4)
    return tmp_path / "data"


def rows(out):
    """Numbers of each line of the table by its first word."""
    lines = [line.split() for line in out.splitlines()]
    return {line[0]: list(map(int, line[1:])) for line in lines[1:] if len(line) == 6}


def fails(outcome, code, said):
    assert outcome.code == code
    line = outcome.err.splitlines()[-1]
    assert line.startswith("medfs: ")
    assert said in line
    assert "Traceback" not in outcome.err


def test_it_counts_what_can_be_drawn(medfs, data):
    code, out, err = medfs("episodes", data, *SMALL)
    assert code == ExitCode.OK
    assert err.splitlines() == ["4 cases; preparing ..."]
    assert out.splitlines()[0].split() == ["case", "slices", "seen", "objects", "usable", "windows"]
    table = rows(out)
    assert list(table) == ["case_0", "case_1", "case_2", "case_3", "all"]
    assert table["case_0"][:2] == [26, 26]
    assert np.sum([table[f"case_{n}"] for n in range(4)], axis=0).tolist() == table["all"]
    assert table["all"][4] > 0
    assert not [path for path in data.rglob("*") if path.suffix == ".npy"]


def test_an_exclusion_is_counted(medfs, data):
    some = rows(medfs("episodes", data, *SMALL, "--exclude", "liver, spleen", "--labels", "liver,spleen,LK").out)
    most = rows(
        medfs(
            *("episodes", data, *SMALL, "--exclude", "liver,spleen", "--labels", "liver,spleen,LK", "--policy", "all")
        ).out
    )
    every = rows(medfs("episodes", data, *SMALL).out)
    assert [table["case_0"][1] for table in (some, most, every)] == [16, 23, 26]
    assert some["all"][4] < most["all"][4] < every["all"][4]


@pytest.mark.parametrize("mode", ["slice", "two_view", "slab", "volume", "across_patients"])
def test_every_mode_is_drawn(medfs, data, tmp_path, mode):
    page = tmp_path / "page.png"
    options = ("--labels", "liver,spleen,LK") if mode == "across_patients" else ()
    code, out, _ = medfs("episodes", data, *SMALL, "--mode", mode, *options, "--preview", page, "--count", 3)
    assert code == ExitCode.OK
    assert out.splitlines()[-1] == f"{page}: 3 episodes"
    picture = np.asarray(Image.open(page).convert("RGB")).astype(int)
    for color in ((0x35, 0xC8, 0xFF), (0xFF, 0xB0, 0x00)):
        assert (np.abs(picture - color).sum(axis=-1) < 60).sum() > 20


def test_the_page_is_the_same_for_the_same_seed(medfs, data, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        medfs("episodes", data, *SMALL, "--preview", tmp_path / f"{name}.png", "--seed", seed, "--count", 2)
    first, again, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == again != other


def test_a_cache_is_kept_where_it_is_wanted_and_used_again(medfs, data, tmp_path, monkeypatch):
    first = medfs("episodes", data, *SMALL, "--cache", tmp_path / "cache")
    monkeypatch.setattr("medfs.fewshot.cases.read_image", None)
    again = medfs("episodes", data, *SMALL, "--cache", tmp_path / "cache")
    assert (again.code, again.out) == (first.code, first.out)


def test_a_bad_case_is_named_and_the_others_are_counted(medfs, data):
    (data / "images" / "case_1.nii.gz").write_bytes(b"no scan")
    (data / "supervoxels" / "case_2.nii.gz").unlink()
    code, out, err = medfs("episodes", data, *SMALL)
    assert code == ExitCode.SOME_FAILED
    assert list(rows(out)) == ["case_0", "case_3", "all"]
    first, second = err.splitlines()[1:]
    assert first.startswith("left out: case_1.nii.gz: ")
    assert second == "left out: case_2: has no supervoxels"


def test_a_case_without_a_label_map_is_left_out_only_where_one_is_needed(medfs, data):
    (data / "labels" / "case_0.nii.gz").unlink()
    assert medfs("episodes", data, *SMALL).code == ExitCode.OK
    code, out, err = medfs("episodes", data, *SMALL, "--exclude", "liver", "--labels", "liver")
    assert code == ExitCode.SOME_FAILED
    assert "case_0" not in out
    assert err.splitlines()[-1] == "left out: case_0: has no label map"


def test_when_no_case_can_be_used_it_ends_so(medfs, data):
    for path in (data / "images").iterdir():
        path.write_bytes(b"no scan")
    fails(medfs("episodes", data), ExitCode.NOTHING_DONE, "none of 4 cases can be used")


def test_where_supervoxels_are_missing_it_says_how_to_make_them(medfs, data):
    (data / "supervoxels").rename(data / "supervoxels_1000")
    assert medfs("episodes", data, *SMALL).code == ExitCode.OK
    (data / "supervoxels_5000").mkdir()
    fails(medfs("episodes", data), ExitCode.USAGE, "supervoxels_1000, supervoxels_5000; name one with --supervoxels")
    assert medfs("episodes", data, *SMALL, "--supervoxels", data / "supervoxels_1000").code == ExitCode.OK
    for name in ("supervoxels_1000", "supervoxels_5000"):
        (data / name).rename(data / f"no_{name}")
    fails(medfs("episodes", data), ExitCode.USAGE, f"`medfs supervoxels {data / 'images'} -o {data / 'supervoxels'}`")


def test_wrong_calls_are_one_line(medfs, data, tmp_path):
    fails(medfs("episodes", tmp_path / "none"), ExitCode.SOME_FAILED, "no dataset")
    fails(medfs("episodes", data, "--exclude", "liver"), ExitCode.USAGE, "say with --labels")
    fails(medfs("episodes", data, "--mode", "across_patients"), ExitCode.USAGE, "say with --labels")
    fails(medfs("episodes", data, "--exclude", "aorta", "--labels", "chaos"), ExitCode.USAGE, "--exclude aorta")
    fails(medfs("episodes", data, "--depth", 2), ExitCode.USAGE, "takes single slices")
    fails(medfs("episodes", data, "--mode", "slab", "--depth", 0), ExitCode.USAGE, "expected whole numbers above 0")
    fails(medfs("episodes", data, "--min-pixels", 9999), ExitCode.USAGE, "no episode possible: 4 cases")
    fails(medfs("episodes", data, "--preview", tmp_path / "a.jpg"), ExitCode.USAGE, "ending in .png")
    fails(medfs("episodes", data, "--count", 0), ExitCode.USAGE, "at least 1")
    fails(medfs("episodes", data, *SMALL, "--preview", tmp_path / "no" / "a.png"), ExitCode.STORAGE, "a.png")
    fails(medfs("episodes", data, "--seed", -1), ExitCode.USAGE, "seed -1")
