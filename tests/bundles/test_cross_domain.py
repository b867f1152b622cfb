"""The cross-domain bundle: checked, trained on synthetic things, tested on other pictures and used on a folder."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, verify_metadata, verify_net_in_out
from PIL import Image

from medfs.engines.bundle_check import check_bundle
from medfs.engines.picture_runs import class_prior, evaluate_pictures, summary, with_texts
from medfs.engines.runs import run_bundle
from medfs.errors import InputError, UsageError
from medfs.fewshot import PictureSet, head_classes, load_segmentor
from medfs.fewshot.heads import EpisodeHead
from medfs.fewshot.plugins import CDTGPlugin
from medfs.io.bundles import find_bundle
from medfs.phantom import scene_classes, write_scenes
from medfs.text import TextPrior

SCHEMA = Path(__file__).parent / "metadata_schema_stand_in.json"
HOSTS = ("pmm", "patnet", "dmtnet", "qnet")
CELLS = ("cytoplasm", "nucleus")


@pytest.fixture(scope="module")
def bundle() -> Path:
    return find_bundle("cross_domain_text_segmentation")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic things as source, discs in rings as target, and vectors for the names of both."""
    folder = tmp_path_factory.mktemp("data")
    write_scenes(folder / "source", 48, size=48)
    away = np.hypot(*np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 50)))
    labels = np.select([away < 0.4, away < 0.7], [2, 1], 0).astype(np.uint8)
    for part in ("images", "labels"):
        (folder / "target" / part).mkdir(parents=True)
    for number in range(4):
        shifted = np.roll(labels, number * 2, axis=0)
        tint = np.array([200 - 20 * number, 90, 160])
        picture = np.where(shifted[..., None] > 0, tint // (1 + shifted[..., None]), 230).astype(np.uint8)
        Image.fromarray(picture).save(folder / "target" / "images" / f"cell_{number}.png")
        Image.fromarray(shifted).save(folder / "target" / "labels" / f"cell_{number}.png")
    TextPrior.random(["background", *scene_classes().values(), *CELLS], width=24).save(folder / "prior.safetensors")
    return folder


@pytest.fixture(scope="module")
def small(data: Path) -> dict[str, Any]:
    changes = {"dataset_dir": str(data / "source"), "text_prior": str(data / "prior.safetensors"), "device": "cpu"}
    return {**changes, "width": 8, "size": 48, "epochs": 2, "epoch_length": 2, "batch_size": 2}


@pytest.fixture(scope="module")
def trained(bundle: Path, small: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps with texts; not to be changed."""
    folder = tmp_path_factory.mktemp("cross") / "run"
    values = {**small, "output_dir": str(folder)}
    run_bundle(bundle, ["train.json", "phantom.json", "text.json"], values)
    return folder


@pytest.mark.parametrize("which", ["bundle", "trained"])
def test_the_shipped_bundle_and_a_run_have_no_fault(which: str, request: pytest.FixtureRequest):
    folder: Path = request.getfixturevalue(which)
    assert check_bundle(folder) == []
    verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(SCHEMA))


@pytest.mark.parametrize("arguments", [{}, {"n": 2}, {"n": 3}])
def test_the_network_takes_every_shape_that_the_metadata_allow(bundle: Path, arguments: dict[str, int]):
    configs = bundle / "configs"
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    verify_net_in_out(net_id="network_def", device="cpu", **files, **arguments)


@pytest.mark.parametrize("configs", [["train.json"], ["inference.json"], ["inference.json", "evaluate.json"]])
def test_monai_finds_every_property(
    configs: list[str], bundle: Path, trained: Path, data: Path, small: dict[str, Any], tmp_path: Path
):
    kind = "train" if configs == ["train.json"] else "infer"
    root = bundle if kind == "train" else trained
    values: dict[str, Any] = {**small, "depth": 18} if kind == "train" else {"classes": list(CELLS)}
    if kind == "infer":
        values |= {"dataset_dir": str(data / "target"), "text_prior": small["text_prior"]}
    if configs == ["inference.json"]:
        values["dataset_dir"] += "/images"
        values["support_image"] = str(data / "target" / "images" / "cell_0.png")
        values["support_labels"] = str(data / "target" / "labels" / "cell_0.png")
    workflow = ConfigWorkflow(
        config_file=[str(root / "configs" / name) for name in configs],
        meta_file=str(root / "configs" / "metadata.json"),
        workflow_type=kind,
        logging_file=False,
        **{"bundle_root": str(root), "output_dir": str(tmp_path), **values},
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_the_documentation_lists_the_parameters_of_training(bundle: Path):
    train = json.loads((bundle / "configs" / "train.json").read_text())
    parameters = [name for name in list(train)[: list(train).index("pictures")] if name != "imports"]
    text = (bundle / "docs" / "README.md").read_text().split("## Parameters")[1]
    documented = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE)
    assert [name for name, _ in documented] == parameters
    for name, default in documented:
        if isinstance(train[name], int | float) and not isinstance(train[name], bool):
            assert float(default) == train[name], name


def test_every_overlay_is_documented_and_names_what_there_is(bundle: Path):
    train = json.loads((bundle / "configs" / "train.json").read_text())
    documented = (bundle / "docs" / "README.md").read_text()
    overlays = [path for path in (bundle / "configs").glob("*.json") if f"| `{path.name}` |" in documented]
    assert {path.stem for path in overlays} >= {*HOSTS, "ifa", "text", "wbc", "chaos_t2", "phantom"}
    assert len(overlays) == len(list((bundle / "configs").glob("*.json"))) - 4
    for path in overlays:
        content = json.loads(path.read_text())
        assert set(content) <= set(train), path.name
        if "head" in content:
            assert content["head"]["_target_"].rpartition(".")[2] in head_classes()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("text", [False, True])
def test_every_host_trains_with_and_without_texts(
    host: str, text: bool, bundle: Path, small: dict[str, Any], tmp_path: Path
):
    values = {**small, "output_dir": str(tmp_path), "epochs": 1, "epoch_length": 1}
    run_bundle(bundle, ["train.json", f"{host}.json", "phantom.json", *(["text.json"] if text else [])], values)
    segmentor = load_segmentor(tmp_path / "models" / "model.safetensors")
    assert type(segmentor.head).__name__.lower() == f"{host}head"
    assert [type(plugin) for plugin in segmentor.plugins] == [CDTGPlugin] * text


def test_a_run_is_tested_on_a_target_that_it_never_saw(trained: Path, data: Path, tmp_path: Path):
    shutil.copytree(trained, tmp_path / "run")
    values = {
        "dataset_dir": str(data / "target"),
        "output_dir": str(tmp_path / "out"),
        "shots": [1, 3],
        "device": "cpu",
    }
    values |= {"seeds": [0, 1], "episodes": 4, "text_prior": str(data / "prior.safetensors")}
    run_bundle(tmp_path / "run", ["inference.json", "evaluate.json", "wbc.json"], values)
    rows = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [(row["shots"], row["seed"]) for row in rows] == [(1, 0), (1, 1), (3, 0), (3, 1)]
    for row in rows:
        assert row["mean_iou"] == pytest.approx((row["iou_cytoplasm"] + row["iou_nucleus"]) / 2)
    assert (tmp_path / "out" / "summary.md").read_text().startswith("| shots | seeds | episodes | mean_iou | fb_iou |")


def test_a_folder_of_pictures_and_one_of_scans_are_segmented_on_their_own_grids(
    trained: Path, data: Path, tmp_path: Path
):
    (tmp_path / "scans").mkdir()
    affine = np.diag([1.0, -1.0, 4.0, 1.0])
    scan = np.random.default_rng(0).integers(0, 999, (30, 22, 3)).astype(np.int16)
    nib.save(nib.Nifti1Image(scan, affine), tmp_path / "scans" / "scan.nii.gz")
    support = {f"support_{part}": str(data / "target" / folder / "cell_0.png") for part, folder in
               (("image", "images"), ("labels", "labels"))}  # fmt: skip
    for folder in (data / "target" / "images", tmp_path / "scans"):
        values = {**support, "dataset_dir": str(folder), "output_dir": str(tmp_path / "out"), "classes": list(CELLS)}
        run_bundle(
            trained, ["inference.json"], {**values, "text_prior": str(data / "prior.safetensors"), "device": "cpu"}
        )
    assert np.asarray(Image.open(tmp_path / "out" / "cell_3_seg.png")).shape == (50, 40)
    written = nib.load(tmp_path / "out" / "scan_seg.nii.gz")
    assert written.shape == scan.shape
    np.testing.assert_array_equal(written.affine, affine)


def test_tuning_at_test_time_is_part_of_the_evaluation(trained: Path, data: Path, monkeypatch: pytest.MonkeyPatch):
    segmentor = with_texts(
        load_segmentor(trained / "models" / "model.safetensors"), class_prior(CELLS, data / "prior.safetensors")
    )
    tuned, original = [], type(segmentor.head).adapt
    monkeypatch.setattr(EpisodeHead, "adapt", lambda *inputs: tuned.append(1) or original(*inputs))
    scores = evaluate_pictures(
        segmentor, PictureSet(data / "target", CELLS, size=48), shots=(1,), seeds=(0,), episodes=3
    )
    assert len(tuned) == 3
    assert "nan" in summary(scores)  # one seed has no deviation


def test_texts_of_another_encoder_or_none_are_refused(trained: Path):
    segmentor = load_segmentor(trained / "models" / "model.safetensors")
    with pytest.raises(UsageError, match="give text_prior"):
        with_texts(segmentor, None)
    with pytest.raises(UsageError, match="build it with the same"):
        with_texts(segmentor, TextPrior.random(["background", *CELLS], width=24, seed=1))


def test_a_bundle_without_weights_says_so_before_it_segments(bundle: Path, data: Path, tmp_path: Path):
    values = {"dataset_dir": str(data / "target" / "images"), "output_dir": str(tmp_path), "device": "cpu"}
    with pytest.raises(InputError, match="no weights; train the bundle first"):
        run_bundle(bundle, ["inference.json"], values)


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(
    bundle: Path, trained: Path, small: dict[str, Any], tmp_path: Path
):
    values = {**small, "output_dir": str(tmp_path)}
    run_bundle(bundle, ["train.json", "phantom.json", "text.json"], {**values, "epochs": 1})
    run_bundle(bundle, ["train.json", "phantom.json", "text.json"], {**values, "resume": True})
    states = [load_segmentor(folder / "models" / "model.safetensors").state_dict() for folder in (tmp_path, trained)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
