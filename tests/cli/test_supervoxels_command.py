"""``medfs supervoxels``: what it says, how it ends, and what it does without."""

import subprocess
import sys

import pytest

from medfs.errors import ExitCode
from medfs.io import Volume, read_labels, write_image
from medfs.phantom import phantom_case


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed, name in enumerate(("b", "a_0000")):
        case = phantom_case(seed, spacing_mm=14.0)
        write_image(folder / f"{name}.nii.gz", case.image, Volume.from_array(case.image, case.affine))
    return folder


def test_every_case_is_one_line_and_a_second_call_skips_them(medfs, scans, tmp_path):
    call = ["supervoxels", scans, "-o", tmp_path / "out", "--min-size", 60, "--preview", "--workers", 2]
    code, out, err = medfs(*call)
    first, *lines = err.splitlines()
    assert (code, out) == (ExitCode.OK, "")
    assert first == "2 cases, 2 at a time; up to about 0.12 GB of memory"
    assert {line.split("] ")[1].split(",")[0] for line in lines} == {"a: done", "b: done"}
    assert all(" supervoxels in " in line and line.endswith(" s") for line in lines)
    names = ["a.nii.gz", "a_preview.png", "b.nii.gz", "b_preview.png", "report.csv", "report.json", "report.jsonl"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert medfs(*call).err.splitlines()[1:] == ["[1/2] a: skipped, as before", "[2/2] b: skipped, as before"]


def test_parameters_arrive(medfs, scans, tmp_path):
    options = {"few": ["--min-size", 400], "many": ["--min-size", 20], "all": ["--mask", "none", "--min-size", 400]}
    labels = {}
    for name, option in options.items():
        assert medfs("supervoxels", scans / "b.nii.gz", "-o", tmp_path / name, *option).code == ExitCode.OK
        labels[name] = read_labels(tmp_path / name / "b.nii.gz").array
    assert labels["few"].max() < labels["many"].max()
    assert labels["all"].min() == 1
    assert labels["few"].min() == 0


def test_one_part_of_the_cases_is_done(medfs, scans, tmp_path):
    code, _, err = medfs("supervoxels", scans, "-o", tmp_path / "out", "--min-size", 60, "--part", "2/2")
    assert code == ExitCode.OK
    assert err.splitlines()[1].startswith("[1/1] b: done")
    assert not (tmp_path / "out" / "a.nii.gz").exists()


def test_failures_are_one_line_each_and_decide_the_exit_code(medfs, scans, tmp_path):
    (scans / "b.nii.gz").write_bytes(b"no scan")
    code, _, err = medfs("supervoxels", scans, "-o", tmp_path / "out", "--min-size", 60)
    assert code == ExitCode.SOME_FAILED
    assert err.splitlines()[2].startswith("[2/2] b: failed, b.nii.gz: ")
    assert medfs("supervoxels", scans / "b.nii.gz", "-o", tmp_path / "x").code == ExitCode.NOTHING_DONE
    (tmp_path / "file").write_text("a file")
    assert medfs("supervoxels", scans, "-o", tmp_path / "file").code == ExitCode.STORAGE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scale", "nan"], "scale nan"),
        (["--min-size", "-3"], "min_size -3"),
        (["--workers", "0"], "workers 0"),
        (["--part", "3/2"], "--part 3/2"),
        (["--workers", "2", "--timeout-min", "1"], "--timeout-min"),
    ],
)
def test_wrong_calls_are_one_line(medfs, scans, tmp_path, arguments, said):
    code, out, err = medfs("supervoxels", scans, "-o", tmp_path / "out", *arguments)
    assert (code, out) == (ExitCode.USAGE, "")
    (line,) = err.splitlines()
    assert line.startswith(f"medfs: {said}")
    assert not (tmp_path / "out").exists()


def test_results_do_not_go_among_the_scans(medfs, scans):
    code, _, err = medfs("supervoxels", scans, "-o", scans)
    assert code == ExitCode.USAGE
    assert "holds the scans" in err.splitlines()[-1]


HEAVY = """
import sys
from medfs.cli.main import main
sys.argv = ["medfs", "supervoxels", sys.argv[1], "-o", sys.argv[2], "--min-size", "60", "--preview"]
try:
    main()
except SystemExit as end:
    print(end.code, *sorted({"torch", "monai", "itk", "transformers"} & set(sys.modules)))
"""


@pytest.mark.subprocess
def test_a_run_needs_neither_torch_nor_monai(scans, tmp_path):
    call = [sys.executable, "-c", HEAVY, scans, tmp_path / "out"]
    said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["0", "0"]  # the process that works and the one that watches it
    assert len(list((tmp_path / "out").iterdir())) == 7
