"""Which cases a dataset holds: a folder of images and labels, or a MONAI datalist."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medfs.errors import InputError, UsageError
from medfs.io.names import case_name, is_safe, pairing_key, safe_name, shown, stem, unique_case_names, volume_suffix

DATASET_FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"))
DATA_ONLY = (".img", ".img.gz")  # the header beside it stands for the pair


@dataclass(frozen=True, slots=True)
class Case:
    """One scan: its name in reports, the patient it comes from, the image, and the label map if there is one.

    Raises:
        InputError: the name is not one that :func:`~medfs.io.names.safe_name` gives; output files are called by it.
    """

    name: str
    patient: str
    image: Path
    label: Path | None = None

    def __post_init__(self) -> None:
        if not is_safe(self.name):
            raise InputError(f"{shown(self.name)}: not safe as a case name; make it so with medfs.io.names.safe_name")

    def item(self) -> dict[str, str]:
        """The case as MONAI's dictionary transforms take it; a case without label has no ``label`` key."""
        label = {} if self.label is None else {"label": str(self.label)}
        return {"image": str(self.image), **label, "case": self.name}


def find_cases(dataset: str | Path, *, patient_pattern: str | None = None) -> list[Case]:
    """All cases of a dataset, sorted by name.

    Args:
        dataset: a folder with ``images/`` and ``labels/`` (or ``imagesTr/`` and ``labelsTr/``), where an image without
            a label is an unlabelled case; or a MONAI datalist (JSON), all sections together. Names pair up: equal
            ones, nnU-Net's ``x_0000`` with ``x``, and ``image_7`` with ``label_7``.
        patient_pattern: regular expression that finds the patient in a case name: its first group, or the whole
            match. Without it every case is a patient of its own.

    Raises:
        InputError: a label without image, a file that is missing, equal case names: all of them in one message; or no
            case at all, or a name in which the pattern finds no patient.
        UsageError: the pattern is no regular expression.
    """
    dataset = Path(dataset)
    if dataset.is_file():
        cases = [case for section in read_datalist(dataset).values() for case in section]
    else:
        cases = _cases_of_folder(dataset)
    if not cases:
        raise InputError(f"{shown(dataset)}: no case found; expected images in {dataset / 'images'}")
    if patient_pattern is not None:
        cases = _with_patients(cases, patient_pattern, shown(dataset))
    return sorted(cases, key=lambda case: case.name)


def read_datalist(path: str | Path) -> dict[str, list[Case]]:
    """The sections of a MONAI datalist: ``training``, ``validation``, ``test`` or whatever lists it has.

    An entry is ``{"image": ..., "label": ...}`` or the image's path alone; ``case`` and ``patient`` are optional
    keys. Paths are relative to the datalist.

    Raises:
        InputError: no such JSON, an entry of another form, a missing file, equal case names; all in one message.
    """
    path = Path(path)
    content = read_json(path)
    sections: dict[str, list[Case]] = {}
    faults: list[str] = []
    for section, entries in content.items():
        if not isinstance(entries, list) or not all(isinstance(entry, dict | str) for entry in entries):
            continue
        sections[section] = []
        for number, entry in enumerate(entries):
            case = _case_of_entry(entry, path.parent, f"{section}[{number}]", faults)
            if case is not None:
                sections[section].append(case)
    cases = [case for section in sections.values() for case in section]
    faults += [f"{shown(p)} is missing" for c in cases for p in (c.image, c.label) if p and not p.exists()]
    faults += repeated_names(cases)
    _raise_all(shown(path), faults)
    return sections


