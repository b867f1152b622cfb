"""A folder in, a folder out: what is written, what is reported, and what a bad case does to the others."""

import csv
import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import slicerio

from medfs.anatomy import custom_label_set
from medfs.errors import ExitCode, InputError, StorageError
from medfs.inference import FolderRun
from medfs.inference.records import read_records
from medfs.io import Volume, find_images, read_image, read_labels, write_image

AFFINE = np.array([[-1.5, 0.1, 0, 40], [0.1, 1.6, 0.2, -50], [0, -0.2, 2.5, 10], [0, 0, 0, 1]])


class Threshold:
    """Liver above the mean, on the right half of the patient; fails as told."""

    label_set = custom_label_set(["liver", "spleen"])

    def __init__(self, failures=None):
        self.failures = failures or {}

    def __call__(self, volume):
        for part, error in self.failures.items():
            if part in volume.path.name:
                raise error
        i, j, k = np.indices(volume.array.shape)
        x = volume.affine[0, :3] @ np.stack([i, j, k]).reshape(3, -1) + volume.affine[0, 3]
        right = x.reshape(volume.array.shape) > 30
        return ((volume.array > volume.array.mean()) & right).astype(np.uint8)


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, name in enumerate(("a", "b", "c")):
        array = np.random.default_rng(number).normal(size=(9, 8, 7)).astype(np.float32)
        write_image(folder / f"{name}.nii.gz", array, Volume.from_array(array, AFFINE, folder / name))
    return folder


REPORTS = ["report.csv", "report.json", "report.jsonl"]


def report(output):
    lines = [json.loads(line) for line in (output / "report.jsonl").read_text().splitlines()]
    return [line for line in lines if line["status"] in ("done", "failed")]


def test_every_case_is_written_on_the_grid_of_its_scan(scans, tmp_path):
    output, seen = tmp_path / "deep" / "out", []
    code = FolderRun(Threshold(), output).run(find_images([scans]), seen.append)
    assert code is ExitCode.OK
    assert [record.case for record in seen] == ["a", "b", "c"]
    for case in "abc":
        source, result = nib.load(scans / f"{case}.nii.gz").header, nib.load(output / f"{case}_seg.nii.gz").header
        for field in ("dim", "pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b"):
            np.testing.assert_array_equal(source[field], result[field])
        expected = Threshold()(read_image(scans / f"{case}.nii.gz"))
        np.testing.assert_array_equal(read_labels(output / f"{case}_seg.nii.gz").array, expected)
    assert sorted(path.name for path in output.iterdir()) == sorted(
        [f"{case}_seg{suffix}" for case in "abc" for suffix in (".nii.gz", ".csv")] + REPORTS
    )


def test_the_report_has_a_line_per_case_with_the_hashes_of_its_files(scans, tmp_path):
    FolderRun(Threshold(), tmp_path / "out").run(find_images([scans]))
    lines = report(tmp_path / "out")
    assert [line["case"] for line in lines] == ["a", "b", "c"]
    for line in lines:
        assert line["status"] == "done"
        assert line["error"] == ""
        assert line["seconds"] >= 0
        assert Path(line["input"]) == scans / f"{line['case']}.nii.gz"
        assert line["outputs"].keys() == {f"{line['case']}_seg.csv", f"{line['case']}_seg.nii.gz"}
        for name, digest in line["outputs"].items():
            assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest


