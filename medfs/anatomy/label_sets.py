"""Label sets: those of the datasets medfs knows, and a user's own."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb

from medfs.anatomy.names import find_organ
from medfs.anatomy.structures import Code, LabelSet, Organ
from medfs.anatomy.table import known_organs, shipped_label_sets
from medfs.errors import UsageError

_GOLDEN_RATIO = 0.6180339887  # as a step of hue, it keeps any number of colours apart


def label_set_names() -> tuple[str, ...]:
    """Names that ``label_set`` accepts.

    >>> label_set_names()
    ('amos', 'synapse', 'chaos', 'cmr', 'hippocampus', 'head_neck')
    """
    return tuple(shipped_label_sets())


def label_set(name: str) -> LabelSet:
    """The label set of a dataset; case and the choice of ``-`` or ``_`` do not matter.

    Raises:
        UsageError: No such set; the known ones are given.

    >>> label_set("chaos").names
    ('background', 'liver', 'right_kidney', 'left_kidney', 'spleen')
    """
    try:
        return shipped_label_sets()[name.strip().lower().replace("-", "_")]
    except KeyError:
        raise UsageError(f"unknown label set {name!r}; known: {', '.join(label_set_names())}") from None


def custom_label_set(names: Sequence[str]) -> LabelSet:
    """A label set of one's own: the first name gets label value 1, the next 2, and so on.

    The background is put in front unless it is already there. No names give the background alone.

    Args:
        names: Spellings that ``find_organ`` resolves.

    Raises:
        UsageError: A name is unknown or ambiguous, two names mean one structure, the background is not first, or a
            single string was given instead of a list of names.

    >>> custom_label_set(["LK", "kidney_right"]).names
    ('background', 'left_kidney', 'right_kidney')
    """
    if isinstance(names, str):
        raise UsageError(f"label set {names!r} is one string; expected a list of names")
    organs = [find_organ(name) for name in names]
    if not organs or organs[0].name != "background":
        organs.insert(0, find_organ("background"))
    found = [organ.name for organ in organs]
    repeated = next((name for name in found if found.count(name) > 1), None)
    if repeated == "background":
        raise UsageError("label set: the background is listed after another structure or twice; it is always value 0")
    if repeated is not None:
        raise UsageError(f"label set: two names mean {repeated}; every structure needs one label value")
    return LabelSet("custom", tuple(organs))


def nameless_label_set(count: int) -> LabelSet:
    """``organ_1`` to ``organ_<count>`` for label values whose meaning nobody has said; tissue of some kind in exports.

    >>> nameless_label_set(2).names
    ('background', 'organ_1', 'organ_2')
    """
    tissue = Code("SCT", "85756007", "Tissue")
    organs = [find_organ("background")]
    for value in range(1, count + 1):
        red, green, blue = (round(255 * part) for part in hsv_to_rgb(value * _GOLDEN_RATIO % 1, 0.6, 0.9))
        name, title = f"organ_{value}", f"Organ {value}"
        organs.append(Organ(name, title, (), (red, green, blue), tissue, tissue, None, shape="", location=""))
    return LabelSet("nameless", tuple(organs))


def resolve_label_set(labels: str | Sequence[str]) -> LabelSet:
    """What a user calls the classes: the name of a set, names separated by commas, or a list of names.

    Raises:
        UsageError: As `label_set` and `custom_label_set`.

    >>> resolve_label_set("liver, spleen").names
    ('background', 'liver', 'spleen')
    """
    if not isinstance(labels, str):
        return custom_label_set(labels)
    names = [name.strip() for name in labels.split(",")]
    return label_set(labels) if len(names) == 1 and labels.strip() not in _structures() else custom_label_set(names)


def _structures() -> set[str]:
    return {organ.name for organ in known_organs()}
