"""Descriptions that ship: one sentence for each class of a dataset, by the name of the class."""

import difflib
import importlib.resources
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

from medfs.anatomy import find_organ, known_organs, label_set, label_set_names
from medfs.errors import UsageError
from medfs.text.prompts import BACKGROUND, OwnTexts, read_texts

ANATOMY = "anatomy"
"""The dataset of all structures of the organ table, whose sentences are put together from it."""

BANK_KINDS = ("description", "name")
"""A sentence, and as its control the bare name of the class."""

Entry = tuple[str, str]  # dataset and class


def described_datasets() -> tuple[str, ...]:
    """Datasets whose classes have a description.

    >>> "wbc" in described_datasets()
    True
    """
    return tuple(dataset for dataset in _bank() if dataset)


def bank_entries(wanted: str | Sequence[str]) -> dict[str, Entry]:
    """Where the descriptions of datasets and classes are, by the names that their classes get.

    The background comes first. A class that several of the datasets have counts once, as in the first.

    Args:
        wanted: datasets (``wbc``), label sets (``amos``), classes (``cat``) or classes of a dataset
            (``chaos_t2/liver``), as a sequence or separated by commas. A class alone is an organ of the table, or
            that of the first dataset that has it.

    Raises:
        UsageError: there is no such dataset or class; the message has the nearest.

    >>> bank_entries("isic/nevus, cat")
    {'background': ('', 'background'), 'nevus': ('isic', 'nevus'), 'cat': ('coco', 'cat')}
    """
    items = wanted.split(",") if isinstance(wanted, str) else wanted
    found = {BACKGROUND: ("", BACKGROUND)}
    for item in (item.strip() for item in items):
        for name, entry in _entries(item).items():
            found.setdefault(name, entry)
    return found


def bank_texts(entries: Mapping[str, Entry], kinds: Sequence[str] = BANK_KINDS) -> dict[str, dict[str, str]]:
    """Texts of :func:`bank_entries`, in the form in which own texts are given.

    >>> bank_texts(bank_entries("wbc"), ["name"])["nucleus"]
    {'name': 'nucleus'}
    """
    texts = {name: _bank()[dataset][entry] for name, (dataset, entry) in entries.items()}
    return {name: {kind: text for kind, text in each.items() if kind in kinds} for name, each in texts.items()}


def whole_bank() -> dict[str, Entry]:
    """All entries, the background first, each by the name ``dataset/class``."""
    return {_key(dataset, name): (dataset, name) for dataset, classes in _bank().items() for name in classes}


def _key(dataset: str, name: str) -> str:
    return f"{dataset}/{name}" if dataset else name


def _entries(item: str) -> dict[str, Entry]:
    """What one dataset, label set or class stands for."""
    if item == BACKGROUND:
        return {}
    if item in described_datasets():
        return {name: (item, name) for name in _bank()[item]}
    if item in label_set_names():
        return {name: (ANATOMY, name) for name in label_set(item).names if name != BACKGROUND}
    dataset, _, name = item.rpartition("/")
    if dataset:
        return {name: _entry(item, [dataset] if dataset in _bank() else [])}
    try:
        organ = find_organ(item).name
    except UsageError:
        return {item: _entry(item, [each for each in described_datasets() if each != ANATOMY])}
    return {item: (ANATOMY, organ)}


def _entry(item: str, datasets: Sequence[str]) -> Entry:
    wanted = _plain(item.rpartition("/")[2])
    for dataset in datasets:
        for name in _bank()[dataset]:
            if _plain(name) == wanted:
                return dataset, name
    known = [*described_datasets(), *(name for classes in _bank().values() for name in classes), *whole_bank()]
    nearest = difflib.get_close_matches(item, dict.fromkeys(known), n=3, cutoff=0.4) or described_datasets()
    raise UsageError(f"descriptions: no dataset or class {item!r}; the nearest: {', '.join(nearest)}")


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().lower()


@cache
def _bank() -> Mapping[str, OwnTexts]:
    """Texts by dataset, class and kind; the background, which belongs to none, is there under an empty name."""
    texts: dict[str, OwnTexts] = {}
    folder = importlib.resources.files("medfs.text") / "descriptions"
    with importlib.resources.as_file(folder) as path:
        read = {file.stem: read_texts(file) for file in sorted(path.glob("*.json"))}
    texts[""] = read.pop(BACKGROUND)
    texts |= read
    texts[ANATOMY] = {
        organ.name: {"description": f"a scan of the {organ.title.lower()}. {organ.shape} {organ.location}"}
        for organ in known_organs()
        if organ.name != BACKGROUND
    }
    return MappingProxyType(
        {
            dataset: {name: {**each, "name": _plain(name)} for name, each in classes.items()}
            for dataset, classes in texts.items()
        }
    )
