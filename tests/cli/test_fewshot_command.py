"""``medfs fewshot``: one labelled scan and a folder in, label maps out."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import slicerio
import torch
from reference_vectors import load_case

from medfs.anatomy import label_set
from medfs.errors import ExitCode
from medfs.fewshot import FewShotSegmentor, save_segmentor
from medfs.fewshot.heads import QNetHead
from medfs.inference.records import read_records
from medfs.io import Volume, read_image, read_labels, write_image, write_labels
from medfs.networks import ResNetEncoder
from medfs.phantom import phantom_case

SIZE = ["--size", 32]
PRESENT = __file__
ORGANS = {1: "liver", 2: "right_kidney", 3: "left_kidney", 4: "spleen"}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Labelled phantoms; queries/ holds two other ones."""
    folder = tmp_path_factory.mktemp("scans")
    (folder / "queries").mkdir()
    for seed, name in enumerate(("a", "b", "queries/c", "queries/d")):
        case = phantom_case(seed, spacing_mm=14.0, modality="mr")
        values = [(case.labels == label_set("amos").names.index(organ), value) for value, organ in ORGANS.items()]
        labels = np.select(*map(list, zip(*values, strict=True)), 0).astype(np.uint8)
        write_image(folder / f"{name}.nii.gz", case.image, Volume.from_array(case.image, case.affine))
        if "/" not in name:
            write_labels(folder / f"{name}_labels.nii.gz", labels, Volume.from_array(labels, case.affine))
    return folder


def given(scans, *names):
    return [part for name in names for part in support(scans, name)]


def support(scans, name):
    return ["--support", scans / f"{name}.nii.gz", "--support-mask", scans / f"{name}_labels.nii.gz"]


def test_one_support_segments_a_folder_and_says_what_no_training_means(medfs, scans, tmp_path):
    code, out, err = medfs(
        "fewshot",
        *given(scans, "a"),
        "--query",
        scans / "queries",
        "-o",
        tmp_path,
        *SIZE,
        "--labels",
        "chaos",
        "--slicer",
    )
    assert (code, out) == (ExitCode.OK, "")
    first, notice, memory, *lines = err.splitlines()
    assert first == "2 cases to segment from 1 support; reading them ..."
    assert notice.startswith("no --checkpoint: the network is untrained.")
    assert re.fullmatch(r"up to about [\d.]+ GB of memory for the largest case", memory)
    assert [line.partition(", ")[0] for line in lines] == ["[1/2] c: done", "[2/2] d: done"]
    labels = read_labels(tmp_path / "c_seg.nii.gz")
    assert labels.array.shape == read_image(scans / "queries" / "c.nii.gz").array.shape
    assert set(np.unique(labels.array)) <= {0, *ORGANS}
    assert labels.array.any()
    segments = slicerio.read_segmentation(str(tmp_path / "c.seg.nrrd"))["segments"]
    assert [segment["name"] for segment in segments] == ["Liver", "Right kidney", "Left kidney", "Spleen"]


def test_with_two_supports_what_can_be_expected_comes_first(medfs, scans, tmp_path):
    code, out, _ = medfs(
        "fewshot", *given(scans, "a", "b"), "--query", scans / "queries" / "c.nii.gz", "-o", tmp_path, *SIZE,
        "--labels", "chaos", "--organs", "liver, spleen", "--stats",
    )  # fmt: skip
    assert code == ExitCode.OK
    title, *lines = out.splitlines()
    assert title == "Dice of each support segmented from the others:"
    assert [line.split(":")[0].strip() for line in lines] == ["liver", "spleen"]
    assert all("(a 0." in line and ", b 0." in line for line in lines)
    assert set(np.unique(read_labels(tmp_path / "c_seg.nii.gz").array)) <= {0, 1, 4}
    assert {row["organ"] for row in csv.DictReader((tmp_path / "statistics.csv").open())} == set(ORGANS.values())