def read_json(path: Path) -> dict:
    """A JSON object; a byte-order mark is skipped and a key that comes twice is an error.

    Raises:
        InputError: the file is no such object.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8-sig"), object_pairs_hook=_unique_keys)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{shown(path)}: no readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{shown(path)}: a JSON {type(content).__name__}; expected an object")
    return content


def repeated_names(cases: Iterable[Case]) -> list[str]:
    """One sentence for each case name that several cases have, case folded."""
    counts = Counter(case.name.casefold() for case in cases)
    return [f"the case name {name} comes {count} times" for name, count in counts.items() if count > 1]


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"the key {twice[0]!r} comes twice")
    return dict(pairs)


def _case_of_entry(entry: Mapping | str, root: Path, where: str, faults: list[str]) -> Case | None:
    fields = {"image": entry} if isinstance(entry, str) else dict(entry)
    if not isinstance(fields.get("image"), str) or not isinstance(fields.get("label", ""), str):
        faults.append(f"{where} has no single path as image and label")
        return None
    image = _absolute(root, fields["image"])
    label = _absolute(root, fields["label"]) if fields.get("label") else None
    name = safe_name(str(fields["case"])) if fields.get("case") else case_name(image)
    return Case(name, str(fields.get("patient") or name), image, label)


def _absolute(root: Path, path: str) -> Path:
    return Path(os.path.normpath(root.absolute() / path))


def _cases_of_folder(dataset: Path) -> list[Case]:
    pair = next((pair for pair in DATASET_FOLDERS if (dataset / pair[0]).is_dir()), None)
    if pair is None:
        raise InputError(f"{shown(dataset)}: no dataset; expected a folder with images/ and labels/, or a datalist")
    return pair_folders(dataset / pair[0], dataset / pair[1], shown(dataset))


def pair_folders(images_dir: Path, labels_dir: Path, where: str) -> list[Case]:
    """The images of one folder with the label maps of another, as :func:`find_cases` pairs their names.

    Args:
        images_dir: an image without a label is a case without one.
        labels_dir: may be missing.
        where: begins the message.

    Raises:
        InputError: a label without image, equal case names: all of them in one message.
    """
    images, labels = volumes_of(images_dir), volumes_of(labels_dir)
    unique_case_names(images)
    pairs, left = match_names(images, labels)
    shadowed = len(labels) - len({stem(label) for label in labels})
    faults = [f"{shadowed} labels of equal names"] if shadowed else []
    faults += [f"label {shown(label)} has no image" for label in left[: len(left) - shadowed]]
    cases = [Case(name, name, image, label) for image, name, label in pairs]
    _raise_all(where, faults + repeated_names(cases))
    return cases


def match_names(images: list[Path], labels: list[Path]) -> tuple[list[tuple[Path, str, Path | None]], list[Path]]:
    """Image, case name and label map of each image, and the label maps that no image takes.

    Of label maps of one name the last is offered; the others come last among those that are left.

    Raises:
        InputError: a file whose name cannot name a case.
    """
    unpaired = {stem(label): label for label in labels}
    shadowed = [label for label in labels if label not in unpaired.values()]
    by_key = {pairing_key(name): name for name in unpaired}
    pairs = []
    for image in images:
        full, name = stem(image), case_name(image)
        found = next((n for n in (full, name, by_key.get(pairing_key(name), "")) if n in unpaired), None)
        if found == full:
            name = full
        pairs.append((image, name, unpaired.pop(found) if found else None))
    return pairs, [*unpaired.values(), *shadowed]


def volumes_of(folder: Path) -> list[Path]:
    """The volumes directly inside ``folder``, sorted; none if it is missing."""
    if not folder.is_dir():
        return []
    paths = sorted(path.absolute() for path in folder.iterdir() if not path.name.startswith("."))
    return [path for path in paths if volume_suffix(path) and volume_suffix(path).lower() not in DATA_ONLY]


def _with_patients(cases: list[Case], pattern: str, where: str) -> list[Case]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"patient pattern {pattern!r}: {error}; expected a regular expression") from error
    found, faults = [], []
    for case in cases:
        match = expression.search(case.name)
        patient = match and (match[1] if expression.groups else match[0])
        if patient:
            found.append(Case(case.name, patient, case.image, case.label))
        else:
            faults.append(f"{pattern!r} finds no patient in {case.name}")
    _raise_all(where, faults)
    return found


def _raise_all(where: str, faults: list[str]) -> None:
    if faults:
        raise InputError(f"{where}: {'; '.join(faults)}")
