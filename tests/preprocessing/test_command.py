"""The shared command line: what is offered for which dataset, and a run from an empty folder."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from chaos_trees import write_case

from medfs.inference.records import read_records
from medfs.io import read_image, read_labels, require_same_grid
from medfs.phantom import phantom_case
from preprocessing import chaos_t2
from preprocessing.command import main

ROOT = Path(__file__).parents[2]
VOLUMES = ("amos", "chaos_ct", "chaos_t2", "cmr", "decathlon", "sabs", "synapse")
PICTURES = ("chest_xray", "coco", "isic", "pascal_voc", "wbc")


@pytest.mark.parametrize("name", VOLUMES + PICTURES)
def test_every_recipe_explains_itself_and_is_in_the_readme(name, capsys):
    recipe = importlib.import_module(f"preprocessing.{name}").RECIPE
    assert recipe.name == name
    with pytest.raises(SystemExit) as left:
        main(recipe, ["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m preprocessing.{name}" in text
    assert ("--supervoxels" in text) == (name in VOLUMES)
    assert ("--published-sizes" in text) == (name in ("chaos_t2", "cmr", "sabs", "synapse"))
    assert f"python -m preprocessing.{name} " in (ROOT / "preprocessing" / "README.md").read_text()


@pytest.mark.subprocess
def test_help_is_there_without_torch(tmp_path):
    code = "import sys, preprocessing.chaos_t2; sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_supervoxels_are_cut_on_the_grid_of_the_images_and_kept_by_a_second_run(tmp_path, capsys):
    case = phantom_case(0, spacing_mm=(6.0, 6.0, 9.0), modality="mr", axis_codes="LPS", oblique=False)
    write_case(
        tmp_path / "raw" / "MR" / "1" / "T2SPIR",
        (case.image - case.image.min()).astype(np.uint16),
        np.where(case.labels == 6, 63, 0).astype(np.uint8),
        case.affine,
    )
    call = [str(tmp_path / "raw"), str(tmp_path / "out"), "--supervoxels", "1000"]
    assert main(chaos_t2.RECIPE, call) == 0
    made = read_labels(tmp_path / "out" / "supervoxels" / "1.nii.gz")
    require_same_grid(read_image(tmp_path / "out" / "images" / "1.nii.gz"), made)
    assert made.array.max() > 2
    capsys.readouterr()
    assert main(chaos_t2.RECIPE, call) == 0
    assert capsys.readouterr().err.splitlines() == ["[1/1] 1: done, unchanged", "1: unchanged"]
    assert set(read_records(tmp_path / "out" / "supervoxels")) == {"1"}