def test_an_organ_of_one_support_has_no_expected_score_and_is_segmented(medfs, scans, tmp_path):
    labels = read_labels(scans / "b_labels.nii.gz")
    write_labels(tmp_path / "liver.nii.gz", np.where(labels.array == 1, labels.array, 0), labels)
    code, out, _ = medfs(
        "fewshot", *given(scans, "a"), "--support", scans / "b.nii.gz", "--support-mask", tmp_path / "liver.nii.gz",
        "--query", scans / "queries" / "c.nii.gz", "-o", tmp_path, *SIZE, "--labels", "chaos", "--organs", "spleen",
    )  # fmt: skip
    assert (code, out) == (ExitCode.OK, "no organ is shown by two supports: none could be segmented from the others\n")


def test_organs_need_no_name(medfs, scans, tmp_path):
    query = scans / "queries" / "c.nii.gz"
    code, _, _ = medfs(
        "fewshot", *given(scans, "a"), "--query", query, "-o", tmp_path, *SIZE, "--slicer", "--organs", "organ_1"
    )
    assert code == ExitCode.OK
    segments = slicerio.read_segmentation(str(tmp_path / "c.seg.nrrd"))["segments"]
    assert [segment["name"] for segment in segments] == [f"Organ {value}" for value in ORGANS]


def test_a_bad_query_does_not_stop_the_others(medfs, scans, tmp_path):
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    code, _, err = medfs(
        "fewshot", *given(scans, "a"), "--query", tmp_path / "bad.nii.gz", "--query", scans / "queries" / "c.nii.gz",
        "-o", tmp_path / "out", *SIZE,
    )  # fmt: skip
    assert code == ExitCode.SOME_FAILED
    assert "[1/2] bad: failed, bad.nii.gz: " in err
    assert "[2/2] c: done" in err


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--support", PRESENT], "2 --support and 1 --support-mask; expected one mask a scan", ExitCode.USAGE),
        (["--labels", "liver"], "label value 4 has no name", ExitCode.USAGE),
        (["--labels", "chaos", "--organs", "aorta"], "no support shows aorta; they show liver, right", ExitCode.USAGE),
        (["--head", "panet"], "no head 'panet'; expected one of adnet, ", ExitCode.USAGE),
        (["--checkpoint", "none.safetensors"], "none.safetensors: cannot be read", ExitCode.SOME_FAILED),
        (["--checkpoint", "."], "models/model.safetensors: cannot be read", ExitCode.SOME_FAILED),
        (["--support", "none.nii"], "none.nii: no such file or folder", ExitCode.USAGE),
        (["--query", "none.nii"], "none.nii: no such file or folder", ExitCode.USAGE),
        (["--device", "gpu"], "no device 'gpu' here", ExitCode.USAGE),
    ],
)
def test_wrong_calls_are_one_line(medfs, scans, tmp_path, arguments, said, code):
    outcome = medfs("fewshot", *given(scans, "a"), "--query", scans / "queries", "-o", tmp_path / "out", *arguments)
    assert outcome.code == code
    line = outcome.err.splitlines()[-1]
    assert line.startswith("medfs: ")
    assert said in line
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "out").exists()


def test_an_image_in_place_of_the_mask_is_refused(medfs, scans, tmp_path):
    labels = read_labels(scans / "a_labels.nii.gz")
    write_image(tmp_path / "bright.nii.gz", labels.array.astype(np.int16) * 300, labels)
    outcome = medfs(
        "fewshot", "--support", scans / "a.nii.gz", "--support-mask", tmp_path / "bright.nii.gz",
        "--query", scans / "queries", "-o", tmp_path / "out",
    )  # fmt: skip
    assert outcome.code == ExitCode.USAGE
    assert "bright.nii.gz: label value 1200; expected a label map" in outcome.err.splitlines()[-1]


def test_a_mask_of_another_grid_is_refused(medfs, scans, tmp_path):
    labels = read_labels(scans / "a_labels.nii.gz")
    write_labels(tmp_path / "other.nii.gz", labels.array[1:], Volume.from_array(labels.array[1:], labels.affine))
    outcome = medfs(
        "fewshot", "--support", scans / "a.nii.gz", "--support-mask", tmp_path / "other.nii.gz",
        "--query", scans / "queries", "-o", tmp_path / "out",
    )  # fmt: skip
    assert outcome.code == ExitCode.SOME_FAILED
    assert "other.nii.gz and a.nii.gz: shapes" in outcome.err.splitlines()[-1]


