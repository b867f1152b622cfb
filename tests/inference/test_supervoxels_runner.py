"""Supervoxels of folders: what is written, what proves it done, and what any order of axes changes: nothing."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medfs.errors import ExitCode, InputError, StorageError, UsageError
from medfs.inference.records import read_records
from medfs.inference.supervoxels import SupervoxelRun, expected_bytes, slice_axis, supervoxels
from medfs.io import Volume, find_images, read_image, read_labels, write_image
from medfs.phantom import phantom_case
from medfs.supervoxels import felzenszwalb_3d

SMALL = {"min_size": 60}


@pytest.fixture(scope="module")
def phantom():
    case = phantom_case(1, spacing_mm=(9.0, 9.0, 14.0), modality="mr")
    return Volume.from_array(case.image, case.affine, "phantom.nii.gz")


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed, name in enumerate("abc"):
        case = phantom_case(seed, spacing_mm=14.0)
        write_image(folder / f"{name}.nii.gz", case.image, Volume.from_array(case.image, case.affine))
    return folder


def report(output):
    """The records of what was done or failed, in the order of writing."""
    lines = [json.loads(line) for line in (output / "report.jsonl").read_text().splitlines()]
    return [line for line in lines if line["status"] in ("done", "failed")]


def statuses(run, scans):
    seen = []
    code = run.run(find_images([scans]), seen.append)
    return code, {record.case: record.status for record in seen}


def turned(volume, order, flips):
    """The same scan with its axes in another order and direction."""
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for new, old in enumerate(order):
        turn[old, new] = -1 if flips[new] else 1
        turn[old, 3] = volume.array.shape[old] - 1 if flips[new] else 0
    array = volume.array.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return Volume.from_array(array, volume.affine @ turn)


@settings(max_examples=20, deadline=None)
@given(
    order=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
    mask=st.sampled_from(["body", "published", "none"]),
    min_size=st.integers(1, 200),
)
def test_a_partition_holds_for_any_order_and_direction_of_axes(phantom, order, flips, mask, min_size):
    scan = turned(phantom, order, flips)
    labels = supervoxels(scan, mask=mask, min_size=min_size)
    assert labels.shape == scan.array.shape
    sizes = np.bincount(labels.ravel())
    assert sizes[1:].all()  # consecutive
    assert (sizes[0] > 0) == (mask != "none")
    neighbours = np.ones((3, 3, 3))
    for label in np.flatnonzero(sizes < min_size)[np.flatnonzero(sizes < min_size) > 0]:
        around = ndimage.binary_dilation(labels == label, neighbours)
        assert set(np.unique(labels[around])) <= {0, label}  # nothing inside the mask to join it to


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
@pytest.mark.parametrize("mask", ["body", "published", "none"])
def test_wherever_the_slice_axis_stands_the_supervoxels_are_the_same(phantom, order, mask):
    expected = supervoxels(phantom, mask=mask, **SMALL)
    found = supervoxels(turned(phantom, order, (False,) * 3), mask=mask, **SMALL)
    np.testing.assert_array_equal(found, expected.transpose(order))


def test_without_a_mask_they_are_those_of_the_core_from_1_on(phantom):
    expected = felzenszwalb_3d(phantom.array, spacing_mm=phantom.spacing_mm, min_size=60, scale=9e4, sigma_mm=2.0)
    np.testing.assert_array_equal(supervoxels(phantom, mask="none", min_size=60, scale=9e4, sigma_mm=2.0), expected + 1)


@pytest.mark.parametrize(
    ("spacing", "codes", "axis"),
    [
        ((1, 1, 7), "RAS", 2),
        ((1, 7, 1), "RAS", 1),  # coronal slices
        ((7, 1, 1), "IPL", 0),
        ((1, 1, 1), "RSA", 1),
        ((1, 1.2, 1.1), "SAR", 0),  # no axis by far the largest: the long axis of the patient
        ((1, 1, 0.6), "LPS", 2),
    ],
)
def test_slices_are_found_by_spacing_and_place_in_the_patient(spacing, codes, axis):
    affine = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(codes), (2, 2, 2)) @ np.diag([*spacing, 1])
    assert slice_axis(affine) == axis


def test_every_case_is_written_on_the_grid_of_its_scan_and_reported(scans, tmp_path):
    output = tmp_path / "deep" / "out"
    assert statuses(SupervoxelRun(output, **SMALL), scans) == (ExitCode.OK, dict.fromkeys("abc", "done"))
    labels, reports = ["a.nii.gz", "b.nii.gz", "c.nii.gz"], ["report.csv", "report.json", "report.jsonl"]
    assert sorted(path.name for path in output.iterdir()) == labels + reports
    for line in report(output):
        source, result = nib.load(line["input"]).header, nib.load(output / f"{line['case']}.nii.gz").header
        for field in ("dim", "pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b"):
            np.testing.assert_array_equal(source[field], result[field])
        labels = read_labels(output / f"{line['case']}.nii.gz").array
        sizes = np.bincount(labels.ravel())[1:]
        assert line["supervoxels"] == labels.max() == sizes.size
        assert line["sizes"] == {"min": sizes.min(), "median": np.median(sizes), "max": sizes.max()}
        assert line["mask_fraction"] == pytest.approx((labels > 0).mean(), abs=1e-4)
        assert line["parameters"] | SMALL == line["parameters"]
        (digest,) = line["outputs"].values()
        assert digest == hashlib.sha256((output / f"{line['case']}.nii.gz").read_bytes()).hexdigest()


def test_the_number_of_workers_changes_no_byte(scans, tmp_path):
    for workers in (1, 3):
        SupervoxelRun(tmp_path / str(workers), **SMALL, preview=True, workers=workers).run(find_images([scans]))
    for case in "abc":
        for name in (f"{case}.nii.gz", f"{case}_preview.png"):
            assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_what_is_proven_done_is_skipped_and_nothing_else(scans, tmp_path):
    run = SupervoxelRun(tmp_path / "out", **SMALL)
    run.run(find_images([scans]))
    before = (tmp_path / "out" / "report.jsonl").read_bytes()
    assert statuses(run, scans) == (ExitCode.OK, dict.fromkeys("abc", "skipped"))
    assert (tmp_path / "out" / "report.jsonl").read_bytes() == before

    (tmp_path / "out" / "a.nii.gz").write_bytes(b"damaged")
    write_image(scans / "b.nii.gz", read_image(scans / "c.nii.gz").array, read_image(scans / "c.nii.gz"))
    assert statuses(run, scans)[1] == {"a": "done", "b": "done", "c": "skipped"}
    assert statuses(replace(run, preview=True), scans)[1] == dict.fromkeys("abc", "done")
    assert statuses(run, scans)[1] == dict.fromkeys("abc", "skipped")
    assert statuses(replace(run, mask="none"), scans)[1] == dict.fromkeys("abc", "done")
    assert sorted(read_records(tmp_path / "out")) == ["a", "b", "c"]


@pytest.mark.parametrize("rest", [b'{"case": "a", "stat', b"[]\n", b'{"case": "a", "status": "done", "outputs": 3}\n'])
def test_a_damaged_line_of_the_report_costs_its_case_alone(scans, tmp_path, rest):
    run = SupervoxelRun(tmp_path / "out", **SMALL)
    run.run(find_images([scans]))
    path = tmp_path / "out" / "report.jsonl"
    done = b'{"case": "a", "status": "done"'
    others = [line for line in path.read_bytes().splitlines(keepends=True) if not line.startswith(done)]
    path.write_bytes(b"".join(others) + rest)
    assert statuses(run, scans)[1] == {"a": "done", "b": "skipped", "c": "skipped"}
    assert [record["status"] for record in read_records(tmp_path / "out").values()] == ["done"] * 3


KILLED = """
import os, signal, sys
from pathlib import Path
from medfs.inference.records import read_records
from medfs.inference.supervoxels import SupervoxelRun
from medfs.io import atomic, find_images
count = 0
def reached(point):
    global count
    count += point == sys.argv[3]
    if count == 2:
        os.kill(os.getpid(), signal.SIGKILL)
