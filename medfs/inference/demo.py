"""The whole way on synthetic torsos: make a cohort, train on three labels, segment, score, show."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from medfs.anatomy import label_set
from medfs.engines.runs import run_bundle
from medfs.errors import MedfsError
from medfs.export import PagePicture, PageTable, write_page
from medfs.inference.folder import FolderRun
from medfs.inference.segmenter import Segmenter
from medfs.io import Case, atomic_path, read_labels
from medfs.io.bundles import find_bundle
from medfs.metrics import OrganScore, score_case, summarise
from medfs.phantom import write_cohort

BUNDLE = "multi_organ_tak_segmentation"
SUPERVISED = {"objective": {"_target_": "medfs.semisup.objectives.SupervisedObjective"}}
MAJORITY, ALONE, BOTH = "majority of labels", "supervised", "semi-supervised"
Scores = Mapping[str, Sequence[OrganScore]]


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """Sizes of the demo; the defaults fit six minutes on two cores.

    Attributes:
        labelled: torsos with labels to train on.
        unlabelled: torsos without.
        test: torsos to segment and score.
        epochs: stretches of training.
        epoch_length: steps of one stretch.
        spacing_mm: voxel size of the torsos.
        patch: side of the training crops in voxels.
        seed: of everything.
    """

    labelled: int = 3
    unlabelled: int = 12
    test: int = 6
    epochs: int = 6
    epoch_length: int = 120
    spacing_mm: float = 6.0
    patch: int = 32
    seed: int = 0


def run_demo(output: Path, plan: DemoPlan | None = None, say: Callable[[str], None] = print) -> Path:
    """Run the demo and give the path of its table.

    Writes below ``output``: ``data/``, ``runs/`` (each a bundle), ``predictions/`` with label maps, ``.seg.nrrd`` and
    previews, ``dice.csv``, and ``report.html`` with table and previews. Everything is replaced when it exists.

    Args:
        output: folder of the demo.
        plan: its sizes.
        say: gets each line for the user.
    """
    plan = plan or DemoPlan()
    training = write_cohort(
        output / "data" / "training",
        plan.labelled + plan.unlabelled,
        labelled=plan.labelled,
        seed=2 * plan.seed,
        spacing_mm=plan.spacing_mm,
    )
    test = write_cohort(output / "data" / "test", plan.test, seed=2 * plan.seed + 1, spacing_mm=plan.spacing_mm)
    say(f"made {plan.labelled} labelled, {plan.unlabelled} unlabelled and {plan.test} test torsos")
    known = [read_labels(case.label).array for case in training if case.label]
    results = {MAJORITY: [_score(case, majority(known, _truth(case).shape)) for case in test]}
    for name, changes in ((ALONE, SUPERVISED), (BOTH, {})):
        run = output / "runs" / name
        say(f"training {name}, {plan.epochs * plan.epoch_length} steps ...")
        train_demo(output / "data" / "training", run, plan, changes)
        results[name] = segment_and_score(run, test, output / "predictions" / name, pictures=name == BOTH)
    scores = {name: list(chain.from_iterable(rows)) for name, rows in results.items()}
    table = _write_table(output, scores, say)
    say(f"predictions, Slicer files and previews: {output / 'predictions' / BOTH}")
    say(f"a bundle of your own to segment with:   {output / 'runs' / BOTH}")
    say(f"this table:                             {table}")
    say(f"table and previews, for a browser:      {output / 'report.html'}")
    return table


def train_demo(data: Path, run: Path, plan: DemoPlan, changes: Mapping[str, Any]) -> None:
    """Train the bundle on the cohort as ``medfs train`` would, small."""
    for stale in ("split.json", "medfs.json"):
        (run / stale).unlink(missing_ok=True)
    values = {
        "dataset_dir": str(data.resolve()),
        "output_dir": str(run.resolve()),
        "labels": "amos",
        "validation": 0,
        "modality": "ct",
        "spacing_mm": [plan.spacing_mm] * 3,
        "patch_size": [plan.patch] * 3,
        "levels": 4,
        "filters": 8,
        "epochs": plan.epochs,
        "epoch_length": plan.epoch_length,
        "seed": plan.seed,
        "learning_rate": 0.008,
        **changes,
    }
    run_bundle(find_bundle(BUNDLE), ["train.json"], values)


def segment_and_score(run: Path, cases: Sequence[Case], output: Path, *, pictures: bool) -> list[list[OrganScore]]:
    """Segment the test torsos with a run, write the results and score them on their own grid.

    Raises:
        MedfsError: a case failed.
    """

    def stop_at_failure(record: Any) -> None:
        if record.error:
            raise MedfsError(record.error)

    folder = FolderRun(Segmenter(run), output, slicer=pictures, preview=pictures, statistics=pictures)
    folder.run({case.name: case.image for case in cases}, stop_at_failure)
    return [_score(case, read_labels(output / f"{case.name}_seg.nii.gz").array) for case in cases]


def majority(label_maps: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """The commonest label at each voxel, the maps centred on each other: what place alone knows.

    Args:
        label_maps: integer maps (X, Y, Z) of any sizes; outside its box a map is background.
        shape: of the result.

    >>> majority([np.ones((2, 2, 2), int), np.ones((4, 2, 2), int), np.zeros((2, 2, 2), int)], (4, 1, 1)).ravel()
    array([0, 1, 1, 0], dtype=uint8)
    """
    votes = np.zeros((max(int(labels.max()) for labels in label_maps) + 1, *shape), dtype=np.uint8)
    for labels in label_maps:
        source, target = [], []
        for have, want in zip(labels.shape, shape, strict=True):
            size, shift = min(have, want), (want - have) // 2
            source.append(slice(max(0, -shift), max(0, -shift) + size))
            target.append(slice(max(0, shift), max(0, shift) + size))
        placed = np.zeros(shape, dtype=labels.dtype)
        placed[tuple(target)] = labels[tuple(source)]
        np.put_along_axis(votes, placed[None], np.take_along_axis(votes, placed[None], axis=0) + 1, axis=0)
    return votes.argmax(axis=0).astype(np.uint8)


def _truth(case: Case) -> np.ndarray:
    assert case.label is not None
    return read_labels(case.label).array


def _score(case: Case, prediction: np.ndarray) -> list[OrganScore]:
    assert case.label is not None
    truth, names = read_labels(case.label), label_set("amos").names
    organs = {value: name for value, name in enumerate(names) if value > 0}
    return score_case(prediction, truth.array, truth.spacing_mm, organs, case=case.name)


def _write_table(output: Path, scores: Scores, say: Callable[[str], None]) -> Path:
    """Write and say the Dice per organ of each method; every figure is a mean over all test torsos."""
    summaries = {name: summarise(rows) for name, rows in scores.items()}
    first = next(iter(summaries.values()))
    rows = [
        [organ.organ, *(f"{summary.organs[place].metrics['dice'].mean:.3f}" for summary in summaries.values())]
        for place, organ in enumerate(first.organs)
    ]
    rows.append(["mean", *(f"{summary.overall['dice'].mean:.3f}" for summary in summaries.values())])
    path = output / "dice.csv"
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([["organ", *summaries], *rows])
    say("")
    for row in [["Dice", *summaries], *rows]:
        say(f"{row[0]:<22}" + "".join(f"{cell:>20}" for cell in row[1:]))
    counts = first.organs[0].metrics["dice"]
    note = f"n = {counts.n_used} of {counts.n_total} torsos for every organ; Dice on the grid of the files"
    say(f"{note}\n")
    write_page(
        output / "report.html",
        "medfs demo",
        [
            "Synthetic torsos, segmented by networks that were trained on a few labelled and some unlabelled ones. "
            "It says nothing about patients."
        ],
        [PageTable("Dice per organ", ["organ", *summaries], rows, note)],
        [
            PagePicture(picture, picture.name.removesuffix("_preview.png"))
            for picture in sorted((output / "predictions" / BOTH).glob("*_preview.png"))
        ],
    )
    return path
