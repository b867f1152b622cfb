"""``medfs doctor``: what it says, how it ends, and what it leaves alone."""

import json
import re
import subprocess
import sys

import nifti_bytes as nb
import numpy as np
import pytest
from bad_inputs import BAD

from medfs.errors import ExitCode
from medfs.io import find_cases, read_image, read_labels

ARRAYS = [nb.voxels((6, 5, 4), seed=seed) for seed in range(4)]


@pytest.fixture
def dataset(tmp_path):
    """Three cases: a sound one, one without a label map, one whose label map is of floats."""
    folder = tmp_path / "data"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number, name in enumerate("abc"):
        nb.write_nifti(folder / "images" / f"{name}.nii.gz", ARRAYS[number])
    nb.write_nifti(folder / "labels/a.nii.gz", ARRAYS[0] % 3)
    nb.write_nifti(folder / "labels/c.nii.gz", (ARRAYS[2] % 3).astype("f4"))
    return folder


def test_a_sound_folder_is_one_line_and_code_0(medfs, dataset):
    (dataset / "labels/c.nii.gz").unlink()
    assert medfs("doctor", dataset) == (0, "3 images, 1 label map: 0 faults, 0 notes; label values 0-2\n", "")


def test_notes_count_only_when_asked_to(medfs, dataset):
    code, out, _ = medfs("doctor", dataset)
    assert (code, out.splitlines()[0]) == (
        ExitCode.OK,
        "note   labels/c.nii.gz: label values are stored as float32; expected integers",
    )
    assert medfs("doctor", dataset, "--strict").code == ExitCode.SOME_FAILED


def test_values_outside_the_label_set_are_named_and_counted(medfs, dataset):
    assert medfs("doctor", dataset, "--labels", "liver,spleen").code == ExitCode.OK
    code, out, _ = medfs("doctor", dataset, "--labels", "liver")
    assert code == ExitCode.SOME_FAILED
    count = int((ARRAYS[0] % 3 == 2).sum())
    assert f"fault  labels/a.nii.gz: label values 2 ({count} voxels); expected 0 to 1" in out


def test_faults_of_pairs_and_names_are_told_together(medfs, dataset):
    nb.write_nifti(dataset / "labels/b.nii.gz", (ARRAYS[1] % 3)[1:])
    nb.write_nifti(dataset / "labels/lonely.nii.gz", ARRAYS[3] % 3)
    nb.write_nifti(dataset / "images/A_0000.nii.gz", ARRAYS[3])
    nb.write_nifti(dataset / "images/turned.nii.gz", np.ascontiguousarray(ARRAYS[1][:, ::-1]))
    code, out, _ = medfs("doctor", dataset)
    assert code == ExitCode.SOME_FAILED
    assert out.splitlines()[:-2] == [
        "fault  images/A_0000.nii.gz: the same case name as a.nii.gz; rename all but one",
        "fault  images/a.nii.gz: the same case name as A_0000.nii.gz; rename all but one",
        "fault  labels/b.nii.gz: shapes (5, 5, 4) and (6, 5, 4); expected equal ones (image b.nii.gz)",
        "note   labels/c.nii.gz: label values are stored as float32; expected integers",
        "fault  images/turned.nii.gz: the voxels of b.nii.gz, flipped or turned; expected each scan once",
    ]
    assert out.splitlines()[-2] == "fault  labels/lonely.nii.gz: a label map without an image of its name"
    assert out.splitlines()[-1].startswith("5 images, 4 label maps: 5 faults in 5 of them, 1 note;")


def test_every_bad_file_is_a_line_and_the_others_are_read(medfs, tmp_path):
    images = [bad for bad in BAD if not bad.labels]
    for bad in images:
        folder = tmp_path / "data" / bad.id
        folder.mkdir(parents=True)
        bad.make(folder)
    code, out, err = medfs("doctor", tmp_path / "data")
    assert (code, err) == (ExitCode.SOME_FAILED, "")
    said = {}
    for line in out.splitlines()[:-1]:
        level, place, text = re.fullmatch(r"(fault|note ) {2}([^/]+)/.*?: (.+)", line).groups()
        said.setdefault(place, []).append((level, text))
    for bad in images:
        lines = said.get(bad.id, [])
        if bad.refused:
            assert any(level == "fault" and re.search(bad.refused, text) for level, text in lines), bad.id
        else:
            assert bad.remark in "".join(text for _, text in lines), bad.id
    assert out.splitlines()[-1].startswith(f"{len(images)} images: ")


def test_on_a_terminal_the_lines_still_go_to_standard_output(medfs, dataset, monkeypatch):
    plain = medfs("doctor", dataset).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, err = medfs("doctor", dataset)
    assert (code, out) == (ExitCode.OK, plain)
    assert "reading" in err


def test_the_report_holds_every_file(medfs, dataset, tmp_path):
    assert medfs("doctor", dataset, "--json", tmp_path / "report.json").code == ExitCode.OK
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["faults"] == 0
    assert [entry["file"] for entry in report["files"]] == [
        "images/a.nii.gz", "labels/a.nii.gz", "images/b.nii.gz", "images/c.nii.gz", "labels/c.nii.gz"
    ]  # fmt: skip
    labels = report["files"][4]
    assert labels["shape"] == [6, 5, 4]
    assert labels["spacing_mm"] == [0.8, 0.9, 2.5]
    assert {int(v): n for v, n in labels["voxels_by_label"].items()} == {
        v: int((ARRAYS[2] % 3 == v).sum()) for v in range(3)
    }
    assert [finding["level"] for finding in labels["findings"]] == ["note"]


