"""Several processes on one folder: each case once, cases of the dead taken over, the results those of one process."""

import json
import os
import signal
import threading
import time
from collections import Counter

import pytest
from folder_runs import PARAMETERS, Threshold, ended, forked, make_scans, results, segment_folder

from medfs.errors import ExitCode, UsageError
from medfs.inference.claims import Claims
from medfs.inference.records import append_record, read_records
from medfs.inference.sharing import SharedCases

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return make_scans(tmp_path_factory.mktemp("data") / "scans", 8)


@pytest.fixture(scope="module")
def clean(scans, tmp_path_factory):
    output = tmp_path_factory.mktemp("clean")
    assert segment_folder(scans, output) is ExitCode.OK
    return results(output)


def together(scans, output, processes, pause_s=0.0):
    """Exit codes of processes started at once, and how often each case was done."""
    calls = output.with_suffix(".calls")
    children = [
        forked(lambda: segment_folder(scans, output, segment=Threshold(calls, pause_s))) for _ in range(processes)
    ]
    return [ended(child) for child in children], Counter(calls.read_text().split())


@pytest.mark.parametrize("processes", [2, 4])
def test_each_case_is_done_once(scans, clean, tmp_path, processes):
    codes, calls = together(scans, tmp_path / "out", processes, pause_s=0.02)
    assert codes == [ExitCode.OK] * processes
    assert calls == dict.fromkeys([f"c0{number}.nii.gz" for number in range(8)], 1)
    assert results(tmp_path / "out") == clean
    lines = [json.loads(line) for line in (tmp_path / "out" / "report.jsonl").read_text().splitlines()]
    assert sorted(line["case"] for line in lines if line["status"] == "done") == [f"c0{n}" for n in range(8)]
    assert not list((tmp_path / "out").glob(".medfs-*"))


@pytest.mark.slow
def test_four_processes_twenty_times_do_each_case_once(scans, clean, tmp_path):
    start, shares = time.monotonic(), []
    for number in range(20):
        codes, calls = together(scans, tmp_path / f"out{number}", 4, pause_s=0.001 * number)
        assert codes == [ExitCode.OK] * 4
        assert set(calls.values()) == {1}, number
        assert len(calls) == 8
        assert results(tmp_path / f"out{number}") == clean
        lines = [json.loads(line) for line in (tmp_path / f"out{number}" / "report.jsonl").read_text().splitlines()]
        shares.append(len({line["pid"] for line in lines if line["status"] == "running"}))
    print(
        f"20 repeats of 4 processes on 8 cases: each case once; {min(shares)} to {max(shares)} processes at work; "
        f"{time.monotonic() - start:.0f} s"
    )


def test_the_case_of_a_killed_process_is_taken_over_by_one_that_waits(scans, clean, tmp_path):
    calls = tmp_path / "calls"
    slow = forked(lambda: segment_folder(scans, tmp_path / "out", segment=Threshold(calls, pause_s=60)))
    while not calls.exists():
        time.sleep(0.01)
    other = forked(lambda: segment_folder(scans, tmp_path / "out"))
    while sum(r["status"] == "done" for r in read_records(tmp_path / "out").values()) < 7:
        time.sleep(0.05)
    os.kill(slow, signal.SIGKILL)  # not waited for yet: it is a zombie, and dead all the same
    assert ended(other) == ExitCode.OK
    assert ended(slow) == -signal.SIGKILL
    assert results(tmp_path / "out") == clean


def claims(folder, run="a", **options):
    return Claims(folder, run, **{"beat_s": 0.05, "stale_s": 2.0} | options)


def test_a_claim_is_held_by_one(tmp_path):
    first, second = claims(tmp_path), claims(tmp_path)
    assert first.take("x")
    assert not second.take("x")
    assert second.take("y")
    first.release("x")
    assert second.take("x")
    second.close()
    assert not list(tmp_path.glob(".medfs-claim*"))


def test_a_heartbeat_keeps_a_claim_and_silence_loses_it(tmp_path):
    living, other = claims(tmp_path), claims(tmp_path)
    silent = claims(tmp_path, beat_s=3600)
    assert living.take("x")
    assert silent.take("y")
    deadline = time.monotonic() + 30
    while not other.take("y"):
        assert not other.take("x")
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not silent.holds("y")  # what its process does next, it does not write
    silent.release("y")
    assert other.holds("y")
    assert living.holds("x")
    living.close()
    other.close()


def test_claims_of_dead_processes_and_of_another_boot_are_told_apart(tmp_path):
    ended(forked(lambda: claims(tmp_path).take("x") and 0))
    assert claims(tmp_path).take("x")
    foreign = tmp_path / ".medfs-claim-y"
    ended(forked(lambda: claims(tmp_path).take("y") and 0))
    owner = json.loads(foreign.read_text()) | {"host": "another-host"}
    foreign.write_text(json.dumps(owner))
    other = claims(tmp_path)
    assert not other.take("y")  # nobody here can know; only its heartbeat tells
    time.sleep(2.2)
    assert other.take("y")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_claim_that_its_process_could_not_fill_in_is_nobodys(tmp_path, content):
    (tmp_path / ".medfs-claim-x").write_bytes(content)
    assert claims(tmp_path).take("x")


def test_a_claim_is_not_written_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".medfs-claim-x").symlink_to(tmp_path / "precious")
    other = claims(tmp_path)
    with pytest.raises(Exception, match="cannot be written"):
        other.take("x")
    assert (tmp_path / "precious").read_text() == "kept"


@pytest.mark.parametrize("other", [{"parameters": PARAMETERS | {"size": 7}}, {"slicer": True}])
def test_a_run_with_other_settings_does_not_join_in(scans, tmp_path, other):
    calls = tmp_path / "calls"
    child = forked(lambda: segment_folder(scans, tmp_path / "out", segment=Threshold(calls, pause_s=60)))
    while not calls.exists():
        time.sleep(0.01)
    with pytest.raises(UsageError, match="with other settings"):
        segment_folder(scans, tmp_path / "out", **other)
    os.kill(child, signal.SIGKILL)
    ended(child)
    assert segment_folder(scans, tmp_path / "out", **other) is ExitCode.OK


def test_parts_of_a_cluster_make_up_the_whole(scans, clean, tmp_path):
    calls = [tmp_path / f"calls{part}" for part in (1, 2, 3)]
    for part in (1, 2, 3):
        code = segment_folder(scans, tmp_path / "out", segment=Threshold(calls[part - 1]), part=(part, 3))
        assert code is ExitCode.OK
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert report["done"] + report["queued"] == 8
    assert [len(path.read_text().split()) for path in calls] == [3, 3, 2]
    assert results(tmp_path / "out") == clean


def test_records_of_many_processes_stay_whole(tmp_path):
    def write(number):
        for place in range(20):
            append_record(tmp_path, {"case": f"{number}_{place}", "padding": "x" * 5000})

    for child in [forked(lambda number=number: write(number)) for number in range(4)]:
        assert ended(child) == 0
    assert len(read_records(tmp_path)) == 80
    assert len((tmp_path / "report.jsonl").read_text().splitlines()) == 80


def test_waiting_for_another_process_ends_at_once_when_told(tmp_path):
    stop, other = threading.Event(), claims(tmp_path)
    assert other.take("x")
    shared = SharedCases(tmp_path, {}, [], lambda case, record: False, stop=stop, claims=claims(tmp_path))
    threading.Timer(0.2, stop.set).start()
    assert list(shared.each(["x"])) == []
    other.close()
