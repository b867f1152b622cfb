"""Reads ``organs.csv`` once and keeps it."""

import csv
import io
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from medfs.anatomy.structures import Code, LabelSet, Organ


@cache
def known_organs() -> tuple[Organ, ...]:
    """All structures of the table in its order, the background first."""
    return tuple(_organ(row) for row in _rows())


@cache
def shipped_label_sets() -> Mapping[str, LabelSet]:
    """The label sets of the table by name, in the order in which the table names them.

    Raises:
        ValueError: The values of a set are not 0, 1, 2, ... without a gap.
    """
    members: dict[str, dict[int, Organ]] = {}
    for row, organ in zip(_rows(), known_organs(), strict=True):
        for entry in row["LabelSets"].split(";"):
            set_name, value = entry.split(":")
            if members.setdefault(set_name, {}).setdefault(int(value), organ) is not organ:
                raise ValueError(f"organs.csv: label set {set_name} has two structures with value {value}")
    return MappingProxyType({name: _label_set(name, values) for name, values in members.items()})


def _label_set(name: str, values: dict[int, Organ]) -> LabelSet:
    if sorted(values) != list(range(len(values))):
        raise ValueError(f"organs.csv: label set {name} has the values {sorted(values)}; expected no gap from 0")
    return LabelSet(name, tuple(values[value] for value in range(len(values))))


@cache
def _rows() -> tuple[dict[str, str], ...]:
    from importlib.resources import files  # costs more than the table itself, and only the first reader needs it

    text = files("medfs.anatomy").joinpath("organs.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(io.StringIO(text, newline="")))


def _organ(row: Mapping[str, str]) -> Organ:
    category, kind = _code(row, "Category"), _code(row, "Type")
    if category is None or kind is None:
        raise ValueError(f"organs.csv: {row['Name']} has no category or no type")
    return Organ(
        name=row["Name"],
        title=row["Title"],
        synonyms=tuple(row["Synonyms"].split(";")),
        color=(int(row["Color_R"]), int(row["Color_G"]), int(row["Color_B"])),
        category=category,
        type=kind,
        type_modifier=_code(row, "TypeModifier"),
        shape=row["Shape"],
        location=row["Location"],
        region=_code(row, "Region"),
    )


def _code(row: Mapping[str, str], column: str) -> Code | None:
    value = row[f"{column}_CodeValue"]
    return Code(row[f"{column}_CodingScheme"], value, row[f"{column}_CodeMeaning"]) if value else None