def test_repairs_go_into_another_folder_that_is_sound(medfs, dataset, tmp_path):
    cut = dataset / "images/cut.nii.gz"
    cut.write_bytes((dataset / "images/a.nii.gz").read_bytes()[:-9])
    before = {path: path.read_bytes() for path in dataset.rglob("*.gz")}
    code, out, _ = medfs("doctor", dataset, "--fix", "-o", tmp_path / "out")
    assert code == ExitCode.SOME_FAILED
    assert "repaired  labels/c.nii.gz" in out
    assert "left out  images/cut.nii.gz: truncated" in out
    assert {path: path.read_bytes() for path in dataset.rglob("*.gz")} == before
    assert medfs("doctor", tmp_path / "out", "--strict").code == ExitCode.OK
    assert [case.name for case in find_cases(tmp_path / "out")] == ["a", "b", "c"]
    np.testing.assert_array_equal(read_labels(tmp_path / "out/labels/c.nii.gz").array, ARRAYS[2] % 3)
    assert (tmp_path / "out/images/a.nii.gz").read_bytes() == before[dataset / "images/a.nii.gz"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fix"], "--fix and --output go together"),
        (["-o", "out"], "--fix and --output go together"),
        (["--fix", "-o", "data/out"], "overlaps with data"),
        (["--fix", "-o", "data"], "overlaps with data"),
        (["--fix", "-o", "."], "overlaps with data"),
        (["--labels", "no such organ"], "no such organ"),
    ],
)
def test_wrong_calls_are_one_line_and_write_nothing(medfs, dataset, monkeypatch, arguments, said):
    monkeypatch.chdir(dataset.parent)
    code, out, err = medfs("doctor", "data", *arguments)
    assert (code, out) == (ExitCode.USAGE, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in dataset.parent.iterdir()] == ["data"]


def test_nothing_to_look_at_is_a_usage_error(medfs, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "missing"):
        assert medfs("doctor", path).code == ExitCode.USAGE


def test_a_report_or_a_folder_that_cannot_be_written_is_a_storage_error(medfs, dataset, tmp_path):
    (tmp_path / "file").write_text("a file")
    assert medfs("doctor", dataset, "--json", tmp_path / "none/report.json").code == ExitCode.STORAGE
    assert medfs("doctor", dataset, "--fix", "-o", tmp_path / "file").code == ExitCode.STORAGE


def test_names_cannot_forge_a_line(medfs, tmp_path):
    folder = tmp_path / "a\nfault  b"
    folder.mkdir()
    nb.write_nifti(folder / "c\x1b[31m.nii", ARRAYS[0], bitpix=99)
    code, out, _ = medfs("doctor", tmp_path)
    assert code == ExitCode.OK
    assert out.splitlines()[0].startswith(r"note   a\x0afault  b/c\x1b[31m.nii: bitpix 99")
    assert len(out.splitlines()) == 2


def test_a_fault_of_medfs_stops_no_other_file(medfs, dataset, monkeypatch):
    def broken(path):
        if path.name == "a.nii.gz":
            raise RuntimeError("not\nforeseen")
        return read_image(path)

    monkeypatch.setattr("medfs.io.inspection.read_image", broken)
    code, out, _ = medfs("doctor", dataset)
    assert code == ExitCode.SOME_FAILED
    assert out.splitlines()[0] == "fault  images/a.nii.gz: could not be read: RuntimeError: not foreseen"
    assert "3 images, 2 label maps" in out


def test_real_awkward_files_are_named_and_real_datasets_are_sound(medfs, real_data):
    code, out, _ = medfs("doctor", real_data / "awkward_files")
    assert code == ExitCode.SOME_FAILED
    assert "fault  nifti/shear.nii.gz: qform and sform place the volume up to 35.6 mm apart" in out
    assert len(re.findall(r"orientations/.*: the voxels of ALS.nii.gz, flipped or turned", out)) == 10
    code, out, _ = medfs("doctor", real_data / "chaost2_mr", "--labels", "chaos")
    said = "20 images, 20 label maps, 20 supervoxel maps: 0 faults, 0 notes; label values 0-4\n"
    assert (code, out) == (ExitCode.OK, said)


@pytest.mark.subprocess
def test_neither_torch_nor_monai_is_loaded(dataset):
    code = (
        "import sys\nfrom medfs.cli.main import main\ntry:\n    main()\nexcept SystemExit as end:\n"
        "    loaded = {'torch', 'monai', 'matplotlib', 'SimpleITK'} & set(sys.modules)\n"
        "    sys.exit(f'loaded: {loaded}' if loaded or end.code else 0)"
    )
    subprocess.run([sys.executable, "-c", code, "doctor", dataset], check=True, capture_output=True)


@pytest.mark.subprocess
def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    for number in range(300):
        (tmp_path / f"{number}.nii").touch()
    command = subprocess.Popen(
        [sys.executable, "-m", "medfs", "doctor", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout.readline() == "fault  0.nii: empty file\n"
    command.stdout.close()
    assert command.stderr.read() == ""
    assert command.wait() == ExitCode.SOME_FAILED
