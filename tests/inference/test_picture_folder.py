"""A folder of pictures segmented from one labelled picture: files, bad pictures, resumption."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medfs.engines.picture_runs import supported_on_pictures
from medfs.errors import ExitCode, InputError, UsageError
from medfs.export.overlay import class_color, write_overlay
from medfs.fewshot import FewShotSegmentor
from medfs.fewshot.heads import IFAHead
from medfs.inference.picture_folder import PictureFolderRun, PictureLabeller
from medfs.io.picture_sets import find_pictures
from medfs.io.pictures import read_colours, read_picture
from medfs.networks import ResNetStagesEncoder
from medfs.transforms.pictures import write_picture_labels


def dark(pictures: np.ndarray) -> np.ndarray:
    """What is dark, as class 1."""
    return (pictures.mean(axis=-1) < 100).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of every kind that a user may have, and two that cannot be read."""
    made = tmp_path / "pictures"
    made.mkdir()
    picture = np.full((20, 30, 3), 200, np.uint8)
    picture[5:12, 8:20] = (90, 20, 60)
    Image.fromarray(picture).save(made / "colour.png")
    Image.fromarray(picture).convert("P", palette=Image.Palette.ADAPTIVE).save(made / "palette.png")
    Image.fromarray(picture[..., 0]).save(made / "grey.bmp")
    Image.fromarray(picture[..., 0].astype(np.uint16) * 200).save(made / "deep.png")
    rotated = Image.Exif()
    rotated[0x0112] = 6
    Image.fromarray(picture).save(made / "rotated.jpg", exif=rotated, quality=95)
    Image.fromarray(picture).convert("CMYK").save(made / "cmyk.jpg")
    (made / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (made / "notes.txt").write_text("no picture")
    return made


def records(output: Path) -> dict[str, dict]:
    lines = [json.loads(line) for line in (output / "report.jsonl").read_text().splitlines()]
    return {line["case"]: line for line in lines}


def test_every_readable_picture_is_done_and_the_others_say_why(folder: Path, tmp_path: Path):
    output = tmp_path / "out"
    assert PictureFolderRun(dark, output, ["cell"]).run(find_pictures([folder])) == ExitCode.SOME_FAILED
    found = records(output)
    assert {name for name, record in found.items() if record["status"] == "failed"} == {"broken", "cmyk"}
    assert found["broken"]["error"].startswith("broken.png: ")
    assert "kind CMYK" in found["cmyk"]["error"]
    expected = np.zeros((20, 30), np.uint8)
    expected[5:12, 8:20] = 1
    for name in ("colour", "palette", "grey", "deep"):
        np.testing.assert_array_equal(read_picture(output / f"{name}_seg.png").T, expected, name)
        assert read_picture(output / f"{name}_overlay.png").shape == (30, 20, 3)
    assert (expected != read_picture(output / "rotated_seg.png").T).mean() < 0.05  # on the stored pixels
    assert not list(output.glob("broken*"))


def test_a_picture_named_like_a_scan_keeps_its_own_files(folder: Path, tmp_path: Path):
    picture = np.full((20, 30, 3), 200, np.uint8)
    picture[:3] = 0
    Image.fromarray(picture).save(folder / "colour.nii.png")
    pictures = {name: path for name, path in find_pictures([folder]).items() if name.startswith("colour")}
    assert PictureFolderRun(dark, tmp_path / "out", ["cell"]).run(pictures) == ExitCode.OK
    for name, path in pictures.items():
        expected = dark(read_colours(path))
        np.testing.assert_array_equal(read_picture(tmp_path / "out" / f"{name}_seg.png"), expected, name)
    assert list(records(tmp_path / "out")["colour.nii"]["outputs"]) == ["colour.nii_overlay.png", "colour.nii_seg.png"]


def test_a_result_that_vanishes_fails_its_picture_alone(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def lost(path: Path, labels: np.ndarray, output: Path) -> None:
        if path.stem != "colour":
            write_picture_labels(path, labels, output)

    monkeypatch.setattr("medfs.inference.picture_folder.write_picture_labels", lost)
    run, pictures = PictureFolderRun(dark, tmp_path / "out", ["cell"]), find_pictures([folder])
    assert run.run({name: pictures[name] for name in ("colour", "grey")}) == ExitCode.SOME_FAILED
    found = records(tmp_path / "out")
    assert "colour_seg.png: cannot be read" in found["colour"]["error"]
    assert found["grey"]["status"] == "done"


def test_a_second_run_does_what_is_missing_or_changed_and_nothing_else(folder: Path, tmp_path: Path):
    run, output = PictureFolderRun(dark, tmp_path / "out", ["cell"], {"size": 20}), tmp_path / "out"
    run.run(find_pictures([folder]))
    (output / "grey_overlay.png").unlink()
    Image.open(folder / "colour.png").rotate(180).save(folder / "colour.png")
    states = {}
    run.run(find_pictures([folder]), lambda record: states.update({record.case: record.status}))
    again = {name for name, state in states.items() if state == "done"}
    assert again == {"grey", "colour"}
    assert states["palette"] == states["deep"] == "skipped"
    PictureFolderRun(dark, output, ["cell"], {"size": 21}).run(
        find_pictures([folder]), lambda record: states.update({record.case: record.status})
    )
    assert states["palette"] == "done"


def test_a_class_that_is_not_found_is_reported(folder: Path, tmp_path: Path):
    PictureFolderRun(dark, tmp_path / "out", ["cell", "ghost"]).run({"colour": folder / "colour.png"})
    assert records(tmp_path / "out")["colour"]["warnings"] == ["not found: ghost"]


def test_names_that_would_share_an_output_are_refused(folder: Path):
    Image.open(folder / "colour.png").save(folder / "colour.jpg")
    with pytest.raises(UsageError, match="equal case names"):
        find_pictures([folder])
    with pytest.raises(UsageError, match="no picture"):
        find_pictures([folder / "notes.txt"])


def test_the_labels_are_those_of_the_network_with_its_support(folder: Path, tmp_path: Path):
    torch.manual_seed(0)
    encoder = ResNetStagesEncoder(18, width=8)
    segmentor = FewShotSegmentor(encoder, IFAHead(encoder.out_channels)).eval()
    mask = np.zeros((20, 30), np.uint8)
    mask[5:12, 8:20], mask[15:, :5] = 1, 2
    Image.fromarray(mask).save(tmp_path / "mask.png")
    network = supported_on_pictures(segmentor, [(folder / "colour.png", tmp_path / "mask.png")], ["cell", "edge"], 32)
    labels = PictureLabeller(network, 32)(read_colours(folder / "colour.png").swapaxes(0, 1)[None])
    assert labels.shape == (1, 20, 30)
    assert set(np.unique(labels)) <= {0, 1, 2}
    found = labels[0] == 1
    truth = mask == 1
    assert (found & truth).sum() / (found | truth).sum() > 0.3  # the support's own picture


def masked(mask: Image.Image, path: Path) -> np.ndarray:
    """Where a network of one class takes its support to be, of a mask stored in a file."""
    mask.save(path)
    Image.new("RGB", mask.size).save(path.with_name("picture.png"))
    encoder = ResNetStagesEncoder(18, width=8)
    segmentor = FewShotSegmentor(encoder, IFAHead(encoder.out_channels))
    network = supported_on_pictures(segmentor, [(path.with_name("picture.png"), path)], ["cell"], mask.size[0])
    return network.masks[0, 0].numpy()


@pytest.mark.parametrize(("cell", "others"), [(255, ()), (7, ()), (1, (2, 5)), (1, (127, 255))])
def test_the_mask_of_one_class_has_one_value_or_label_values(cell: int, others: tuple[int, ...], tmp_path: Path):
    values = np.zeros((32, 32), np.uint8)
    values[4:20, 6:20] = cell
    for row, value in enumerate(others, start=28):
        values[row] = value
    np.testing.assert_array_equal(masked(Image.fromarray(values), tmp_path / "mask.png"), values == cell)


@pytest.mark.parametrize("how", ["compressed", "smoothed", "without 1"])
def test_a_mask_whose_class_is_not_plain_is_refused(how: str, tmp_path: Path):
    away = np.hypot(*np.mgrid[-15.5:16, -15.5:16])
    grey = {"compressed": 255 * (away < 9), "smoothed": 255 * np.clip(9.5 - away, 0, 1), "without 1": away // 6 + 2}
    path = tmp_path / ("mask.jpg" if how == "compressed" else "mask.png")
    with pytest.raises(
        InputError, match=rf"^{path.name}: holds \d+ values besides 0; expected 0 and 255, or label values"
    ):
        masked(Image.fromarray(grey[how].astype(np.uint8)), path)


@pytest.mark.parametrize(
    ("classes", "pair", "error", "message"),
    [
        (["a", "b", "c"], ("colour.png", "mask.png"), UsageError, "does not show b, c"),
        ([], ("colour.png", "mask.png"), UsageError, "not given"),
        (["a"], ("small.png", "mask.png"), InputError, "expected equal sizes"),
        (["a"], ("colour.png", "colour.png"), InputError, "colours or values beyond 255"),
    ],
)
def test_a_support_that_does_not_fit_is_refused(classes, pair, error, message, folder: Path):
    Image.fromarray(np.eye(20, 30, dtype=np.uint8)).save(folder / "mask.png")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "small.png")
    encoder = ResNetStagesEncoder(18, width=8)
    segmentor = FewShotSegmentor(encoder, IFAHead(encoder.out_channels))
    with pytest.raises(error, match=message):
        supported_on_pictures(segmentor, [tuple(folder / name for name in pair)], classes, 32)


def test_an_overlay_changes_what_is_labelled_and_nothing_else(tmp_path: Path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    labels = np.zeros((40, 50), np.uint8)
    labels[10:30, 10:20], labels[10:30, 25:40] = 1, 2
    write_overlay(tmp_path / "overlay.png", picture, labels)
    drawn = read_picture(tmp_path / "overlay.png").swapaxes(0, 1)
    np.testing.assert_array_equal(drawn[labels == 0], picture[labels == 0])
    for value, corner in ((1, (10, 10)), (2, (29, 39))):
        np.testing.assert_array_equal(drawn[corner], class_color(value))
        inside = (20, 15 if value == 1 else 32)
        np.testing.assert_allclose(drawn[inside], 0.7 * picture[inside] + 0.3 * class_color(value), atol=1)
    with pytest.raises(UsageError, match="labels of"):
        write_overlay(tmp_path / "overlay.png", picture, labels.T)
