"""ISIC 2018 task 1: skin lesions, each mask labelled by the diagnosis of its lesion.

Repositories number the three diagnoses in three different ways, by folders called 1, 2 and 3. Here they are read by
name and have one fixed table.
"""

import csv
import sys
from functools import partial
from pathlib import Path

from medfs.errors import InputError
from preprocessing.command import main
from preprocessing.pictures import above_half, picture_case
from preprocessing.recipe import RawDataset, Recipe
from preprocessing.volumes import failing_case, folder_of

_PICTURES = "ISIC2018_Task1-2_Training_Input"
_MASKS = "ISIC2018_Task1_Training_GroundTruth"
_IDS = {"melanoma": 1, "nevus": 2, "seborrheic_keratosis": 3}


def find(source: Path) -> RawDataset:
    """The pictures and masks of the task, and the one CSV beside their folders that holds the diagnoses."""
    pictures, masks = folder_of(source, _PICTURES), folder_of(source, _MASKS)
    tables = sorted(source.glob("*.csv"))
    if len(tables) != 1:
        raise InputError(f"{source}: {len(tables)} CSV files; expected one with the diagnosis of each picture")
    diagnoses = read_diagnoses(tables[0])
    cases = []
    for path in sorted(pictures.rglob("ISIC_*.jpg")):
        mask, diagnosis = masks / f"{path.stem}_segmentation.png", diagnoses.get(path.stem)
        if diagnosis is None:
            cases.append(failing_case(path.stem, f"{path.name} is not in {tables[0].name}"))
        else:
            facts = {f"{tables[0].name}#{path.stem}": diagnosis}
            cases.append(picture_case(path.stem, path, partial(above_half, mask, _IDS[diagnosis]), mask, facts=facts))
    return RawDataset(cases, {label: name for name, label in _IDS.items()})


def read_diagnoses(table: Path) -> dict[str, str]:
    """Diagnosis by picture: from a column ``Class`` of names, or from a column of 0 and 1 for each diagnosis.

    In the second form, that of the ISIC 2017 ground truth, a picture with neither melanoma nor seborrheic keratosis is
    a nevus. The first column names the picture.

    Raises:
        InputError: the table cannot be read, or a class is no name of the three; numbers are refused, because they
            mean different diagnoses in different places.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [{str(k).strip().lower(): str(v).strip() for k, v in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{table}: no readable table: {error}") from error
    found = {}
    for number, row in enumerate(rows, start=2):
        picture, *_ = row.values()
        hot = [name for name in _IDS if row.get(name, "0").startswith("1")]
        if "class" in row:
            name = row["class"].lower().replace(" ", "_")
        elif _IDS.keys() & row.keys() and len(hot) <= 1:
            name = hot[0] if hot else "nevus"
        else:
            raise InputError(f"{table} line {number}: expected a column Class, or one of 0 and 1 for each diagnosis")
        if name not in _IDS:
            raise InputError(f"{table} line {number}: class {name!r}; expected {', '.join(_IDS)} (names, not numbers)")
        found[Path(picture).stem] = name
    return found


RECIPE = Recipe(
    name="isic", about="ISIC 2018 skin lesions by diagnosis to volumes of one slice.", find=find, pictures=True
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
