"""From the many spellings of a structure to the structure."""

import re
from collections.abc import Iterable, Mapping
from functools import cache

from medfs.anatomy.structures import Organ
from medfs.anatomy.table import known_organs
from medfs.errors import UsageError

_SIDES = {"r": "right", "rt": "right", "l": "left", "lt": "left"}
_FILLERS = frozenset({"and", "of", "or", "the"})
_NEAREST_SHOWN = 3


def find_organ(name: str) -> Organ:
    """The structure that a name, title or synonym stands for.

    Case, word order, punctuation and filler words do not matter, a capital inside a word starts a new word, and a
    lone ``R`` or ``L`` is a side. A name that leaves the side or the part open resolves to nothing: medfs never
    guesses a side.

    Raises:
        UsageError: The name is unknown (the nearest known names are given) or fits several structures (all are given).

    >>> find_organ("Kidney (R)").name, find_organ("SpinalCord").name, find_organ("postcava").name
    ('right_kidney', 'spinal_cord', 'inferior_vena_cava')
    >>> find_organ("kidney")
    Traceback (most recent call last):
    medfs.errors.UsageError: structure 'kidney' is ambiguous; say one of: right_kidney, left_kidney
    """
    words = _words(name)
    organ = _by_words().get(frozenset(words))
    if organ is not None:
        return organ
    wider = _names_of(_containing(words))
    if len(wider) > 1:
        raise UsageError(f"structure {name!r} is ambiguous; say one of: {', '.join(wider)}")
    nearest = wider or _similar(" ".join(words))
    if nearest:
        raise UsageError(f"unknown structure {name!r}; nearest known: {', '.join(nearest)}")
    raise UsageError(f"unknown structure {name!r}; known: {', '.join(_names_of(known_organs()))}")


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    words = re.findall(r"[^\W_]+", spaced.casefold())
    return [_SIDES.get(word, word) for word in words if word not in _FILLERS]


def _spellings(organ: Organ) -> tuple[str, ...]:
    return (organ.name, organ.title, *organ.synonyms)


@cache
def _by_words() -> Mapping[frozenset[str], Organ]:
    index: dict[frozenset[str], Organ] = {}
    for organ in known_organs():
        for spelling in _spellings(organ):
            if index.setdefault(frozenset(_words(spelling)), organ) is not organ:
                raise ValueError(f"organs.csv: {spelling!r} stands for two structures")
    return index


def _containing(words: Iterable[str]) -> list[Organ]:
    """Structures with a spelling that has all of these words and more; none for no words."""
    wanted = frozenset(words)
    return [organ for known, organ in _by_words().items() if wanted and wanted < known]


def _similar(text: str) -> tuple[str, ...]:
    from difflib import get_close_matches  # needed for a wrong name only

    pool: dict[str, list[Organ]] = {}
    for organ in known_organs():
        for words in map(_words, _spellings(organ)):
            for candidate in {" ".join(words), *words}:
                pool.setdefault(candidate, []).append(organ)
    matches = get_close_matches(text, pool, n=_NEAREST_SHOWN)
    return _names_of(organ for match in matches for organ in pool[match])[:_NEAREST_SHOWN]


def _names_of(organs: Iterable[Organ]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(organ.name for organ in organs))