def test_equal_runs_write_equal_bytes(scans, tmp_path):
    for name in ("one", "two"):
        FolderRun(Threshold(), tmp_path / name, slicer=True, statistics=True).run(find_images([scans]))
    for path in (tmp_path / "one").iterdir():
        if path.name != "report.jsonl":  # it holds times
            assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize(
    "error",
    [
        InputError("b.nii.gz: broken"),
        RuntimeError("out of memory"),
        MemoryError(),
        ValueError("two\nlines"),
        KeyError("surprise"),
        OSError(5, "device gone"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_bad_case_does_not_stop_the_others(scans, tmp_path, error):
    run = FolderRun(Threshold({"b": error}), tmp_path / "out", statistics=True)
    assert run.run(find_images([scans])) is ExitCode.SOME_FAILED
    assert [line["status"] for line in report(tmp_path / "out")] == ["done", "failed", "done"]
    message = report(tmp_path / "out")[1]["error"]
    assert message.startswith("b.nii.gz: ")
    assert len(message) > len("b.nii.gz: ")
    assert "\n" not in message
    assert not (tmp_path / "out" / "b_seg.nii.gz").exists()
    assert (tmp_path / "out" / "c_seg.nii.gz").exists()
    assert {row["case"] for row in csv.DictReader((tmp_path / "out" / "statistics.csv").open())} == {"a", "c"}


def test_the_innermost_cause_is_what_is_reported(scans, tmp_path):
    wrapped = RuntimeError("applying transform <Spacingd>")
    wrapped.__cause__ = ValueError("a grid of no size")
    FolderRun(Threshold({"b": wrapped}), tmp_path / "out").run(find_images([scans]))
    assert report(tmp_path / "out")[1]["error"] == "b.nii.gz: ValueError: a grid of no size"


def test_a_damaged_scan_is_named_and_left_out(scans, tmp_path):
    content = (scans / "a.nii.gz").read_bytes()
    (scans / "a.nii.gz").write_bytes(content[: len(content) // 2])
    assert FolderRun(Threshold(), tmp_path / "out").run(find_images([scans])) is ExitCode.SOME_FAILED
    assert report(tmp_path / "out")[0]["error"].startswith("a.nii.gz: truncated")


def test_when_all_fail_nothing_was_done(scans, tmp_path):
    run = FolderRun(Threshold({"": InputError("x: broken")}), tmp_path / "out", statistics=True)
    assert run.run(find_images([scans])) is ExitCode.NOTHING_DONE
    assert [line["status"] for line in report(tmp_path / "out")] == ["failed"] * 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == REPORTS


def test_labels_of_a_wrong_shape_fail_their_case(scans, tmp_path):
    class Wrong(Threshold):
        def __call__(self, volume):
            return np.zeros((2, 2, 2), np.uint8)

    assert FolderRun(Wrong(), tmp_path / "out").run(find_images([scans])) is ExitCode.NOTHING_DONE
    assert "(2, 2, 2)" in report(tmp_path / "out")[0]["error"]


@pytest.mark.parametrize("place", ["output", "parent", "result", "report"])
def test_an_output_that_cannot_be_written_stops_the_run(scans, tmp_path, place):
    output = tmp_path / "out"
    if place == "output":
        output.write_text("a file")
    elif place == "parent":
        (tmp_path / "file").write_text("a file")
        output = tmp_path / "file" / "out"
    else:
        output.mkdir()
        (output / ("a_seg.nii.gz" if place == "result" else "report.jsonl")).mkdir()
    with pytest.raises(StorageError) as caught:
        FolderRun(Threshold(), output).run(find_images([scans]))
    assert caught.value.exit_code is ExitCode.STORAGE
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_no_file_with_a_final_name(scans, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medfs.io.atomic.os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        FolderRun(Threshold(), tmp_path / "out").run(find_images([scans]))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.jsonl"]


def test_statistics_cover_every_case_and_organ(scans, tmp_path):
    FolderRun(Threshold(), tmp_path / "out", statistics=True).run(find_images([scans]))
    rows = list(csv.DictReader((tmp_path / "out" / "statistics.csv").open()))
    assert [(row["case"], row["organ"]) for row in rows] == [(c, o) for c in "abc" for o in ("liver", "spleen")]
    voxel_ml = abs(np.linalg.det(AFFINE[:3, :3])) / 1000
    for row in rows:
        count = (read_labels(tmp_path / "out" / f"{row['case']}_seg.nii.gz").array == int(row["label"])).sum()
        assert int(row["voxels"]) == count
        assert float(row["volume_ml"]) == pytest.approx(count * voxel_ml, abs=1e-3)


def test_the_slicer_file_has_the_organ_on_the_same_side(scans, tmp_path):
    FolderRun(Threshold(), tmp_path / "out", slicer=True, preview=True).run(find_images([scans]))
    segmentation = slicerio.read_segmentation(str(tmp_path / "out" / "a.seg.nrrd"))
    lps = segmentation["ijkToLPS"]
    voxels = np.argwhere(segmentation["voxels"] == 1)
    x_lps = voxels @ lps[0, :3] + lps[0, 3]
    assert len(voxels) > 10
    assert (-x_lps > 30).all()
    assert (tmp_path / "out" / "a_preview.png").read_bytes().startswith(b"\x89PNG")
    assert report(tmp_path / "out")[0]["outputs"].keys() == {
        "a_seg.csv",
        "a.seg.nrrd",
        "a_preview.png",
        "a_seg.nii.gz",
    }


AWKWARD = [("nifti", 8), ("orientations", 11)]


@pytest.mark.parametrize(("folder", "readable"), AWKWARD)
def test_awkward_real_files_keep_their_grid_or_fail_in_one_line(real_data, tmp_path, folder, readable):
    source = real_data / "awkward_files" / folder
    cases = find_images([source])
    run = FolderRun(Median(), tmp_path, slicer=True, statistics=True)
    code = run.run(cases)
    lines = report(tmp_path)
    done = [line for line in lines if line["status"] == "done"]
    assert len(lines) == len(cases)
    assert len(done) == readable
    assert code is (ExitCode.OK if readable == len(cases) else ExitCode.SOME_FAILED)
    for line in lines:
        if line["status"] == "failed":
            assert line["error"].startswith(f"{Path(line['input']).name}: ")
            assert "\n" not in line["error"]
    for line in done:
        result, peer = nib.load(tmp_path / f"{line['case']}_seg.nii.gz"), nib.load(line["input"])
        assert result.shape == peer.shape[:3]
        np.testing.assert_allclose(result.affine, peer.affine, rtol=0, atol=1e-5)


class Median:
    """Half of the voxels."""

    label_set = custom_label_set(["liver"])

    def __call__(self, volume):
        return (volume.array > np.median(volume.array)).astype(np.uint8)


def test_the_page_shows_outcomes_volumes_and_previews(scans, tmp_path):
    run = FolderRun(
        Threshold({"b": InputError("b.nii.gz: <odd>; expected even")}), tmp_path / "out", preview=True, page=True
    )
    assert run.run(find_images([scans])) is ExitCode.SOME_FAILED
    page = (tmp_path / "out" / "report.html").read_text()
    assert "3 cases, 1 of them failed." in page
    assert "b.nii.gz: &lt;odd&gt;; expected even" in page
    volume = np.abs(np.linalg.det(AFFINE[:3, :3])) / 1000 * read_labels(tmp_path / "out" / "a_seg.nii.gz").array.sum()
    assert f"{volume:.1f} *" in page
    assert [f'src="{case}_preview.png"' in page for case in "abc"] == [True, False, True]
    assert not (tmp_path / "out" / "statistics.csv").exists()


def test_a_line_cut_short_by_a_kill_spoils_no_other(scans, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "report.jsonl").write_bytes(b'{"case": "z", "sta')
    FolderRun(Threshold(), output).run(find_images([scans]))
    assert list(read_records(output)) == ["a", "b", "c"]
