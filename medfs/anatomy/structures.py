"""What the table describes: codes, structures and label sets."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept as DICOM writes it: scheme (``SCT`` is SNOMED CT), value, meaning."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Organ:
    """One anatomical structure, or the background.

    Attributes:
        name: Unique identifier in snake case, e.g. ``"right_kidney"``.
        title: The name a reader sees, e.g. ``"Right kidney"``.
        synonyms: Other spellings that ``find_organ`` resolves to this structure.
        color: Red, green and blue, 0 to 255.
        category: DICOM segmented property category.
        type: DICOM segmented property type.
        type_modifier: Side or part, ``None`` where the type needs none.
        shape: What the structure looks like, two sentences.
        location: Where it lies, two sentences; left and right are the patient's.
        region: Anatomic region that narrows the type, ``None`` where the type says it all.
    """

    name: str
    title: str
    synonyms: tuple[str, ...]
    color: tuple[int, int, int]
    category: Code
    type: Code
    type_modifier: Code | None
    shape: str
    location: str
    region: Code | None = None


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The structures of a label map; the index of a structure is its label value.

    Index 0 is the background. A set with the background alone is allowed and has no labels.

    Raises:
        ValueError: Index 0 is not the background, or a structure appears twice.
    """

    name: str
    organs: tuple[Organ, ...]

    def __post_init__(self) -> None:
        if not self.organs or self.organs[0].name != "background":
            raise ValueError(f"label set {self.name}: value 0 must be the background")
        if len(set(self.names)) != len(self.organs):
            raise ValueError(f"label set {self.name}: a structure appears twice")

    @property
    def names(self) -> tuple[str, ...]:
        """Structure names in the order of their label values."""
        return tuple(organ.name for organ in self.organs)

    def __len__(self) -> int:
        return len(self.organs)
