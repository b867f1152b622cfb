"""A folder run again: what is skipped and what is not; agreement and organs that were not found."""

import json
import shutil

import numpy as np
import pytest
from folder_runs import Threshold, make_scans, segment_folder

from medfs.anatomy import custom_label_set
from medfs.errors import ExitCode, InputError
from medfs.inference import FolderRun
from medfs.inference.records import read_records
from medfs.io import Volume, file_sha256, find_images, read_image, read_labels, write_image

PARAMETERS = {"network": "abc", "size": 64}


class Counted:
    """Liver where the scan is positive; counts its calls."""

    label_set = custom_label_set(["liver", "spleen"])

    def __init__(self):
        self.calls = []

    def __call__(self, volume):
        self.calls.append(volume.path.name)
        return (volume.array > 0).astype(np.uint8)

    def with_agreement(self, volume):
        labels = self(volume)
        return labels, np.where(volume.array > 1, 50, 100).astype(np.uint8)


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, name in enumerate("abc"):
        array = np.random.default_rng(number).normal(size=(9, 8, 7)).astype(np.float32)
        write_image(folder / f"{name}.nii.gz", array, Volume.from_array(array, np.diag([-2.0, 2, 3, 1])))
    return folder


def again(scans, output, parameters=PARAMETERS, **options):
    """Which files are segmented when the run is called once more, and what became of the cases."""
    segment, records = Counted(), []
    run = FolderRun(segment, output, parameters=parameters, **options)
    assert run.run(find_images([scans]), records.append) is ExitCode.OK
    return segment.calls, {record.case: record.status for record in records}


def test_what_is_proven_done_is_skipped(scans, tmp_path):
    again(scans, tmp_path / "out")
    assert again(scans, tmp_path / "out") == ([], dict.fromkeys("abc", "skipped"))
    lines = (tmp_path / "out" / "report.jsonl").read_text().splitlines()
    states = [(record["case"], record["status"]) for record in map(json.loads, lines)]
    assert states == [(case, status) for case in "abc" for status in ("running", "done")]


def test_a_changed_scan_result_or_parameter_is_done_again(scans, tmp_path):
    output = tmp_path / "out"
    again(scans, output)
    (output / "a_seg.nii.gz").write_bytes(b"")
    (scans / "b.nii.gz").write_bytes((scans / "c.nii.gz").read_bytes())
    assert again(scans, output)[0] == ["a.nii.gz", "b.nii.gz"]
    assert again(scans, output, PARAMETERS | {"size": 32})[0] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    assert again(scans, output, {})[0] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]


def test_files_asked_for_later_are_made(scans, tmp_path):
    again(scans, tmp_path / "out")
    assert again(scans, tmp_path / "out", slicer=True)[0] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    assert again(scans, tmp_path / "out")[0] == []


def test_a_killed_run_goes_on_and_its_tables_cover_all_cases(scans, tmp_path):
    class Killed(Counted):
        def __call__(self, volume):
            if volume.path.name == "b.nii.gz":
                raise KeyboardInterrupt
            return super().__call__(volume)

    killed, segment = Killed(), Counted()
    options = {"statistics": True, "page": True, "parameters": PARAMETERS}
    with pytest.raises(KeyboardInterrupt):
        FolderRun(killed, tmp_path / "out", agreement=killed.with_agreement, **options).run(find_images([scans]))
    for output in ("out", "at_once"):
        run = FolderRun(segment, tmp_path / output, agreement=segment.with_agreement, **options)
        run.run(find_images([scans]))
    assert segment.calls == ["b.nii.gz", "c.nii.gz", "a.nii.gz", "b.nii.gz", "c.nii.gz"]
    tables = [(tmp_path / output / "statistics.csv").read_text() for output in ("out", "at_once")]
    assert tables[0] == tables[1]


def test_agreement_is_written_on_the_grid_and_its_mean_reported(scans, tmp_path):
    segment, records = Counted(), []
    run = FolderRun(segment, tmp_path, agreement=segment.with_agreement, sought=[1, 2], page=True)
    run.run({"a": scans / "a.nii.gz"}, records.append)
    percent, labels = read_labels(tmp_path / "a_agreement.nii.gz"), read_labels(tmp_path / "a_seg.nii.gz")
    np.testing.assert_array_equal(percent.affine, labels.affine)
    mean = percent.array[labels.array == 1].mean()
    assert records[0].agreement_percent == {"liver": round(float(mean), 1)}
    assert records[0].warnings == ("not found: spleen",)
    assert f"<td>{mean:.0f}</td>" in (tmp_path / "report.html").read_text().replace(' class="number"', "")


def test_low_agreement_is_pointed_out(scans, tmp_path):
    def doubtful(volume):
        return Counted()(volume), np.full(volume.array.shape, 40, np.uint8)

    records = []
    FolderRun(Counted(), tmp_path, agreement=doubtful, page=True).run({"a": scans / "a.nii.gz"}, records.append)
    assert records[0].warnings == ("low agreement: liver 40 %",)
    page = (tmp_path / "report.html").read_text()
    assert "40 !" in page
    assert "! below 70: look at this one first." in page


def test_a_scan_that_is_exported_again_while_it_is_segmented_is_done_again(tmp_path):
    scans = make_scans(tmp_path / "scans", 1)
    newer = make_scans(tmp_path / "newer", 2) / "c01.nii.gz"

    class Replacing(Threshold):
        def __call__(self, volume):
            shutil.copy(newer, scans / "c00.nii.gz")
            return super().__call__(volume)

    assert segment_folder(scans, tmp_path / "out", segment=Replacing()) is ExitCode.OK
    calls = tmp_path / "calls"
    assert segment_folder(scans, tmp_path / "out", segment=Threshold(calls)) is ExitCode.OK
    assert calls.read_text().split() == ["c00.nii.gz"]
    expected = read_image(newer).array > 0
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "c00_seg.nii.gz").array, expected)


def test_a_scan_that_became_unreadable_proves_nothing_and_stops_nothing(tmp_path, monkeypatch):
    scans = make_scans(tmp_path / "scans", 2)
    assert segment_folder(scans, tmp_path / "out") is ExitCode.OK

    def damaged(path):
        if path.name == "c00.nii.gz":
            raise InputError("c00.nii.gz: cannot be read: Input/output error")
        return file_sha256(path)

    for module in ("records", "folder"):
        monkeypatch.setattr(f"medfs.inference.{module}.file_sha256", damaged)
    assert segment_folder(scans, tmp_path / "out") is ExitCode.SOME_FAILED
    statuses = {case: record["status"] for case, record in read_records(tmp_path / "out").items()}
    assert statuses == {"c00": "failed", "c01": "done"}
