"""medfs export: files, folders, previews, bad files and exit codes."""

import csv
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import slicerio
import typer
from typer.testing import CliRunner

from medfs.cli.export import export
from medfs.errors import ExitCode, MedfsError, StorageError, UsageError

app = typer.Typer()
app.command()(export)
AFFINE = np.diag([-1.0, 1.5, 3.0, 1.0])


def run(*arguments: object) -> tuple[ExitCode, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return ExitCode(result.return_value), " ".join(result.stderr.split())


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def label_map() -> np.ndarray:
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[1:4, 2:5, 2:6] = 6
    labels[4, 5, 6] = 1
    return labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases as ``medfs segment`` names them, with their scans in another folder."""
    for case in ("a", "b"):
        save(tmp_path / "labels" / f"{case}_seg.nii.gz", label_map())
        save(tmp_path / "images" / f"{case}_0000.nii.gz", np.random.default_rng(0).normal(size=(6, 7, 8)))
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_file_becomes_one_segmentation(tmp_path: Path):
    source = save(tmp_path / "x.nii.gz", label_map())
    code, message = run(source, "-o", tmp_path / "out" / "y.seg.nrrd", "--labels", "amos")
    assert (code, files(tmp_path / "out")) == (ExitCode.OK, ["y.seg.nrrd"])
    segmentation = slicerio.read_segmentation(str(tmp_path / "out" / "y.seg.nrrd"))
    np.testing.assert_array_equal(segmentation["voxels"], label_map())
    np.testing.assert_allclose(segmentation["ijkToLPS"], np.diag([-1.0, -1, 1, 1]) @ AFFINE)
    assert len(segmentation["segments"]) == 15
    assert message == f"1 of 1 exported to {tmp_path / 'out' / 'y.seg.nrrd'}"


def test_a_folder_becomes_a_folder_with_everything_asked_for(folder: Path):
    out = folder / "out"
    code, _ = run(
        *(folder / "labels", "-o", out, "--labels", "amos", "--image", folder / "images"),
        *("--preview", "--csv", "--stats"),
    )
    assert code is ExitCode.OK
    assert files(out) == sorted(
        [f"{case}{end}" for case in "ab" for end in (".seg.nrrd", "_preview.png", "_seg.csv")] + ["statistics.csv"]
    )
    with open(out / "statistics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == ["a"] * 15 + ["b"] * 15
    assert float(rows[5]["volume_ml"]) == pytest.approx(36 * 4.5 / 1000)
    assert (rows[5]["organ"], rows[5]["touches_border"]) == ("liver", "False")


def test_statistics_of_a_single_file_lie_beside_it(tmp_path: Path):
    source = save(tmp_path / "x.nii.gz", label_map())
    run(source, "-o", tmp_path / "y.seg.nrrd", "--labels", "amos", "--stats")
    assert files(tmp_path) == ["x.nii.gz", "y.seg.nrrd", "y_statistics.csv"]


def test_names_can_be_given_instead_of_a_set(tmp_path: Path):
    source = save(tmp_path / "x.nii.gz", (label_map() > 0).astype(np.uint8))
    run(source, "-o", tmp_path / "y.seg.nrrd", "--labels", "liver,LK")
    segments = slicerio.read_segmentation(str(tmp_path / "y.seg.nrrd"))["segments"]
    assert [segment["name"] for segment in segments] == ["Liver", "Left kidney"]


def test_values_without_a_name_are_exported_with_a_warning(tmp_path: Path):
    source = save(tmp_path / "x.nii.gz", label_map())
    code, message = run(source, "-o", tmp_path / "y.seg.nrrd")
    assert code is ExitCode.OK
    assert "medfs: warning: y.seg.nrrd: no organ is known for label value 1, 6;" in message


def test_one_bad_file_does_not_stop_the_others(folder: Path):
    (folder / "labels" / "aa_seg.nii.gz").write_bytes(b"no gzip")
    code, message = run(folder / "labels", "-o", folder / "out", "--labels", "amos", "--stats")
    assert code is ExitCode.SOME_FAILED
    assert "medfs: aa_seg.nii.gz:" in message
    assert "2 of 3 exported" in message
    assert files(folder / "out") == ["a.seg.nrrd", "b.seg.nrrd", "statistics.csv"]


def test_an_image_on_another_grid_fails_its_case_before_anything_is_written(folder: Path):
    save(folder / "images" / "b_0000.nii.gz", np.ones((6, 7, 8)), AFFINE @ np.diag([1, 1, 1.1, 1]))
    arguments = ("--labels", "amos", "--preview", "--image", folder / "images")
    code, message = run(folder / "labels", "-o", folder / "out", *arguments)
    assert code is ExitCode.SOME_FAILED
    assert "expected the same grid" in message
    assert files(folder / "out") == ["a.seg.nrrd", "a_preview.png"]


def test_nothing_done_has_its_own_code(tmp_path: Path):
    (tmp_path / "x.nii.gz").write_bytes(b"no gzip")
    code, _ = run(tmp_path / "x.nii.gz", "-o", tmp_path / "out", "--stats")
    assert code is ExitCode.NOTHING_DONE
    assert files(tmp_path) == ["x.nii.gz"]


def test_exports_hidden_files_and_notes_in_a_folder_are_passed_over(folder: Path):
    labels = folder / "labels"
    (labels / "._a_seg.nii.gz").write_bytes(b"resource fork")
    (labels / "notes.txt").write_text("hello")
    run(labels, "-o", labels, "--labels", "amos")
    code, message = run(labels, "-o", labels, "--labels", "amos")
    assert code is ExitCode.OK
    assert "2 of 2 exported" in message


def test_labels_and_images_of_a_dataset_pair_up(tmp_path: Path):
    save(tmp_path / "labelsTr" / "label_7.nii.gz", label_map())
    save(tmp_path / "imagesTr" / "image_7.nii.gz", np.ones((6, 7, 8)))
    arguments = ("--labels", "amos", "--preview", "--image", tmp_path / "imagesTr")
    code, message = run(tmp_path / "labelsTr", "-o", tmp_path / "out", *arguments)
    assert code is ExitCode.OK
    assert "medfs: warning: image_7.nii.gz: all voxels are 1" in message
    assert files(tmp_path / "out") == ["label_7.seg.nrrd", "label_7_preview.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["labels", "-o", "out", "--preview"], "go together"),
        (["labels", "-o", "out", "--image", "images"], "go together"),
        (["labels", "-o", "out", "--csv"], "--csv needs --labels"),
        (["labels", "-o", "out", "--labels", "amoz"], "amoz"),
        (["labels", "-o", "out.seg.nrrd"], "expected a folder"),
        (["missing.nii.gz", "-o", "out"], "no such file"),
        (
            ["images/a_0000.nii.gz", "-o", "out", "--image", "no", "--preview"],
            "no such file",
        ),
        (["labels", "-o", "out", "--image", "images/a_0000.nii.gz", "--preview"], "expected a folder of images"),
        (["labels", "-o", "out", "--image", "labels/a_seg.nii.gz", "--preview"], "expected a folder of images"),
        (["empty", "-o", "out"], "no label map inside"),
        (["images", "-o", "out", "--image", "empty", "--preview"], "no image of a, b"),
    ],
)
def test_a_wrong_call_is_told_before_anything_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    before = sorted(folder.rglob("*"))
    with pytest.raises(UsageError, match=message):
        run(*arguments)
    assert sorted(folder.rglob("*")) == before


def test_a_segmentation_is_not_replaced_by_its_own_export(tmp_path: Path):
    source = save(tmp_path / "x.nii.gz", label_map())
    run(source, "-o", tmp_path / "x.seg.nrrd", "--labels", "amos")
    before = (tmp_path / "x.seg.nrrd").read_bytes()
    with pytest.raises(UsageError, match="would replace the label map"):
        run(tmp_path / "x.seg.nrrd", "-o", tmp_path, "--labels", "amos")
    code, _ = run(tmp_path / "x.seg.nrrd", "-o", tmp_path / "again", "--labels", "amos")
    assert code is ExitCode.OK
    assert (tmp_path / "again" / "x.seg.nrrd").read_bytes() == before


def test_the_image_of_a_single_file_can_be_looked_up_in_a_folder(folder: Path):
    labels = folder / "labels" / "b_seg.nii.gz"
    code, _ = run(labels, "-o", folder / "out", "--labels", "amos", "--image", folder / "images", "--preview")
    assert (code, files(folder / "out")) == (ExitCode.OK, ["b.seg.nrrd", "b_preview.png"])
    (folder / "images" / "b_0000.nii.gz").unlink()
    with pytest.raises(UsageError, match="no image of b"):
        run(labels, "-o", folder / "out", "--labels", "amos", "--image", folder / "images", "--preview")


def test_equal_case_names_are_refused(tmp_path: Path):
    save(tmp_path / "labels" / "a.nii.gz", label_map())
    save(tmp_path / "labels" / "a_seg.nii.gz", label_map())
    with pytest.raises(MedfsError, match="equal case names"):
        run(tmp_path / "labels", "-o", tmp_path / "out")


def test_a_file_in_the_way_of_the_folder_is_a_storage_error(folder: Path):
    (folder / "out").write_text("in the way")
    with pytest.raises(StorageError, match="out"):
        run(folder / "labels", "-o", folder / "out", "--labels", "amos")


@pytest.mark.subprocess
def test_it_starts_without_torch_monai_and_pyplot(tmp_path: Path):
    source = save(tmp_path / "x.nii.gz", label_map())
    image = save(tmp_path / "i.nii.gz", np.random.default_rng(0).normal(size=(6, 7, 8)))
    program = (
        "import sys; from medfs.cli.export import export; from pathlib import Path\n"
        "assert 'numpy' not in sys.modules\n"
        f"export(Path({str(source)!r}), Path({str(tmp_path / 'o')!r}), 'amos', Path({str(image)!r}), preview=True)\n"
        "print([m for m in ('torch', 'monai', 'SimpleITK', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
