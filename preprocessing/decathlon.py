"""Medical Segmentation Decathlon: any task, checked, voxels and grid as released.

Where a scan has several images in one file (Task01, Task05), the first is the image; the others lie in folders called
after their modality, under the same name.
"""

import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from medfs.errors import InputError
from medfs.io import read_frames
from medfs.io.datasets import read_json
from medfs.io.names import shown, stem
from preprocessing.command import main
from preprocessing.recipe import Loaded, RawCase, RawDataset, Recipe
from preprocessing.volumes import labels_on, volume_case


def find(source: Path) -> RawDataset:
    """The cases that ``dataset.json`` lists: ``training`` with labels, ``test`` without.

    Raises:
        InputError: there is no such file, or it lists no cases or label names.
    """
    path = source / "dataset.json"
    content = read_json(path)
    try:
        names = {int(value): _snake(name) for value, name in content["labels"].items() if int(value) != 0}
        training = [(entry["image"], entry["label"]) for entry in content["training"]]
        entries = training + [(entry, None) for entry in content.get("test", [])]
        modalities = [_snake(name) for _, name in sorted(content.get("modality", {}).items())]
        cases = [_case(source, image, label, modalities) for image, label in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: no Decathlon dataset ({error!r}); expected labels, training and test") from error
    return RawDataset(cases, names)


def _case(source: Path, image: str, label: str | None, modalities: list[str]) -> RawCase:
    paths = _inside(source, image), None if label is None else _inside(source, label)
    case = volume_case(stem(image), *paths)
    return case if len(modalities) < 2 else replace(case, load=partial(_load, *paths, modalities))


def _load(image: Path, label: Path | None, modalities: list[str]) -> Loaded:
    first, *others = read_frames(image)
    if len(others) + 1 != len(modalities):
        found = f"{len(others) + 1} of {len(modalities)} images"
        raise InputError(f"{shown(image)}: {found}; expected those of dataset.json: {', '.join(modalities)}")
    channels = {name: volume.array for name, volume in zip(modalities[1:], others, strict=True)}
    return Loaded(first, None if label is None else labels_on(first, label), channels)


def _inside(source: Path, path: str) -> Path:
    """A path of ``dataset.json``, which must not lead out of the folder."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise InputError(f"dataset.json: {path!r} leads out of the folder; expected a path such as ./imagesTr/a.nii.gz")
    return source / path


def _snake(name: str) -> str:
    """A class name in snake case: ``Anterior`` becomes ``anterior``."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


RECIPE = Recipe(
    name="decathlon",
    about="A task of the Medical Segmentation Decathlon to a checked dataset, voxels and grid as released.",
    find=find,
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
