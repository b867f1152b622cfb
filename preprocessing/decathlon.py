"""Medical Segmentation Decathlon: any task of one image per scan, checked, voxels and grid as released."""

import re
import sys
from pathlib import Path

from medfs.errors import InputError
from medfs.io.datasets import read_json
from medfs.io.names import stem
from preprocessing.command import main
from preprocessing.recipe import RawCase, RawDataset, Recipe
from preprocessing.volumes import volume_case


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
        cases = [_case(source, image, label) for image, label in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: no Decathlon dataset ({error!r}); expected labels, training and test") from error
    return RawDataset(cases, names)


def _case(source: Path, image: str, label: str | None) -> RawCase:
    return volume_case(stem(image), _inside(source, image), None if label is None else _inside(source, label))


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
