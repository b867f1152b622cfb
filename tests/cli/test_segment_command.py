"""``medfs segment``: what it writes, what it says, and how it ends."""

import csv
import json
import re

import nibabel as nib
import numpy as np
import pytest
from tiny_run import NAMES, make_run

from medfs.errors import ExitCode
from medfs.inference.components import largest_components
from medfs.io import Volume, read_labels, write_image
from medfs.phantom import phantom_case
from medfs.text import TextPrior

REPORTS = ("report.csv", "report.json", "report.jsonl")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed, name in enumerate(("b", "a_0000", "c")):
        case = phantom_case(seed, spacing_mm=14.0)
        write_image(folder / f"{name}.nii.gz", case.image, Volume.from_array(case.image, case.affine))
    return folder


def test_every_case_is_one_line_where_there_is_no_terminal(medfs, run, scans, tmp_path):
    code, out, err = medfs("segment", scans, "-o", tmp_path / "out", "--bundle", run)
    assert code == ExitCode.OK
    assert out == ""
    first, second, *lines = err.splitlines()
    assert first == "3 cases; loading the network ..."
    assert re.fullmatch(r"up to about [\d.]+ GB of memory for the largest case", second)
    assert [line.partition(", ")[0] for line in lines] == ["[1/3] a: done", "[2/3] b: done", "[3/3] c: done"]
    assert all(line.endswith(" s") for line in lines)
    assert "\x1b" not in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*REPORTS, *(f"{case}_seg{suffix}" for case in "abc" for suffix in (".nii.gz", ".csv"))]
    )


def test_all_that_can_be_written_is_written_on_request(medfs, run, scans, tmp_path):
    every = ("--slicer", "--preview", "--stats", "--html")
    code, _, err = medfs("segment", scans / "b.nii.gz", "-o", tmp_path, "-b", run, *every)
    assert code == ExitCode.OK
    assert err.startswith("1 case; loading")
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    about_b = {"b_seg.nii.gz", "b_seg.csv", "b.seg.nrrd", "b_preview.png"}
    assert written == {*REPORTS, "statistics.csv", "report.html", *about_b}
    organs = [row["organ"] for row in csv.DictReader((tmp_path / "statistics.csv").open())]
    assert organs == list(NAMES[1:])


def test_only_wanted_organs_are_kept(medfs, run, scans, tmp_path):
    medfs("segment", scans, "-o", tmp_path / "all", "-b", run)
    code, _, _ = medfs("segment", scans, "-o", tmp_path / "some", "-b", run, "--organs", "Spleen, RK")
    assert code == ExitCode.OK
    for case in "abc":
        everything = read_labels(tmp_path / "all" / f"{case}_seg.nii.gz").array
        some = read_labels(tmp_path / "some" / f"{case}_seg.nii.gz").array
        np.testing.assert_array_equal(some, np.where(np.isin(everything, [2, 3]), everything, 0))


def test_a_bad_case_is_named_and_the_others_are_done(medfs, run, scans, tmp_path):
    (scans / "b.nii.gz").write_bytes(b"no scan")
    code, _, err = medfs("segment", scans, "-o", tmp_path / "out", "-b", run)
    assert code == ExitCode.SOME_FAILED
    lines = err.splitlines()[2:]
    assert lines[1].startswith("[2/3] b: failed, b.nii.gz: ")
    assert lines[0].startswith("[1/3] a: done")
    assert lines[2].startswith("[3/3] c: done")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [row["status"] for row in report["cases"]] == ["done", "failed", "done"]


def test_a_long_message_with_brackets_stays_one_plain_line(medfs, run, tmp_path):
    name = "[bold]" + "scan " * 20 + ".nii"
    (tmp_path / name).write_bytes(b"no scan")
    code, _, err = medfs("segment", tmp_path / name, "-o", tmp_path / "out", "-b", run)
    assert code == ExitCode.NOTHING_DONE
    assert len(err.splitlines()) == 2  # nothing is known of its size
    assert name in err


def test_a_peculiarity_of_a_scan_is_told(medfs, run, real_data, tmp_path):
    path = real_data / "awkward_files" / "nifti" / "shear.nii.gz"
    code, _, err = medfs("segment", path, "-o", tmp_path, "-b", run)
    assert code == ExitCode.OK
    assert "; shear.nii.gz: qform and sform place the volume" in err
    assert len(err.splitlines()) == 3


def test_without_a_model_it_says_how_to_get_one(medfs, scans, tmp_path):
    code, out, err = medfs("segment", scans, "-o", tmp_path / "out")
    assert (code, out) == (ExitCode.USAGE, "")
    (line,) = err.splitlines()
    assert line.startswith("medfs: no trained model given")
    assert "medfs train" in line
    assert "medfs demo" in line
    assert not (tmp_path / "out").exists()


