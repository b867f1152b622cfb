"""A folder run that is killed anywhere and called again ends with the same bytes."""

import json
import os
import random
import signal
import time

import pytest
from folder_runs import (
    POINTS,
    Threshold,
    ended,
    forked,
    make_scans,
    results,
    run_killed_at,
    segment_folder,
)

from medfs.errors import ExitCode

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return make_scans(tmp_path_factory.mktemp("data") / "scans", 4)


@pytest.fixture(scope="module")
def clean(scans, tmp_path_factory):
    output = tmp_path_factory.mktemp("clean")
    assert segment_folder(scans, output) is ExitCode.OK
    return results(output)


def whole(files):
    return {name: content for name, content in files.items() if name in ("report.json", "report.csv")}


@pytest.mark.parametrize("occurrence", [1, 3])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point_it_goes_on_to_the_same_bytes(scans, clean, tmp_path, point, occurrence):
    if point == "between_reports":
        occurrence = 1
    assert run_killed_at(point, occurrence, lambda: segment_folder(scans, tmp_path)) == -signal.SIGKILL
    left = results(tmp_path)
    assert all(clean[name] == content for name, content in left.items())  # nothing half-written has a final name
    calls = tmp_path / ".medfs-calls"
    assert segment_folder(scans, tmp_path, segment=Threshold(calls)) is ExitCode.OK
    assert results(tmp_path) == clean
    assert not list(tmp_path.glob(".medfs-claim-*"))


def test_what_was_done_before_the_kill_is_not_done_again(scans, tmp_path):
    run_killed_at("segmented", 3, lambda: segment_folder(scans, tmp_path))
    calls = tmp_path / ".medfs-calls"
    segment_folder(scans, tmp_path, segment=Threshold(calls))
    assert calls.read_text().split() == ["c02.nii.gz", "c03.nii.gz"]


def test_a_final_report_never_tells_of_a_run_that_did_not_end(scans, clean, tmp_path):
    segment_folder(scans, tmp_path)
    (tmp_path / "c02_seg.nii.gz").unlink()
    run_killed_at("segmented", 1, lambda: segment_folder(scans, tmp_path))
    assert not whole(results(tmp_path))
    segment_folder(scans, tmp_path)
    assert results(tmp_path) == clean


def killed_at_random(scans, folder, clean, kills, longest_s, pause_s=0.0, seed=0):
    """How many of so many kills, each of a new run, hit it before its end; a case takes at least the pause."""
    chance, hits = random.Random(seed), 0
    for number in range(kills):
        output = folder / f"run{number}"
        child = forked(lambda output=output: segment_folder(scans, output, segment=Threshold(pause_s=pause_s)))
        time.sleep(chance.uniform(0, longest_s))
        os.kill(child, signal.SIGKILL)
        hits += ended(child) == -signal.SIGKILL
        left = results(output) if output.exists() else {}
        assert all(clean[name] == content for name, content in left.items()), number
        assert segment_folder(scans, output) is ExitCode.OK
        assert results(output) == clean, number
    return hits


def test_random_kills_change_nothing(scans, clean, tmp_path):
    assert killed_at_random(scans, tmp_path, clean, 4, longest_s=0.2, pause_s=0.1) > 0


@pytest.mark.slow
def test_a_hundred_random_kills_over_ten_cases_change_nothing(tmp_path):
    scans = make_scans(tmp_path / "scans", 10)
    segment_folder(scans, tmp_path / "clean")
    clean = results(tmp_path / "clean")
    start = time.monotonic()
    hits = killed_at_random(scans, tmp_path, clean, 100, longest_s=0.3, pause_s=0.02)
    print(f"100 kills, {hits} before the end of the run; {time.monotonic() - start:.0f} s; all results equal")
    assert hits > 50


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drops_the_case_and_leaves_nothing_behind(scans, clean, tmp_path, number, code):
    def work():
        signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit(143)))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return segment_folder(scans, tmp_path, segment=Threshold(tmp_path / ".medfs-calls", pause_s=30))

    child = forked(work)
    while not (tmp_path / ".medfs-calls").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(child, number)
    assert ended(child) == code
    assert sorted(path.name for path in tmp_path.iterdir()) == [".medfs-calls", "report.jsonl"]
    states = [json.loads(line)["status"] for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert states == ["running", "queued"]
    assert segment_folder(scans, tmp_path) is ExitCode.OK
    assert results(tmp_path) == clean


def test_five_bad_cases_of_twenty_change_nothing_about_the_others(tmp_path):
    scans = make_scans(tmp_path / "scans", 20, bad=5)
    good = tmp_path / "good"
    good.mkdir()
    for path in sorted(scans.iterdir())[:15]:
        (good / path.name).write_bytes(path.read_bytes())
    assert segment_folder(good, tmp_path / "clean") is ExitCode.OK
    assert segment_folder(scans, tmp_path / "out") is ExitCode.SOME_FAILED
    expected, found = results(tmp_path / "clean"), results(tmp_path / "out")
    outputs = [name for name in expected if "_seg" in name]
    assert len(outputs) == 30
    assert all(found[name] == expected[name] for name in (*outputs, "statistics.csv"))
    assert found.keys() == expected.keys()
    report = json.loads(found["report.json"])
    failed = [row for row in report["cases"] if row["status"] == "failed"]
    assert (report["done"], report["failed"]) == (15, 5)
    assert [row["case"] for row in failed] == [f"c{number}" for number in range(15, 20)]
    assert all(row["error"].startswith(f"{row['case']}.nii.gz: ") for row in failed)
    assert len({row["error"].partition(": ")[2] for row in failed}) >= 4
