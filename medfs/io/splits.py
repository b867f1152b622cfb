"""Who trains, who validates, who tests: splits by patient, reproducible from a seed, checked for leaks."""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medfs.errors import InputError, UsageError
from medfs.io.atomic import atomic_path
from medfs.io.datasets import Case, read_datalist, read_json, repeated_names
from medfs.io.hashes import unordered_digest
from medfs.io.header import HEADER_BYTES, parse_header
from medfs.io.names import shown, volume_suffix
from medfs.io.nifti import read_image
from medfs.io.stream import file_head

PARTS = ("labelled", "unlabelled", "validation", "test")
_FORMAT = "medfs split 1"


@dataclass(frozen=True)
class Split:
    """Cases by what they may be used for; cases in ``unlabelled`` carry no label path, even where one exists.

    Raises:
        InputError: a case name comes twice, or a patient is in two of training (both lists), validation and test.
    """

    labelled: tuple[Case, ...]
    unlabelled: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]
    seed: int | None = None

    def __post_init__(self) -> None:
        faults = repeated_names(case for part in PARTS for case in self.cases(part))
        supervised = ((part, case) for part in PARTS if part != "unlabelled" for case in self.cases(part))
        faults += [f"{case.name} is in {part} without a label" for part, case in supervised if case.label is None]
        faults += _shared(self.uses, lambda case: f"patient {case.patient}")
        faults += _shared(self.uses, lambda case: f"image {case.image}")
        if faults:
            raise InputError(f"split: {'; '.join(faults)}")

    def cases(self, part: str) -> tuple[Case, ...]:
        """The cases of ``labelled``, ``unlabelled``, ``validation`` or ``test``.

        Raises:
            UsageError: there is no such part.
        """
        if part not in PARTS:
            raise UsageError(f"split part {part!r}; expected one of {', '.join(PARTS)}")
        return getattr(self, part)

    @property
    def uses(self) -> dict[str, tuple[Case, ...]]:
        """The cases of training, labelled or not, of validation and of test."""
        return {"training": self.labelled + self.unlabelled, "validation": self.validation, "test": self.test}

    def items(self, part: str) -> list[dict[str, str]]:
        """The cases of a part as MONAI takes them: ``{"image", "label", "case"}``, unlabelled ones without label."""
        return [case.item() for case in self.cases(part)]

    @property
    def sha256(self) -> str:
        """Hash over seed, case names and patients, the same wherever the files lie."""
        content = [self.seed, *([(case.name, case.patient) for case in self.cases(part)] for part in PARTS)]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    def write(self, path: str | Path) -> None:
        """Write JSON with the hash; paths are relative to its folder, so that both can be moved together.

        Raises:
            StorageError: it cannot be written.
        """
        folder = Path(path).absolute().parent
        content: dict[str, object] = {"format": _FORMAT, "seed": self.seed, "sha256": self.sha256}
        content |= {part: [_record(case, folder) for case in self.cases(part)] for part in PARTS}
        with atomic_path(Path(path)) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, path: str | Path) -> "Split":
        """Read what :meth:`write` wrote.

        Raises:
            InputError: it is no such file, its hash does not fit, or a patient is in two parts.
        """
        content = read_json(Path(path))
        if content.get("format") != _FORMAT:
            raise InputError(f"{shown(path)}: no medfs split; expected a file written by medfs")
        folder = Path(path).absolute().parent
        try:
            parts = {part: tuple(_case(record, folder) for record in content[part]) for part in PARTS}
            split = cls(**parts, seed=content["seed"])
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{shown(path)}: incomplete split ({error!r}); make it again") from error
        except InputError as error:
            raise InputError(f"{shown(path)}: {error}") from error
        if content.get("sha256") != split.sha256:
            raise InputError(f"{shown(path)}: the hash does not fit the cases; edited by hand? make it again")
        return split


def make_split(
    cases: Sequence[Case], *, validation: int, test: int, labelled: int | None = None, seed: int = 0
) -> Split:
    """Divide cases by patient.

    Patients are ordered by a hash of seed and patient, so that the order does not depend on the machine, on the
    order of ``cases`` or on which other patients there are. Test patients come first, then validation, then labelled
    ones: for the same seed, ``test`` and ``validation``, fewer labelled patients are a subset of more.

    Args:
        cases: all cases; ``patient`` decides which belong together.
        validation: number of patients, drawn from those with a label.
        test: number of patients, drawn from those with a label.
        labelled: number of patients whose labels may be used in training; None for all that remain.
        seed: another seed, another split.

    Returns:
        The split. Unlabelled are the training patients beyond ``labelled`` and every training case without a label;
        unlabelled cases of validation and test patients are in no part.

    Raises:
        UsageError: there are not as many labelled patients, or a count is negative, or ``labelled`` is 0.
    """
    patients: dict[str, list[Case]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: case.name):
        patients[case.patient].append(case)
    order = sorted(patients, key=lambda patient: _rank(seed, patient))
    usable = [patient for patient in order if any(case.label for case in patients[patient])]
    wanted = test + validation + (1 if labelled is None else labelled)
    if min(test, validation) < 0 or (labelled is not None and labelled < 1) or wanted > len(usable):
        raise UsageError(
            f"split: test {test}, validation {validation} and labelled {'the rest' if labelled is None else labelled}; "
            f"expected at least 1 labelled and no more than the {len(usable)} patients with labels"
        )
    stop = len(usable) if labelled is None else wanted
    chosen = usable[:test], usable[test : test + validation], usable[test + validation : stop]
    held_out, supervised = {*chosen[0], *chosen[1]}, set(chosen[2])
    parts = [tuple(c for patient in group for c in patients[patient] if c.label) for group in chosen]
    remaining = [c for patient in order if patient not in held_out for c in patients[patient]]
    unlabelled = tuple(replace(c, label=None) for c in remaining if c.patient not in supervised or not c.label)
    return Split(labelled=parts[2], unlabelled=unlabelled, validation=parts[1], test=parts[0], seed=seed)