@pytest.fixture(scope="module")
def volume_network(tmp_path_factory):
    """The file of an untrained network for volumes of 14 mm."""
    torch.manual_seed(0)
    encoder = ResNetEncoder(18, spatial_dims=3, width=4, spacing_mm=(14, 14, 14), stem=(2, 1), norm="instance")
    path = tmp_path_factory.mktemp("network") / "volumes.safetensors"
    save_segmentor(path, FewShotSegmentor(encoder, QNetHead(encoder.out_channels, 8, pool="feature")))
    return path


def test_a_network_for_volumes_segments_a_folder(medfs, scans, volume_network, tmp_path):
    code, out, _ = medfs(
        "fewshot", *given(scans, "a", "b"), "--query", scans / "queries", "-o", tmp_path, "--checkpoint",
        volume_network, "--labels", "chaos", "--calibrate", "--slicer",
    )  # fmt: skip
    assert code == ExitCode.OK
    assert out.startswith("Dice of each support segmented from the others:\n  liver: mean 0.")
    for name in "cd":
        scan, labels = read_image(scans / "queries" / f"{name}.nii.gz"), read_labels(tmp_path / f"{name}_seg.nii.gz")
        np.testing.assert_array_equal(labels.affine, scan.affine)
        assert labels.array.shape == scan.array.shape
        assert 1 in labels.array
        assert (tmp_path / f"{name}.seg.nrrd").exists()
        assert (tmp_path / f"{name}_agreement.nii.gz").exists()


def test_sizes_that_a_network_for_volumes_cannot_see_are_one_line(medfs, scans, volume_network, tmp_path):
    image = read_image(scans / "queries" / "c.nii.gz")
    for name, scale in (("far", 30.0), ("near", 1e-3)):
        affine = image.affine @ np.diag([scale, scale, scale, 1.0])
        (tmp_path / "queries").mkdir(exist_ok=True)
        write_image(tmp_path / "queries" / f"{name}.nii.gz", image.array, Volume.from_array(image.array, affine))
    outcome = medfs(
        "fewshot", *given(scans, "a"), "--query", tmp_path / "queries", "-o", tmp_path / "out", "--checkpoint",
        volume_network, "--no-body",
    )  # fmt: skip
    assert outcome.code == ExitCode.NOTHING_DONE
    far, near = outcome.err.splitlines()[-2:]
    assert far.startswith("[1/2] far: failed, far.nii.gz: ")
    assert "voxels of 14 x 14 x 14 mm for the network; expected at most" in far
    assert near.startswith("[2/2] near: failed, a volume of 1 x 1 x 1 voxels is too small for the network")


@pytest.fixture(scope="module")
def folders(scans, tmp_path_factory):
    """The labelled phantoms as a dataset."""
    folder = tmp_path_factory.mktemp("dataset")
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for name in "ab":
        shutil.copy(scans / f"{name}.nii.gz", folder / "images" / f"image_{name}.nii.gz")
        shutil.copy(scans / f"{name}_labels.nii.gz", folder / "labels" / f"label_{name}.nii.gz")
    return folder


def test_folders_of_supports_give_what_their_files_give(medfs, scans, folders, tmp_path):
    query = ["--query", scans / "queries" / "c.nii.gz", *SIZE, "--labels", "chaos", "--no-agreement"]
    ways = {
        "files": given(scans, "a", "b"),
        "folders": ["--support", folders / "images", "--support-mask", folders / "labels"],
        "dataset": ["--support", folders],
    }
    for name, supports in ways.items():
        assert medfs("fewshot", *supports, *query, "-o", tmp_path / name).code == ExitCode.OK
    results = [(tmp_path / name / "c_seg.nii.gz").read_bytes() for name in ways]
    assert results[0] == results[1] == results[2]
    assert not (tmp_path / "files" / "c_agreement.nii.gz").exists()


