"""Label sets as rows of 3D Slicer's CSV colour table.

References:
    3D Slicer developer guide, Colors, "Color table CSV file format (.csv)",
    https://slicer.readthedocs.io/en/latest/developer_guide/modules/colors.html
"""

from medfs.anatomy.structures import Code, LabelSet, Organ

_CODED = ("Category", "Type", "TypeModifier", "Region", "RegionModifier")
COLOR_TABLE_COLUMNS = (
    *("LabelValue", "Name", "Color_R", "Color_G", "Color_B", "Color_A"),
    *(f"{group}_{part}" for group in _CODED for part in ("CodingScheme", "CodeValue", "CodeMeaning")),
)


def color_table_rows(labels: LabelSet) -> list[tuple[str, ...]]:
    r"""One row per label value from 1, in the order of ``COLOR_TABLE_COLUMNS``, all fields as text.

    Value 0 is left out, as Slicer advises; a set with the background alone has no rows. Written with
    ``csv.writer(..., lineterminator="\n")`` below the column names, the rows are the file that Slicer reads. No field
    holds a quotation mark, which Slicer's reader could not take.
    """
    return [_row(value, organ) for value, organ in enumerate(labels.organs) if value > 0]


def _row(value: int, organ: Organ) -> tuple[str, ...]:
    codes = (organ.category, organ.type, organ.type_modifier, organ.region, None)
    fields = (field for code in codes for field in _fields(code))
    return (str(value), organ.name, *map(str, organ.color), "255", *fields)


def _fields(code: Code | None) -> tuple[str, str, str]:
    return ("", "", "") if code is None else (code.scheme, code.value, code.meaning)
