"""Few-shot training through MONAI's command line, resumed, evaluated and used."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events
from marked_cases import LIVER_SLICES, SLICES, SPLEEN_SLICES
from monai.bundle import ConfigWorkflow, run

from medfs.engines.runs import run_bundle
from medfs.errors import MedfsError, UsageError
from medfs.fewshot import load_segmentor

REPOSITORY = Path(__file__).parents[2]


def run_here(folder: Path, *configs: str, **values: Any) -> None:
    """`monai.bundle run` on files of a bundle."""
    run(
        config_file=[str(folder / "configs" / name) for name in configs],
        meta_file=str(folder / "configs" / "metadata.json"),
        logging_file=False,
        bundle_root=str(folder),
        **values,
    )


def same(first: Path, second: Path) -> bool:
    weights = [load_segmentor(run / "models" / "model.safetensors").state_dict() for run in (first, second)]
    return all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.subprocess
def test_the_command_line_trains_the_same_weights_as_the_function(
    fewshot_bundle: Path, fewshot_trained: Path, fewshot_small: dict[str, Any], tmp_path: Path
):
    values = {**fewshot_small, "output_dir": tmp_path / "run", "workers": 2}
    options = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    configs = ["--config_file", "['configs/train.json','configs/dmap.json']", "--meta_file", "configs/metadata.json"]
    subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *configs, *options],
        cwd=fewshot_bundle,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=True,
        timeout=300,
    )
    assert same(tmp_path / "run", fewshot_trained)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    fewshot_bundle: Path, fewshot_trained: Path, fewshot_small: dict[str, Any], tmp_path: Path
):
    values = {**fewshot_small, "output_dir": str(tmp_path)}
    workflow = ConfigWorkflow(
        config_file=[str(fewshot_bundle / "configs" / name) for name in ("train.json", "dmap.json")],
        meta_file=str(fewshot_bundle / "configs" / "metadata.json"),
        logging_file=False,
        bundle_root=str(fewshot_bundle),
        **values,
    )
    workflow.initialize()

    def interrupt() -> None:
        raise KeyboardInterrupt

    workflow.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), interrupt)  # within the second epoch
    with pytest.raises(KeyboardInterrupt):
        workflow.run()
    assert not (tmp_path / "models").exists()
    run_bundle(fewshot_bundle, ["train.json", "dmap.json"], {**values, "resume": True})
    assert same(tmp_path, fewshot_trained)


def test_a_run_is_evaluated_on_its_own_fold_under_every_rule(fewshot_trained: Path, tmp_path: Path):
    run_here(fewshot_trained, "inference.json", "evaluate.json", output_dir=str(tmp_path), cache_dir=str(tmp_path))
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert {(row["rule"], row["case"], row["support"]) for row in rows} == {
        (rule, case, "case_2") for rule in ("EP1", "EP2", "no oracle") for case in ("case_0", "case_1")
    }
    assert {row["organ"] for row in rows} == {"liver", "spleen", "right_kidney"}
    assert len(json.loads((tmp_path / "summary.json").read_text())) > 0
    assert (tmp_path / "summary.md").read_text().startswith("## EP1")


def test_a_run_trained_on_a_relative_folder_finds_it_from_elsewhere(
    fewshot_bundle: Path, fewshot_small: dict[str, Any], marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    values = {**fewshot_small, "dataset_dir": marked.name, "output_dir": str(tmp_path / "run")}
    monkeypatch.chdir(marked.parent)
    run_bundle(fewshot_bundle, ["train.json"], {**values, "epochs": 1, "epoch_length": 1})
    monkeypatch.chdir(tmp_path / "run")
    run_bundle(
        Path(), ["inference.json", "evaluate.json"], {"output_dir": "scores", "cache_dir": str(marked / "cache")}
    )
    assert (tmp_path / "run" / "scores" / "scores.csv").is_file()
    segments = json.loads(Path("configs/inference.json").read_text())
    assert segments["dataset_dir"] == str(marked / "images")


def test_a_fold_whose_support_shows_no_tested_organ_is_named_in_one_line(fewshot_trained: Path, tmp_path: Path):
    values = {"output_dir": str(tmp_path), "cache_dir": str(tmp_path)}
    values |= {"labels": "liver,spleen,right_kidney,gallbladder", "organs": ["gallbladder"]}
    with pytest.raises(UsageError, match=r"^fold 0: .*case_2.*gallbladder.*; expected [^\n]*$"):
        run_bundle(fewshot_trained, ["inference.json", "evaluate.json"], values)
    assert not (tmp_path / "scores.csv").exists()


def test_scans_are_segmented_from_one_labelled_scan(
    fewshot_trained: Path, marked: Path, fewshot_small: dict[str, Any], tmp_path: Path
):
    source = nib.load(marked / "images" / "case_1.nii.gz")
    (tmp_path / "scans").mkdir()
    nib.save(source, tmp_path / "scans" / "case_1.nii.gz")
    run_here(
        fewshot_trained,
        "inference.json",
        labels=fewshot_small["labels"],
        dataset_dir=str(tmp_path / "scans"),
        output_dir=str(tmp_path / "out"),
        support_image=str(marked / "images" / "case_0.nii.gz"),
        support_labels=str(marked / "labels" / "case_0.nii.gz"),
        device="cpu",
    )
    labels = nib.load(tmp_path / "out" / "case_1_seg.nii.gz")
    assert labels.shape == source.shape
    np.testing.assert_array_equal(labels.affine, source.affine)
    assert set(np.unique(labels.dataobj)) <= {0, 1, 2, 3}


@pytest.mark.parametrize(("support", "message"), [(None, "not given"), ("case_0", r"label values \[4\]")])
def test_inference_says_what_its_support_lacks(
    support: str | None, message: str, fewshot_trained: Path, marked: Path, tmp_path: Path
):
    files = {part: f"{marked}/{part}s/{support}.nii.gz" if support else None for part in ("image", "label")}
    values = {"support_image": files["image"], "support_labels": files["label"], "output_dir": str(tmp_path)}
    values |= {"dataset_dir": str(marked / "images"), "labels": "liver,spleen,right_kidney,left_kidney"}
    with pytest.raises(UsageError, match=message):
        run_bundle(fewshot_trained, ["inference.json"], values)


def test_setting_2_leaves_out_the_slices_that_show_an_excluded_organ(
    fewshot_bundle: Path, fewshot_small: dict[str, Any], tmp_path: Path
):
    values = {**fewshot_small, "output_dir": str(tmp_path), "exclude": ["liver", "spleen"], "epochs": 1}
    workflow = run_bundle(fewshot_bundle, ["train.json"], values)
    sampler = workflow.train_dataset.sampler
    assert [case.name for case in sampler.cases] == ["case_3", "case_4", "case_5"]
    for index in range(30):
        draw = sampler.draw(0, index)
        for view in (*draw.supports, draw.query):
            labels = np.asarray(nib.load(sampler_file(fewshot_small, sampler, view)).dataobj)
            assert not np.isin(labels[..., view.start : view.stop], (1, 2)).any()


def test_under_the_rule_of_some_releases_only_slices_with_all_excluded_organs_are_left_out(
    fewshot_bundle: Path, fewshot_small: dict[str, Any], tmp_path: Path
):
    values = {**fewshot_small, "output_dir": str(tmp_path), "exclude": ["liver", "spleen"], "epochs": 1}
    left = {}
    for rule in ("any", "all"):
        workflow = run_bundle(fewshot_bundle, ["train.json"], {**values, "exclusion_rule": rule})
        sampler = workflow.train_dataset.sampler
        left[rule] = [set(np.flatnonzero(sampler.exclusion.allowed(case))) for case in sampler.cases]
        draws = [sampler.draw(0, index) for index in range(60)]
        seen = {z for draw in draws for view in (*draw.supports, draw.query) for z in range(view.start, view.stop)}
        assert seen <= left[rule][0]
    liver, spleen = set(LIVER_SLICES), set(SPLEEN_SLICES)
    assert left == {
        "any": 3 * [set(range(SLICES)) - liver - spleen],
        "all": 3 * [set(range(SLICES)) - (liver & spleen)],
    }
    assert seen & (liver ^ spleen)
    evaluate = json.loads((tmp_path / "configs" / "evaluate.json").read_text())
    assert evaluate["exclusion_rule"] == "all"


def sampler_file(small: dict[str, Any], sampler: Any, view: Any) -> Path:
    """The label map of the case of a view."""
    return Path(small["dataset_dir"]) / "labels" / f"{sampler.cases[view.case].name}.nii.gz"


@pytest.mark.parametrize(
    "changes",
    [{"fold": 9}, {"fold_length": 9}, {"exclude": ["aorta"]}, {"support": "first"}, {"exclusion_rule": "some"}],
)
def test_an_unusable_value_is_named_in_one_line(
    changes: dict[str, Any], fewshot_bundle: Path, fewshot_small: dict[str, Any], tmp_path: Path
):
    values = {**fewshot_small, "output_dir": str(tmp_path / "run"), **changes}
    with pytest.raises(MedfsError) as caught:
        run_bundle(fewshot_bundle, ["train.json"], values)
    assert "instantiate" not in str(caught.value)
    assert not (tmp_path / "run" / "models").exists()