def test_the_agreement_of_two_supports_is_written_and_reported(medfs, scans, folders, tmp_path):
    query = scans / "queries" / "c.nii.gz"
    arguments = ["--query", query, *SIZE, "--labels", "chaos", "--stats", "--html", "-o", tmp_path]
    assert medfs("fewshot", "--support", folders, *arguments).code == ExitCode.OK
    labels, percent = read_labels(tmp_path / "c_seg.nii.gz"), read_labels(tmp_path / "c_agreement.nii.gz")
    np.testing.assert_array_equal(percent.affine, read_image(query).affine)
    assert set(np.unique(percent.array)) == {0, 50, 100}
    expected = {organ: percent.array[labels.array == value].mean() for value, organ in ORGANS.items()}
    rows = {
        row["organ"]: float(row["agreement_percent"]) for row in csv.DictReader((tmp_path / "statistics.csv").open())
    }
    assert rows == pytest.approx(expected, abs=0.06)
    (record,) = read_records(tmp_path).values()
    assert record["agreement_percent"] == rows
    assert "c_agreement.nii.gz" in record["outputs"]
    assert "Agreement of the supports in %" in (tmp_path / "report.html").read_text()


def test_a_second_call_does_only_what_is_left(medfs, scans, tmp_path):
    arguments = ["fewshot", *given(scans, "a"), "--query", scans / "queries", "-o", tmp_path, *SIZE, "--stats"]
    medfs(*arguments)
    statistics = (tmp_path / "statistics.csv").read_bytes()
    (tmp_path / "d_seg.nii.gz").unlink()
    code, _, err = medfs(*arguments)
    assert code == ExitCode.OK
    assert [line.partition(", ")[0] for line in err.splitlines()[-2:]] == ["[1/2] c: skipped", "[2/2] d: done"]
    assert (tmp_path / "statistics.csv").read_bytes() == statistics
    other = medfs(*arguments, "--organs", "organ_1")
    assert [line.partition(", ")[0] for line in other.err.splitlines()[-2:]] == ["[1/2] c: done", "[2/2] d: done"]


def test_an_organ_that_nobody_finds_is_said_to_be_missing(medfs, scans, tmp_path):
    flat = read_image(scans / "queries" / "c.nii.gz")
    upper = np.ascontiguousarray(flat.array[:, :, -1:])
    write_image(tmp_path / "top.nii.gz", upper, Volume.from_array(upper, flat.affine))
    code, _, err = medfs(
        "fewshot", *given(scans, "a"), "--query", tmp_path / "top.nii.gz", "-o", tmp_path / "out", *SIZE,
        "--labels", "chaos", "--html", "--head", "dmap",
    )  # fmt: skip
    assert code == ExitCode.OK
    found = set(np.unique(read_labels(tmp_path / "out" / "top_seg.nii.gz").array))
    missing = [organ for value, organ in ORGANS.items() if value not in found]
    assert missing
    said = f"not found: {', '.join(missing)}"
    assert err.splitlines()[-1].endswith(f"; {said}")
    assert said in (tmp_path / "out" / "report.html").read_text()
    assert read_records(tmp_path / "out")["top"]["warnings"] == [said]


def test_reference_dmap_checkpoint_segments_a_scan(medfs, reference: Path, scans, tmp_path):
    torch.save(load_case(reference, "dmap").parameters, tmp_path / "released.pth")
    network = tmp_path / "dmap.safetensors"
    medfs("convert-checkpoint", "--from", "dmap", tmp_path / "released.pth", "-o", network)
    code, _, err = medfs(
        "fewshot", *given(scans, "a"), "--query", scans / "queries" / "c.nii.gz", "-o", tmp_path / "out", "--size", 32,
        "--checkpoint", network,
    )  # fmt: skip
    assert code == ExitCode.OK
    assert "untrained" not in err
    assert (tmp_path / "out" / "c_seg.nii.gz").exists()