def draw_labelled(split: Split, labelled: int | None, seed: int) -> Split:
    """The same test and validation cases with another draw of labelled patients among those that have labels.

    Args:
        split: whose ``labelled`` cases may be drawn from.
        labelled: number of patients; for one seed, fewer are a subset of more. None for all.
        seed: of the draw.

    Returns:
        The split; training cases that are not drawn are unlabelled.

    Raises:
        UsageError: there are not as many, or fewer than 1 are wanted.
    """
    patients = sorted({case.patient for case in split.labelled}, key=lambda patient: _rank(seed, patient))
    if labelled is not None and not 1 <= labelled <= len(patients):
        raise UsageError(f"labelled {labelled}; expected from 1 to the {len(patients)} patients with labels")
    chosen = set(patients[:labelled])
    others = tuple(replace(case, label=None) for case in split.labelled if case.patient not in chosen)
    drawn = tuple(case for case in split.labelled if case.patient in chosen)
    return replace(split, labelled=drawn, unlabelled=split.unlabelled + others, seed=seed)


def split_from_datalist(path: str | Path) -> Split:
    """The split that a MONAI datalist states by its sections.

    ``training`` entries are labelled or unlabelled by whether they have a label; ``unlabelled`` (optional),
    ``validation`` and ``test`` (or ``testing``) are taken as they are, test entries without a label left out.

    Raises:
        InputError: as :func:`~medfs.io.datasets.read_datalist`, or a patient is in two parts.
    """
    sections = read_datalist(path)
    training = sections.get("training", [])
    unlabelled = [c for c in training if not c.label] + [replace(c, label=None) for c in sections.get("unlabelled", [])]
    test = [*sections.get("test", []), *sections.get("testing", [])]
    try:
        return Split(
            labelled=tuple(c for c in training if c.label),
            unlabelled=tuple(unlabelled),
            validation=tuple(sections.get("validation", [])),
            test=tuple(c for c in test if c.label),
        )
    except InputError as error:
        raise InputError(f"{shown(path)}: {error}") from error


def require_distinct_voxels(groups: Mapping[str, Sequence[Case]]) -> None:
    """Return if no image is in two groups, not even renamed, flipped or turned.

    Images whose sizes differ cannot be copies; only those are read whose size comes in two groups. The intensities are
    compared whatever their order, so that no reordering of voxels hides a copy.

    Args:
        groups: cases by what they are used for.

    Raises:
        InputError: an image is in two groups; all pairs are listed. Or one cannot be read.
    """
    cases = {group: [(case, _extents(case.image)) for case in members] for group, members in groups.items()}
    where: dict[tuple[int, ...], set[str]] = defaultdict(set)
    for group, members in cases.items():
        for _, extents in members:
            where[extents].add(group)
    suspects = {g: [case for case, extents in members if len(where[extents]) > 1] for g, members in cases.items()}
    read = partial(read_image, assume_orientation=True, replace_nan=True)
    faults = _shared(suspects, lambda case: f"voxels {unordered_digest(read(case.image).array)}")
    if faults:
        raise InputError(f"split: {'; '.join(faults)}")


def _extents(path: Path) -> tuple[int, ...]:
    """The sizes of an image in ascending order, from its header where that is cheap."""
    if volume_suffix(path).lower() in (".nii", ".nii.gz"):
        return tuple(sorted(parse_header(file_head(path, HEADER_BYTES), shown(path), assume_orientation=True).shape))
    return tuple(sorted(read_image(path, assume_orientation=True, replace_nan=True).array.shape))


def _shared(groups: Mapping[str, Sequence[Case]], key: Callable[[Case], str]) -> list[str]:
    """One sentence for each key that cases of two groups have in common."""
    where: dict[str, dict[str, str]] = defaultdict(dict)
    for group, cases in groups.items():
        for case in cases:
            where[key(case)].setdefault(group, f"{case.name} ({group})")
    return [f"{' and '.join(found.values())} share {what}" for what, found in where.items() if len(found) > 1]


def _rank(seed: int, patient: str) -> bytes:
    """Where a patient stands in the order of a seed, on any machine and among any others."""
    return hashlib.sha256(f"{seed}\0{patient}".encode()).digest()


def _record(case: Case, folder: Path) -> dict[str, str | None]:
    label = None if case.label is None else _relative(case.label, folder)
    return {"case": case.name, "patient": case.patient, "image": _relative(case.image, folder), "label": label}


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path.absolute(), folder)).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()


def _case(record: dict[str, str | None], folder: Path) -> Case:
    image, label = record["image"], record["label"]
    if not isinstance(image, str):
        raise TypeError("image")
    placed = [None if path is None else Path(os.path.normpath(folder / path)) for path in (image, label)]
    return Case(str(record["case"]), str(record["patient"]), placed[0] or folder, placed[1])