atomic.reached = reached
SupervoxelRun(Path(sys.argv[2]), min_size=60).run(find_images([sys.argv[1]]))
"""


@pytest.mark.subprocess
@pytest.mark.parametrize("point", ["after_write", "after_replace"])
def test_a_killed_run_goes_on_where_it_was(scans, tmp_path, point):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    SupervoxelRun(whole, **SMALL).run(find_images([scans]))
    code = subprocess.run([sys.executable, "-c", KILLED, scans, killed, point], check=False).returncode
    assert code == -9
    assert statuses(SupervoxelRun(killed, **SMALL), scans)[1] == {"a": "skipped", "b": "done", "c": "done"}
    for case in "abc":
        assert (killed / f"{case}.nii.gz").read_bytes() == (whole / f"{case}.nii.gz").read_bytes()
    assert [line["case"] for line in report(killed)] == ["a", "b", "c"]
    for name in ("report.json", "report.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_one_bad_case_does_not_stop_the_others(scans, tmp_path):
    (scans / "b.nii.gz").write_bytes(b"no scan")
    flat = np.zeros((4, 4, 4), np.int16)
    write_image(scans / "c.nii.gz", flat, Volume.from_array(flat, np.eye(4)))
    code, seen = statuses(SupervoxelRun(tmp_path / "out", **SMALL), scans)
    assert (code, seen) == (ExitCode.SOME_FAILED, {"a": "done", "b": "failed", "c": "failed"})
    errors = {line["case"]: line["error"] for line in report(tmp_path / "out")}
    assert errors["b"].startswith("b.nii.gz: ")
    assert errors["c"] == "c.nii.gz: no body found; look at the scan, or use mask none"
    assert not (tmp_path / "out" / "b.nii.gz").exists()
    (scans / "a.nii.gz").unlink()
    assert statuses(SupervoxelRun(tmp_path / "out", **SMALL), scans)[0] is ExitCode.NOTHING_DONE


def test_supervoxels_that_stay_below_the_least_size_are_told(scans, tmp_path):
    run = SupervoxelRun(tmp_path / "out", min_size=10**6)
    run.run(find_images([scans / "a.nii.gz"]))
    (line,) = report(tmp_path / "out")
    assert line["warnings"] == ["a.nii.gz: 1 of 1 supervoxels are below 1000000 voxels"]


def test_scans_are_never_overwritten(scans, tmp_path):
    with pytest.raises(UsageError, match="holds the scans"):
        SupervoxelRun(scans, **SMALL).run(find_images([scans / "a.nii.gz"]))


@pytest.mark.parametrize("place", ["a.nii.gz", "report.jsonl", "a_preview.png"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_output_that_cannot_be_written_stops_the_run(scans, tmp_path, place, workers):
    (tmp_path / "out" / place).mkdir(parents=True)
    with pytest.raises(StorageError):
        SupervoxelRun(tmp_path / "out", **SMALL, preview=True, workers=workers).run(find_images([scans]))


@pytest.mark.parametrize(
    "wrong", [{"min_size": -1}, {"scale": float("nan")}, {"sigma_mm": -1.0}, {"mask": "skin"}, {"workers": 0}]
)
def test_wrong_parameters_are_refused_before_a_scan_is_read(tmp_path, wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SupervoxelRun(tmp_path / "out", **wrong)


def test_no_body_is_an_error_that_names_the_scan():
    with pytest.raises(InputError, match=r"empty\.nii: no body"):
        supervoxels(Volume.from_array(np.ones((3, 3, 3)), np.eye(4), "empty.nii"))


def test_memory_is_told_from_headers_alone(scans, tmp_path):
    voxels = max(read_image(path).array.size for path in scans.iterdir())
    (scans / "d.nii.gz").write_bytes(b"no scan")
    one, three = (expected_bytes(scans.iterdir(), count) for count in (1, 3))
    assert three - one == pytest.approx(2 * 40 * voxels)
    assert expected_bytes([scans / "d.nii.gz"]) == 0
