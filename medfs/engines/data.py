"""From a dataset folder to the batches of a training run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist

from medfs.engines.planning import TrainingPlan, plan_training
from medfs.errors import UsageError
from medfs.io import Split, find_cases, make_folder, make_split, read_image
from medfs.io.splits import PARTS, require_distinct_voxels, split_from_datalist
from medfs.semisup import CropStream, TwoStreamBatches

_PLANNING_SCANS = 10


def training_split(
    dataset_dir: str | Path,
    output_dir: str | Path,
    *,
    labelled: int | None = None,
    validation: int = 0,
    test: int = 0,
    seed: int = 0,
) -> Split:
    """Split a dataset by patient, or read the split of the run that is being continued.

    The split is written to ``split.json`` in the run folder at its first use; afterwards that file alone counts. A
    datalist with a validation or test section states its split itself.

    Args:
        dataset_dir: folder with ``images/`` and ``labels/``, or a MONAI datalist JSON.
        output_dir: folder of the run.
        labelled: how many labelled cases training may use as such; the labels of the others are not read.
        validation: labelled cases held out for choosing the checkpoint.
        test: labelled cases held out altogether.
        seed: of the drawing of cases.

    Raises:
        UsageError: nothing is left to train on.
        InputError: an image, perhaps renamed or flipped, is in two of training, validation and test.
        StorageError: the folder of the run cannot be made, or the split not be written.
    """
    path = Path(output_dir) / "split.json"
    if path.exists():
        return Split.read(path)
    stated = split_from_datalist(dataset_dir) if str(dataset_dir).endswith(".json") else None
    if stated is not None and (stated.validation or stated.test):
        split = stated
    else:
        cases = find_cases(dataset_dir)
        split = make_split(cases, labelled=labelled, validation=validation, test=test, seed=seed)
    if not split.labelled:
        raise UsageError(f"{dataset_dir}: no labelled case is left for training; give labels/ or hold out fewer cases")
    require_distinct_voxels(split.uses)
    make_folder(path.parent)
    split.write(path)
    return split


def require_split(split: Split, training: Sequence[Mapping[str, Any]], validation: Sequence[Mapping[str, Any]]) -> None:
    """Return if training and validation see what a split gives them and nothing else.

    This keeps a configuration from training on held-out cases, from reading labels that the split withholds, and from
    choosing the checkpoint by test cases.

    Args:
        split: who may be used for what.
        training: items as MONAI takes them, ``image`` and perhaps ``label``.
        validation: items that the checkpoint is chosen by.

    Raises:
        UsageError: an item has another place in the split, or a label that is not to be read; all are named.
    """
    places = {case.item()["image"]: part for part in PARTS for case in split.cases(part)}
    faults = []
    for use, items, allowed in (
        ("training", training, ("labelled", "unlabelled")),
        ("validation", validation, ("validation",)),
    ):
        for item in items:
            part = places.get(str(item["image"]), "no part of the split")
            if part not in allowed:
                faults.append(f"{item['image']} of {use} is in {part}")
            elif part == "unlabelled" and item.get("label"):
                faults.append(f"{item['image']} is in unlabelled but {use} reads its label")
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise UsageError(f"split: {'; '.join(faults[:5])}{more}; expected each case where split.json has it")


def training_plan(split: Split, **stated: Any) -> TrainingPlan:
    """`plan_training` on the first labelled scans of a split; ``stated`` are its keyword arguments."""
    return plan_training([read_image(case.image) for case in split.labelled[:_PLANNING_SCANS]], **stated)


def two_stream_batches(
    cases: Sequence[Mapping[str, Any]],
    items: Sequence[Mapping[str, Any]],
    labelled_crops: Callable[[Mapping[str, Any]], Any],
    unlabelled_crops: Callable[[Mapping[str, Any]], Any],
    *,
    seed: int = 0,
    **options: Any,
) -> TwoStreamBatches:
    """Sort prepared cases into the two streams of a training run.

    Args:
        cases: the prepared cases, in the order of ``items``, e.g. a `monai.data.CacheDataset`.
        items: what they were made from; an item without ``label`` is unlabelled.
        labelled_crops: random transform of a labelled case.
        unlabelled_crops: random transform of an unlabelled case.
        seed: of the order and the crops.
        options: further arguments of `TwoStreamBatches`.
    """
    known = [index for index, item in enumerate(items) if item.get("label")]
    unknown = [index for index, item in enumerate(items) if not item.get("label")]

    def stream(indices: Sequence[int], crops: Callable[[Mapping[str, Any]], Any], stream_seed: int) -> CropStream:
        files = [str(items[index]["image"]) for index in indices]
        return CropStream(_Selection(cases, indices), crops, seed=stream_seed, files=files)

    return TwoStreamBatches(
        stream(known, labelled_crops, 2 * seed),
        stream(unknown, unlabelled_crops, 2 * seed + 1) if unknown else None,
        rank=dist.get_rank() if dist.is_initialized() else 0,
        ranks=dist.get_world_size() if dist.is_initialized() else 1,
        **options,
    )


class _Selection(Sequence[Mapping[str, Any]]):
    """Some of the cases, read when they are asked for."""

    def __init__(self, cases: Sequence[Mapping[str, Any]], indices: Sequence[int]) -> None:
        self.cases, self.indices = cases, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        return self.cases[self.indices[index]]
