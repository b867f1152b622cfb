"""What every run over a folder keeps, whatever it does with a case: shared, split, killed, and all at once."""

import json
import os
import signal
import time
from collections import Counter

import numpy as np
import pytest
from folder_runs import ended, forked, make_scans, results, run_killed_at, segment_folder
from PIL import Image

from medfs.errors import ExitCode, StorageError, UsageError
from medfs.inference.picture_folder import PictureFolderRun
from medfs.inference.records import read_records
from medfs.inference.supervoxels import SupervoxelRun
from medfs.io import atomic, find_images
from medfs.io.picture_sets import find_pictures

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


def bright(pictures):
    return (pictures.mean(axis=-1) > 127).astype(np.uint8)


def scans_of(folder):
    return lambda output, size=3, **options: segment_folder(folder, output, parameters={"size": size}, **options)


def pictures_of(folder):
    def run(output, size=3, **options):
        cases = find_pictures([folder])
        return PictureFolderRun(bright, output, ["cell"], {"size": size}, **options).run(cases)

    return run


def supervoxels_of(folder, workers):
    def run(output, size=20, **options):
        chosen = SupervoxelRun(output, min_size=size, mask="none", workers=workers, **options)
        return chosen.run(find_images([folder]))

    return run


@pytest.fixture(scope="module", params=["scans", "pictures", "supervoxels", "supervoxels by threads"])
def run(request, tmp_path_factory):
    """A run over five cases into a folder, of which the last one is broken."""
    folder = tmp_path_factory.mktemp("data") / "cases"
    if request.param == "pictures":
        folder.mkdir()
        for number in range(4):
            values = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(values).save(folder / f"c0{number}.png")
        (folder / "c04.png").write_bytes(b"no picture")
        return pictures_of(folder)
    make_scans(folder, 5, bad=1)
    return (
        scans_of(folder) if request.param == "scans" else supervoxels_of(folder, 1 + 2 * ("threads" in request.param))
    )


@pytest.fixture(scope="module")
def clean(run, tmp_path_factory):
    output = tmp_path_factory.mktemp("clean")
    assert run(output) is ExitCode.SOME_FAILED
    return results(output)


def settled(output):
    """How often each case was done or failed."""
    lines = [json.loads(line) for line in (output / "report.jsonl").read_text().splitlines()]
    return Counter(line["case"] for line in lines if line["status"] in ("done", "failed"))


def test_a_broken_case_fails_alone_and_the_final_report_says_so(clean):
    report = json.loads(clean["report.json"])
    assert (report["done"], report["failed"], report["queued"]) == (4, 1, 0)
    assert [case["case"] for case in report["cases"] if case["status"] == "failed"] == ["c04"]


def test_processes_that_share_a_folder_do_each_case_once(run, clean, tmp_path):
    children = [forked(lambda: run(tmp_path)) for _ in range(3)]
    assert [ended(child) for child in children] == [ExitCode.SOME_FAILED] * 3
    counts = settled(tmp_path)
    assert counts.pop("c04") >= 1  # one that starts late tries again what failed before
    assert counts == dict.fromkeys(("c00", "c01", "c02", "c03"), 1)
    assert results(tmp_path) == clean
    assert not list(tmp_path.glob(".medfs-*"))


def test_parts_make_up_the_whole(run, clean, tmp_path):
    assert run(tmp_path, part=(1, 2)) is ExitCode.SOME_FAILED
    assert set(settled(tmp_path)) == {"c00", "c02", "c04"}
    assert json.loads((tmp_path / "report.json").read_bytes())["queued"] == 2
    assert run(tmp_path, part=(2, 2)) is ExitCode.OK
    assert results(tmp_path) == clean


@pytest.mark.parametrize("point", ["running", "after_write", "after_replace", "before_record", "between_reports"])
def test_killed_and_called_again_it_leaves_the_same_bytes(run, clean, tmp_path, point):
    occurrence = 1 if point == "between_reports" else 2
    assert run_killed_at(point, occurrence, lambda: run(tmp_path)) == -signal.SIGKILL
    assert all(clean[name] == content for name, content in results(tmp_path).items())
    assert run(tmp_path) is ExitCode.SOME_FAILED
    assert results(tmp_path) == clean
    assert not list(tmp_path.glob(".medfs-claim-*"))


def test_a_run_with_other_settings_does_not_follow_behind_another(run, clean, tmp_path):
    """Between two cases no case is claimed, and a second run could trail the first one to the end."""
    incoming, outgoing = os.pipe()
    released = []

    def wait_between_cases(point):
        released.extend([point] * (point == "released"))
        if len(released) == 2:
            os.write(outgoing, b"x")
            time.sleep(600)

    def held():
        atomic.reached = wait_between_cases
        return run(tmp_path)

    first = forked(held)
    os.read(incoming, 1)
    with pytest.raises(UsageError, match="writes here with other settings"):
        run(tmp_path, size=7)
    os.kill(first, signal.SIGKILL)
    ended(first)
    assert run(tmp_path) is ExitCode.SOME_FAILED
    assert results(tmp_path) == clean


def test_a_file_that_no_run_wrote_is_not_replaced(run, clean, tmp_path):
    name = next(name for name in clean if name.startswith("c02"))
    (tmp_path / name).write_text("by hand")
    with pytest.raises(UsageError, match=rf"{name}: exists, but report\.jsonl does not say that medfs wrote it"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "by hand"


def test_the_report_is_not_written_through_a_link(run, tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.jsonl").symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError, match=r"report\.jsonl"):
        run(tmp_path / "out")
    assert (tmp_path / "precious").read_text() == "kept"


def test_what_is_done_is_not_done_again_but_what_failed_is(run, clean, tmp_path):
    run(tmp_path)
    run(tmp_path)
    assert settled(tmp_path) == {"c00": 1, "c01": 1, "c02": 1, "c03": 1, "c04": 2}
    assert results(tmp_path) == clean
    assert {case: record["status"] for case, record in read_records(tmp_path).items()}["c04"] == "failed"