def fails(outcome, code, said):
    assert outcome.code == code
    assert outcome.out == ""
    line = outcome.err.splitlines()[-1]
    assert line.startswith("medfs: ")
    assert said in line
    assert "Traceback" not in outcome.err


def test_results_do_not_go_among_the_scans(medfs, run, scans):
    fails(medfs("segment", scans, "-o", scans / "..", "-b", run, scans / ".."), ExitCode.USAGE, "is an input folder")
    fails(medfs("segment", scans, "-o", scans, "-b", run), ExitCode.USAGE, "is an input folder")


def test_wrong_calls_are_one_line(medfs, run, scans, tmp_path):
    out = ["-o", tmp_path / "out"]
    fails(medfs("segment", scans / "none.nii", *out, "-b", run), ExitCode.USAGE, "no such file or folder")
    fails(medfs("segment", scans, *out, "-b", tmp_path), ExitCode.SOME_FAILED, "not a finished medfs run")
    fails(medfs("segment", scans, *out, "-b", run, "--device", "gpu"), ExitCode.USAGE, "no device 'gpu'")
    fails(medfs("segment", scans, *out, "-b", run, "--organs", "aorta"), ExitCode.USAGE, "does not know aorta")
    fails(medfs("segment", scans, *out, "-b", run, "--organs", "kidney"), ExitCode.USAGE, "ambiguous")
    fails(medfs("segment", scans, *out, "-b", run, "--organs", ","), ExitCode.USAGE, "unknown structure")
    assert not (tmp_path / "out").exists()


def test_a_text_prior_of_another_encoder_is_refused(medfs, run, scans, tmp_path):
    TextPrior.random(NAMES).save(tmp_path / "other.safetensors")
    outcome = medfs("segment", scans, "-o", tmp_path / "out", "-b", run, "--text-prior", tmp_path / "other.safetensors")
    fails(outcome, ExitCode.USAGE, "the network was trained with")


def test_a_text_prior_of_the_same_encoder_changes_the_classes(medfs, run, scans, tmp_path):
    TextPrior.embedded(["aorta", "pancreas"]).save(tmp_path / "other.safetensors")
    code, _, _ = medfs(
        "segment", scans, "-o", tmp_path / "out", "-b", run, "--text-prior", tmp_path / "other.safetensors", "--stats"
    )
    assert code == ExitCode.OK
    rows = csv.DictReader((tmp_path / "out" / "statistics.csv").open())
    assert {row["organ"] for row in rows} == {"aorta", "pancreas"}


def test_an_output_that_is_a_file_is_a_storage_error(medfs, run, scans, tmp_path):
    (tmp_path / "out").write_text("a file")
    fails(medfs("segment", scans, "-o", tmp_path / "out", "-b", run), ExitCode.STORAGE, "cannot make this folder")


def test_what_the_reader_refuses_can_be_allowed(medfs, run, scans, tmp_path):
    header = nib.load(scans / "b.nii.gz").header.copy()
    header.set_sform(None, code=0)
    header.set_qform(None, code=0)
    header.set_data_dtype(np.float32)
    array = np.array(nib.load(scans / "b.nii.gz").dataobj, np.float32)
    array[0, 0, 0] = np.nan
    odd = tmp_path / "odd.nii.gz"
    nib.Nifti1Image(array, None, header).to_filename(odd)
    refused = medfs("segment", odd, "-o", tmp_path / "out", "-b", run)
    assert refused.code == ExitCode.NOTHING_DONE
    assert "assume_orientation" in refused.err
    half = medfs("segment", odd, "-o", tmp_path / "out", "-b", run, "--assume-orientation")
    assert "replace_nan" in half.err
    code, _, _ = medfs("segment", odd, "-o", tmp_path / "out", "-b", run, "--assume-orientation", "--replace-nan")
    assert code == ExitCode.OK


def test_small_pieces_go_on_request(medfs, run, scans, tmp_path):
    medfs("segment", scans / "b.nii.gz", "-o", tmp_path / "all", "-b", run)
    code, _, _ = medfs("segment", scans / "b.nii.gz", "-o", tmp_path / "one", "-b", run, "--largest")
    assert code == ExitCode.OK
    everything, kept = (read_labels(tmp_path / part / "b_seg.nii.gz").array for part in ("all", "one"))
    np.testing.assert_array_equal(kept, largest_components(everything))
    assert (kept != everything).any()


def test_a_few_shot_run_is_sent_to_its_own_command(medfs, scans, tmp_path):
    network = tmp_path / "run" / "models" / "model.safetensors"
    network.parent.mkdir(parents=True)
    network.write_bytes(b"")
    outcome = medfs("segment", scans, "-o", tmp_path / "out", "--bundle", tmp_path / "run")
    fails(outcome, ExitCode.USAGE, f"medfs fewshot --checkpoint {network} ")
    assert len(outcome.err.splitlines()) == 1
