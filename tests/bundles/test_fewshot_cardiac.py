"""The cardiac protocol from the published files to the table: recipe, supervoxels, training, a fold."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cardiac_tree import BLOOD_POOL, MYOCARDIUM, RIGHT, SPACING_MM, write_hearts

from medfs.engines.runs import run_bundle
from preprocessing import cmr
from preprocessing.command import main

ORGANS = {
    "left_ventricle_myocardium": MYOCARDIUM,
    "left_ventricle_blood_pool": BLOOD_POOL,
    "right_ventricle": RIGHT,
}
COUNT = 10  # the seven queries of a fold, its support and two for training


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_hearts(folder, COUNT)
    return folder


@pytest.fixture(scope="module")
def scores(published: Path, fewshot_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Rows of a fold, after three steps of training on what the recipe made."""
    folder = tmp_path_factory.mktemp("cardiac")
    assert main(cmr.RECIPE, [str(published), str(folder / "data"), "--supervoxels", "1000"]) == 0
    small = {"size": 32, "min_pixels": 10, "epochs": 1, "epoch_length": 3, "device": "cpu"}
    values = {**small, "dataset_dir": str(folder / "data"), "output_dir": str(folder / "run")}
    trained = run_bundle(fewshot_bundle, ["train.json", "cmr.json", "dmap.json"], values)
    assert [case.name for case in trained.train_dataset.sampler.cases] == ["10", "9"]
    run_bundle(folder / "run", ["inference.json", "evaluate.json"], {"output_dir": str(folder / "scores")})
    return list(csv.DictReader((folder / "scores" / "scores.csv").open()))


def test_a_fold_has_seven_queries_and_three_organs_under_every_rule(scores: list[dict[str, str]]):
    found = sorted((row["rule"], row["case"], row["support"], row["organ"]) for row in scores)
    rules = ("EP1", "EP2", "no oracle")
    assert found == sorted((rule, str(case), "8", organ) for rule in rules for case in range(1, 8) for organ in ORGANS)
    assert all(0 <= float(row["dice"]) <= 1 for row in scores)


def test_each_organ_is_the_published_code_at_its_place_in_millimetres(scores: list[dict[str, str]], published: Path):
    for row in scores:
        if row["rule"] != "EP2":  # whole scans
            continue
        stored = np.asarray(nib.load(published / "bSSFP" / f"label_{row['case']}.nii.gz").dataobj)
        expected_ml = (stored == ORGANS[row["organ"]]).sum() * np.prod(SPACING_MM) / 1000
        # slices of 11 mm resampled to 7.99 mm gain or lose up to half a slice at each end of the heart
        assert float(row["ref_volume_ml"]) == pytest.approx(expected_ml, rel=0.15)
