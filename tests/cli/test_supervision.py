"""A case that crashes or hangs is ended alone; signals reach the process that works."""

import io
import json
import os
import signal
import socket
import sys
import time

import pytest
from folder_runs import Threshold, ended, forked, make_scans, results, segment_folder
from rich.console import Console

from medfs.cli import supervision
from medfs.cli.progress import case_reporter, parse_part
from medfs.cli.supervision import supervise
from medfs.errors import ExitCode, MedfsError, NothingDoneError, UsageError
from medfs.inference.records import CaseRecord, read_records

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


@pytest.fixture
def scans(tmp_path):
    return make_scans(tmp_path / "scans", 4)


class Awkward(Threshold):
    """Does something awful with the second case, once for each line it is given."""

    def __init__(self, deed, calls=None):
        super().__init__(calls)
        self.deed = deed

    def __call__(self, volume):
        labels = super().__call__(volume)
        if volume.path.name == "c01.nii.gz":
            self.deed()
        return labels


def supervised(scans, output, segment, timeout_min=None):
    """How a supervised run ends."""

    def work():
        sys.stderr = io.StringIO()
        try:
            since = supervise(output, timeout_min)
            return segment_folder(scans, output, segment=segment, since=since)
        except MedfsError as error:
            return error.exit_code

    return ended(forked(work))


def states(output):
    return {case: record["status"] for case, record in read_records(output).items()}


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT], ids=lambda number: number.name)
def test_a_case_that_ends_the_process_fails_and_the_others_go_on(scans, tmp_path, number):
    deed = Awkward(lambda: os.kill(os.getpid(), number), tmp_path / "calls")
    assert supervised(scans, tmp_path / "out", deed) == ExitCode.SOME_FAILED
    assert states(tmp_path / "out") == {"c00": "done", "c01": "failed", "c02": "done", "c03": "done"}
    said = read_records(tmp_path / "out")["c01"]["error"]
    assert said.startswith(f"c01.nii.gz: the process was ended by signal {number.value}")
    assert ("want of memory" in said) == (number == signal.SIGKILL)
    assert (tmp_path / "calls").read_text().split() == [f"c0{n}.nii.gz" for n in range(4)]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["done"], report["failed"]) == (3, 1)


def test_a_case_that_hangs_is_ended_after_its_time(scans, tmp_path):
    start = time.monotonic()
    assert supervised(scans, tmp_path / "out", Awkward(lambda: time.sleep(300)), 0.02) == ExitCode.SOME_FAILED
    assert time.monotonic() - start < 60
    assert states(tmp_path / "out") == {"c00": "done", "c01": "failed", "c02": "done", "c03": "done"}
    assert read_records(tmp_path / "out")["c01"]["error"].startswith("c01.nii.gz: took longer than 0.02 min")


def test_the_case_is_tried_again_by_the_next_call(scans, tmp_path):
    supervised(scans, tmp_path / "out", Awkward(lambda: os.kill(os.getpid(), signal.SIGKILL)))
    assert supervised(scans, tmp_path / "out", Threshold()) == ExitCode.OK
    segment_folder(scans, tmp_path / "clean")
    assert results(tmp_path / "out") == results(tmp_path / "clean")


def test_a_process_that_dies_before_any_case_is_one_line(scans, tmp_path):
    def work():
        parent = os.getpid()
        try:
            supervise(tmp_path, None)
        except NothingDoneError as error:
            return error.exit_code if "with no case at work" in str(error) else 98
        assert os.getpid() != parent
        return os.kill(os.getpid(), signal.SIGKILL)

    assert ended(forked(work)) == ExitCode.NOTHING_DONE


@pytest.mark.parametrize("code", [0, 3, 4])
def test_the_exit_code_is_that_of_the_child(tmp_path, code):
    def work():
        supervise(tmp_path, None)
        return code

    assert ended(forked(work)) == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_parent_ends_both(scans, tmp_path, number, code):
    calls, output = tmp_path / "calls", tmp_path / "out"

    def work():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        since = supervise(output, 60)
        return segment_folder(scans, output, segment=Awkward(lambda: time.sleep(300), calls), since=since)

    parent = forked(work)
    while not (calls.exists() and "c01" in calls.read_text()):
        time.sleep(0.02)
    time.sleep(0.2)
    os.kill(parent, number)
    assert ended(parent) == code
    assert states(output) == {"c00": "done", "c01": "queued"}
    assert not list(output.glob(".medfs-*"))


def test_a_killed_parent_leaves_nothing_at_work(scans, tmp_path):
    calls, output = tmp_path / "calls", tmp_path / "out"

    def work():
        since = supervise(output, None)
        return segment_folder(scans, output, segment=Awkward(lambda: time.sleep(300), calls), since=since)

    parent = forked(work)
    while not (calls.exists() and "c01" in calls.read_text()):
        time.sleep(0.02)
    child = read_records(output)["c01"]["pid"]
    os.kill(parent, signal.SIGKILL)
    ended(parent)
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{child}/exe") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{child}/exe")


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_a_time_that_is_none_is_a_usage_error(tmp_path, minutes):
    with pytest.raises(UsageError, match="--timeout-min"):
        supervise(tmp_path, minutes)


def test_parts_are_told_apart_from_nonsense():
    assert parse_part("1/1") == (1, 1)
    assert parse_part("3/8") == (3, 8)
    for text in ("", "3", "0/4", "5/4", "-1/4", "a/b", "1/0", "1/2/3"):
        with pytest.raises(UsageError, match="expected i/n"):
            parse_part(text)


def test_a_reader_that_goes_away_does_not_end_the_work():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    console = Console(file=Closed(), force_terminal=False)
    report = case_reporter(2, console)
    for case in "ab":
        report(CaseRecord(case, "done", "", 0.0))


def test_a_case_of_another_host_is_not_taken_for_the_child_s():
    here = {"case": "a", "status": "running", "host": socket.gethostname(), "pid": 7}
    records = {"a": here, "b": here | {"case": "b", "host": "node7"}, "c": here | {"case": "c", "pid": 8}}
    assert supervision._running(records, 7) == here
    assert supervision._running({"b": records["b"]}, 7) is None
