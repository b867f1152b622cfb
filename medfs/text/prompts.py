"""The texts that are encoded: those of the organ table, a user's own, and how long ones are divided."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from medfs.anatomy import find_organ, known_organs, resolve_label_set
from medfs.errors import InputError, UsageError

BACKGROUND = "background"
DEFAULT_KINDS = ("shape", "location")
OwnTexts = Mapping[str, Mapping[str, str]]  # name -> kind -> text

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^a-z\s])")
_CLAUSE_END = re.compile(r"(?<=[,;:])\s+")
_SPACE = re.compile(r"\s+")


def prior_names(labels: str | None, own: OwnTexts | None = None) -> tuple[str, ...]:
    """Names of the rows of a prior, background first.

    Args:
        labels: A label set's name, organs separated by commas, or ``all`` for every organ of the table; ``None`` for
            the names of `own`.
        own: Own texts, whose names need not be in the organ table.

    Raises:
        UsageError: An organ is unknown, or there is no name at all.

    >>> prior_names("spleen, RK")
    ('background', 'spleen', 'right_kidney')
    """
    own = own or {}
    given = [name.strip() for name in (labels or "").split(",") if name.strip()]
    if labels is None:
        names = tuple(own)
    elif labels == "all":
        names = tuple(organ.name for organ in known_organs())
    elif given and not any(name in own for name in given):
        names = resolve_label_set(labels).names
    else:
        names = tuple(name if name in own else find_organ(name).name for name in given)
    if not names:
        raise UsageError("text prior: no names; expected a label set, organs separated by commas, or own texts")
    return (BACKGROUND, *(name for name in names if name != BACKGROUND))


def organ_texts(
    names: Sequence[str], kinds: Sequence[str] = DEFAULT_KINDS, own: OwnTexts | None = None
) -> tuple[tuple[str, ...], ...]:
    """One text per kind for every name: from `own` where it has one, otherwise from the organ table.

    Raises:
        UsageError: A text is missing, or `own` has a name or a kind that is not asked for (a slip of the pen there
            would otherwise let the table's text through unnoticed).
    """
    own = own or {}
    for name, texts in own.items():
        if name not in names:
            raise UsageError(f"own texts: {name!r} is not among the names; expected one of {', '.join(names)}")
        for kind in texts:
            if kind not in kinds:
                raise UsageError(f"own texts: {name} has a {kind!r} text; expected only {', '.join(kinds)}")
    return tuple(tuple(_text(name, kind, own.get(name, {})) for kind in kinds) for name in names)


def _text(name: str, kind: str, own: Mapping[str, str]) -> str:
    text = own.get(kind, "").strip()
    if not text and kind in DEFAULT_KINDS:
        text = str(getattr(find_organ(name), kind)).strip()
    if not text:
        raise UsageError(f"{name}: no {kind} text; the organ table has {' and '.join(DEFAULT_KINDS)}, write your own")
    return text


def read_texts(path: Path) -> dict[str, dict[str, str]]:
    """Own texts from a JSON file ``{name: {kind: text}}`` or a CSV file with the columns ``name`` and the kinds.

    Synonyms of an organ count as its name. Empty cells of a CSV are left out, so that the organ table fills them.

    Raises:
        InputError: The file is missing, is no UTF-8 text of that form, or names an organ twice.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a JSON or CSV file in UTF-8") from error
    return _from_csv(path, content) if path.suffix.lower() == ".csv" else _from_json(path, content)


def _from_json(path: Path, content: str) -> dict[str, dict[str, str]]:
    try:
        pairs = json.loads(content, object_pairs_hook=list)
        texts = {name: dict(kinds) for name, kinds in pairs}
        well_formed = all(isinstance(text, str) for kinds in texts.values() for text in kinds.values())
    except (ValueError, TypeError) as error:
        raise InputError(f'{path}: expected JSON of the form {{"liver": {{"shape": "..."}}}}') from error
    if not well_formed:
        raise InputError(f'{path}: expected JSON of the form {{"liver": {{"shape": "..."}}}}')
    return _by_organ(path, [(name, texts[name]) for name, _ in pairs])


def _from_csv(path: Path, content: str) -> dict[str, dict[str, str]]:
    table = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    if "name" not in (table.fieldnames or ()):
        raise InputError(f"{path}: no column 'name'; expected the columns name,shape,location")
    try:
        rows = list(table)
    except csv.Error as error:
        raise InputError(f"{path}: line {table.line_num}: {error}; expected comma-separated values") from error
    for row in rows:
        if None in row or None in row.values():
            raise InputError(
                f"{path}: {row['name']}: expected as many cells as the header has; quote texts with commas"
            )
    return _by_organ(path, [(row.pop("name"), {kind: text for kind, text in row.items() if text}) for row in rows])


def _by_organ(path: Path, texts: list[tuple[str, dict[str, str]]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for written, kinds in texts:
        try:
            name = find_organ(written).name
        except UsageError:  # an organ of the user's own
            name = written
        if name in found:
            raise InputError(f"{path}: {name} is there twice, the second time as {written!r}; expected every name once")
        found[name] = kinds
    return found


def split_text(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The text itself if it fits; otherwise its sentences, and parts of those sentences that do not fit alone.

    A sentence that is too long is filled up clause by clause, a clause word by word, a word character by character, so
    no word of the text is lost.

    Args:
        text: What is to be encoded.
        fits: Says whether an encoder takes a text whole.

    Returns:
        Pieces that all fit, in the order of the text.

    Raises:
        UsageError: Not even a single character fits.

    >>> split_text("Long and flat. It lies, as a rule, below.", lambda piece: len(piece) < 18)
    ['Long and flat.', 'It lies,', 'as a rule, below.']
    """
    text = text.strip()
    if fits(text):
        return [text]
    sentences = _SENTENCE_END.split(text)
    return [piece for sentence in sentences for piece in _fill(sentence, fits, (_CLAUSE_END, _SPACE))]


def _fill(text: str, fits: Callable[[str], bool], ends: tuple[re.Pattern[str], ...]) -> list[str]:
    if fits(text):
        return [text]
    if not ends and len(text) <= 1:
        raise UsageError(f"text encoder: takes not even the text {text!r}; expected a larger token limit")
    parts, glue = (ends[0].split(text), " ") if ends else (list(text), "")
    pieces: list[str] = []
    current = ""
    for piece in (piece for part in parts for piece in _fill(part, fits, ends[1:])):
        joined = f"{current}{glue}{piece}" if current else piece
        if current and not fits(joined):
            pieces.append(current)
            joined = piece
        current = joined
    return [*pieces, current]
