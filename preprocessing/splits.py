"""Published splits of semi-supervised papers: from lists of cases to a datalist that ``medfs train`` takes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medfs.errors import InputError, UsageError
from medfs.io import atomic_path
from medfs.io.datasets import read_json

PARTS = ("labelled", "unlabelled", "validation", "test")
_PUBLISHED = Path(__file__).with_name("published_splits.json")

Lists = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class PublishedSplits:
    """Splits of a dataset in the literature.

    Attributes:
        dataset: its key in ``published_splits.json``.
        refused: why a published split is not made, by its name.
        training_folder: raw folder whose cases train where a split does not list them; None for any.
        test_folder: raw folder whose cases test where a split does not list them; None if all do.
        without_validation: what to say where no list of validation cases is known.
    """

    dataset: str
    refused: Mapping[str, str] = field(default_factory=dict)
    training_folder: str | None = None
    test_folder: str | None = None
    without_validation: str = ""

    def names(self) -> list[str]:
        """The splits whose lists are known."""
        return list(self._published())

    def lists(self, wanted: str, validation: Path | None = None) -> Lists:
        """The cases that a split names, by part; parts that it leaves open are missing.

        Args:
            wanted: a published name, or a JSON file ``{"labelled": [...], "unlabelled": [...], "validation": [...],
                "test": [...]}`` of which ``labelled`` alone is needed.
            validation: text file with one case a line, in place of what the split says.

        Raises:
            UsageError: the split is refused, or there is neither such a name nor such a file.
            InputError: a file is not of that form, or a case is in two parts.
        """
        if wanted in self.refused:
            raise UsageError(f"{self.dataset} {wanted}: {self.refused[wanted]}")
        published, path = self._published(), Path(wanted)
        if wanted not in published and not path.is_file():
            raise UsageError(f"--split {wanted}: no such file; expected {', '.join(published)} or a JSON file")
        lists = dict(published[wanted] if wanted in published else _checked(read_json(path), wanted))
        if validation is not None:
            lists["validation"] = _lines(validation)
        named = [(part, case) for part, cases in lists.items() for case in cases]
        cases = [case for _, case in named]
        if twice := sorted({f"{case} ({part})" for part, case in named if cases.count(case) > 1}):
            raise InputError(f"--split {wanted}: named more than once: {', '.join(twice)}")
        return lists

    def sections(self, lists: Lists, folders: Mapping[str, str]) -> dict[str, list[str]]:
        """All four parts: open ones are filled from the folders of the raw dataset.

        Args:
            lists: from :meth:`lists`.
            folders: name of the raw folder by case, of all cases that were found.
        """
        named = {case for part in lists.values() for case in part}
        rest = {case: folder for case, folder in folders.items() if case not in named}
        test = [case for case, folder in rest.items() if self.test_folder is not None and folder == self.test_folder]
        training = [case for case, folder in rest.items() if self.training_folder in (None, folder)]
        filled = {"unlabelled": training, "test": test}
        return {part: list(lists.get(part, filled.get(part, ()))) for part in PARTS}

    def _published(self) -> Mapping[str, Lists]:
        return read_json(_PUBLISHED)[self.dataset]


def write_datalist(path: Path, sections: Mapping[str, Sequence[str]]) -> None:
    """Write a MONAI datalist of the dataset in the folder of ``path``; a case without label has no ``label`` there.

    Args:
        path: the JSON file, beside ``images/`` and ``labels/``.
        sections: case names by part.

    Raises:
        InputError: the dataset lacks a case, or the label map of one that is not unlabelled.
        StorageError: it cannot be written.
    """
    content: dict[str, list[dict[str, str]]] = {"training": [], "validation": [], "test": []}
    missing, root = [], path.parent
    for part, names in sections.items():
        for name in names:
            item = {"case": name, "image": f"images/{name}.nii.gz"}
            if part != "unlabelled":
                item["label"] = f"labels/{name}.nii.gz"
            missing += [item[key] for key in ("image", "label") if key in item and not (root / item[key]).is_file()]
            content[part if part in content else "training"].append(item)
    if missing:
        shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise InputError(f"{path}: not written, the dataset lacks {len(missing)} of its files: {shown}")
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _checked(content: dict, source: str) -> Lists:
    lists = {part: content[part] for part in PARTS if part in content}
    sound = all(isinstance(cases, list) and all(isinstance(case, str) for case in cases) for cases in lists.values())
    if not sound or not lists.get("labelled") or set(content) - set(PARTS):
        expected = f"expected lists of case names called {', '.join(PARTS)}, labelled not empty"
        raise InputError(f"{source}: no split; {expected}")
    return lists


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").split()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no readable list of cases: {error}") from error
