"""A small cohort and a run trained on it, shared by the tests of the bundle."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medfs.io.bundles import find_bundle
from medfs.phantom import write_cohort

BUNDLE = "multi_organ_tak_segmentation"
# Torsos of about 36 x 28 x 39 voxels, four steps: two seconds.
SMALL: dict[str, Any] = {
    "labels": "amos",
    "validation": 1,
    "test": 1,
    "patch_size": [16, 16, 16],
    "levels": 3,
    "filters": 8,
    "epochs": 2,
    "epoch_length": 2,
    "device": "cpu",
}


@pytest.fixture(scope="session")
def bundle() -> Path:
    """The bundle as it ships."""
    return find_bundle(BUNDLE)


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """Values of ``train.json`` for a run of four steps."""
    return dict(SMALL)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four labelled torsos and one without labels."""
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, 5, labelled=4, spacing_mm=12.0)
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Runs are compared bit for bit, also across processes: sums must be split over the same number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def trained(bundle: Path, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of four steps; not to be changed."""
    from medfs.engines.runs import run_bundle

    folder = tmp_path_factory.mktemp("trained") / "run"
    run_bundle(bundle, ["train.json"], {**SMALL, "dataset_dir": str(cohort), "output_dir": str(folder)})
    return folder


@pytest.fixture(scope="session")
def fewshot_bundle() -> Path:
    """The few-shot bundle as it ships."""
    return find_bundle("fewshot_volume_segmentation")


@pytest.fixture(scope="session")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small scans with organs and supervoxels."""
    from marked_cases import write_marked

    folder = tmp_path_factory.mktemp("marked")
    write_marked(folder, 6)
    return folder


@pytest.fixture(scope="session")
def fewshot_small(marked: Path) -> dict[str, Any]:
    """Values of the few-shot ``train.json`` for a run of four steps."""
    return {
        "dataset_dir": str(marked),
        "cache_dir": str(marked / "cache"),
        "labels": "liver,spleen,right_kidney",
        "fold_length": 2,
        "min_pixels": 6,
        "epochs": 2,
        "epoch_length": 2,
        "device": "cpu",
    }


@pytest.fixture(scope="session")
def fewshot_trained(
    fewshot_bundle: Path, fewshot_small: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a finished few-shot run of four steps; not to be changed."""
    from medfs.engines.runs import run_bundle

    folder = tmp_path_factory.mktemp("fewshot") / "run"
    run_bundle(fewshot_bundle, ["train.json", "dmap.json"], {**fewshot_small, "output_dir": str(folder)})
    return folder
