"""COCO instances as label maps of the 80 classes; polygons and run lengths are filled here.

Where objects overlap, the smaller one is seen, so that a cup stays on its table. Crowds are not annotated one by
one and get the id 255.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medfs.errors import InputError
from medfs.io.datasets import read_json
from preprocessing.coco_classes import CLASSES
from preprocessing.command import main
from preprocessing.pictures import picture_case
from preprocessing.polygons import expand_runs, fill_polygons
from preprocessing.recipe import RawCase, RawDataset, Recipe

_IGNORED = 255
_IDS = {number: place for place, number in enumerate(CLASSES, start=1)}


def find(source: Path) -> RawDataset:
    """The pictures of every ``annotations/instances_<part>.json``, which lie in ``<part>/``."""
    tables = sorted((source / "annotations").glob("instances_*.json"))
    if not tables:
        raise InputError(f"{source}: no annotations/instances_<part>.json inside")
    cases = [case for table in tables for case in _cases(source, table)]
    return RawDataset(cases, {label: CLASSES[number] for number, label in _IDS.items()})


def _cases(source: Path, table: Path) -> list[RawCase]:
    content, part = read_json(table), re.sub("^instances_", "", table.stem)
    objects: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    try:
        names = {category["id"]: category["name"] for category in content["categories"]}
        for number, name in names.items():
            if CLASSES.get(number) != name:
                raise InputError(
                    f"{table}: category {number} is {name!r}, in COCO {CLASSES.get(number)!r}; another set?"
                )
        for item in content["annotations"]:
            objects[item["image_id"]].append(item)
        pictures = [(item["id"], Path(item["file_name"]).name) for item in content["images"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{table}: no COCO instances ({error!r}); expected images, categories, annotations") from error
    cases = []
    for number, name in pictures:
        facts = {f"annotations/{table.name}#{number}": json.dumps(objects[number])}
        draw = partial(draw_objects, objects[number])
        cases.append(picture_case(Path(name).stem, source / part / name, draw, facts=facts))
    return cases


def draw_objects(objects: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> np.ndarray:
    """Label ids of a picture: crowds first, then from the largest object to the smallest.

    Returns:
        ``(columns, rows)`` uint8.

    Raises:
        InputError: an object has no usable outline, or its class is none of COCO.
    """
    drawn = []
    for item in objects:
        try:
            mask = _mask(item["segmentation"], size)
            label = _IGNORED if item.get("iscrowd") else _IDS[item["category_id"]]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"object {item.get('id')}: no usable outline or class ({error!r})") from error
        drawn.append((label != _IGNORED, -int(mask.sum()), label, mask))
    labels = np.zeros(size, np.uint8)
    for _, _, label, mask in sorted(drawn, key=lambda entry: entry[:2]):
        labels[mask] = label
    return labels


def _mask(outline: Any, size: tuple[int, int]) -> np.ndarray:
    if isinstance(outline, list):
        return fill_polygons(outline, size)
    if isinstance(outline["counts"], str):
        raise ValueError("compressed run lengths; expected a list of counts")
    return expand_runs(outline["counts"], size)


RECIPE = Recipe(
    name="coco",
    about="COCO instances of 80 classes to volumes of one slice; 255 is a crowd.",
    find=find,
    pictures=True,
    ignored=_IGNORED,
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
