"""``medfs fewshot`` on pictures: one labelled picture and a folder in, masks and overlays out."""

import numpy as np
import pytest
import torch
from PIL import Image

from medfs.errors import ExitCode
from medfs.fewshot import FewShotSegmentor, save_segmentor
from medfs.fewshot.heads import IFAHead
from medfs.fewshot.plugins import CDTGPlugin
from medfs.inference.records import read_records
from medfs.io import Volume, write_image
from medfs.io.pictures import read_picture
from medfs.networks import ResNetStagesEncoder
from medfs.text import TextPrior


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Three pictures of a cell in ``cells/``, one of which is damaged, and one with its mask beside them."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "cells").mkdir()
    away = np.hypot(*np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 50)))
    labels = np.select([away < 0.4, away < 0.7], [2, 1], 0).astype(np.uint8)
    for name, tint in (("support", 40), ("cells/a", 30), ("cells/b", 50)):
        picture = np.where(labels[..., None] > 0, (tint, 60, 150), 220).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{name}.png")
    Image.fromarray(labels).save(folder / "mask.png")
    Image.fromarray(np.where(labels == 2, 255, 0).astype(np.uint8)).save(folder / "nucleus.png")
    (folder / "cells" / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0nothing")
    return folder


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The file of a small network that reads the descriptions that ship, in the run folder of a training."""
    torch.manual_seed(0)
    prior, encoder = TextPrior.described("phantom"), ResNetStagesEncoder(18, width=8)
    head = IFAHead(encoder.out_channels)
    run = tmp_path_factory.mktemp("run")
    plugin = CDTGPlugin(head.prototype_channels, prior.width)
    save_segmentor(run / "models" / "model.safetensors", FewShotSegmentor(encoder, head, [plugin], prior))
    (run / "configs").mkdir()
    (run / "configs" / "inference.json").write_text('{"size": 32}')
    return run


def support(cells, mask="mask.png"):
    return ["--support", cells / "support.png", "--support-mask", cells / mask]


def test_a_folder_gets_masks_and_overlays_and_a_damaged_picture_fails_alone(medfs, cells, told, tmp_path):
    options = ["--checkpoint", told, "--labels", "cytoplasm,nucleus", "--text", "nucleus=wbc/nucleus"]
    code, _, err = medfs("fewshot", *support(cells), "--query", cells / "cells", "-o", tmp_path, *options)
    assert code == ExitCode.SOME_FAILED
    assert "32 x 32 pixels" in err
    assert "damaged: failed, damaged.jpg: " in err
    for name in "ab":
        assert set(np.unique(read_picture(tmp_path / f"{name}_seg.png"))) <= {0, 1, 2}
        assert read_picture(tmp_path / f"{name}_overlay.png").shape == (40, 50, 3)
    code, _, err = medfs("fewshot", *support(cells), "--query", cells / "cells", "-o", tmp_path, *options)
    assert "a: skipped" in err
    assert code == ExitCode.SOME_FAILED


def test_what_the_text_says_is_part_of_the_result(medfs, cells, told, tmp_path):
    arguments = ["fewshot", *support(cells, "nucleus.png"), "--query", cells / "cells" / "a.png", "--checkpoint", told]
    for number, text in enumerate(("nucleus", "isic/nevus")):
        output = tmp_path / str(number)
        code, _, err = medfs(*arguments, "-o", output, "--labels", "nucleus", "--text", text)
        assert code == ExitCode.OK, err
    records = [read_records(tmp_path / name)["a"]["parameters"] for name in "01"]
    assert records[0]["texts"] != records[1]["texts"]


def test_without_labels_and_checkpoint_a_mask_of_0_and_255_is_one_class(medfs, cells, tmp_path):
    arguments = ["--query", cells / "cells" / "a.png", "-o", tmp_path, "--size", 32]
    code, _, err = medfs("fewshot", *support(cells, "nucleus.png"), *arguments)
    assert code == ExitCode.OK, err
    assert "class_1" in err
    assert "untrained" in err
    assert set(np.unique(read_picture(tmp_path / "a_seg.png"))) <= {0, 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--slicer"], "--slicer: for scans"),
        (["--head", "pmm"], "--head: for scans"),
        (["--labels", "a,b,c"], "does not show c"),
        (["--text", "a dark round body"], "--text: the network reads no texts"),
    ],
)
def test_what_pictures_cannot_have_is_one_line(options, message, medfs, cells, tmp_path):
    arguments = ["--query", cells / "cells", "-o", tmp_path, "--size", 32, *options]
    code, _, err = medfs("fewshot", *support(cells), *arguments)
    assert code == ExitCode.USAGE
    assert message in err.splitlines()[-1]


def test_pictures_beside_scans_do_not_make_the_folder_one_of_pictures(medfs, cells, tmp_path):
    (tmp_path / "in").mkdir()
    scan = np.random.default_rng(0).normal(size=(20, 20, 4)).astype(np.float32)
    write_image(tmp_path / "in" / "scan.nii.gz", scan, Volume.from_array(scan, np.eye(4)))
    Image.open(cells / "support.png").save(tmp_path / "in" / "scan_preview.png")
    arguments = ["--query", tmp_path / "in", "-o", tmp_path / "out", "--size", 32]
    code, _, err = medfs("fewshot", *support(cells), *arguments)
    assert code != ExitCode.OK
    assert "support.png" in err  # no scan
