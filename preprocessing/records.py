"""What became of each case: the record that the manifest is made of and that a resumed run believes only if it fits."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from medfs.inference.records import CaseRecord
from medfs.io import Volume, atomic_path

MANIFEST = "manifest.json"

_NOT_IN_MANIFEST = {"case", "status", "input", "seconds", "error", "run"}


@dataclass(frozen=True, slots=True)
class RecipeRecord(CaseRecord):
    """One line of ``report.jsonl``.

    Attributes:
        patient: whose case it is.
        run: hash of the recipe, its parameters and the versions.
        sources: SHA-256 by path below the source folder.
        before: size in voxels and spacing in mm of the raw image.
        after: the same of the written one.
        labels: voxels by label id in the written label map; None for an unlabelled case.
    """

    patient: str = ""
    run: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, int] | None = None

    @classmethod
    def from_report(cls, content: Mapping[str, Any] | None) -> "RecipeRecord | None":
        """The record that a line states; None for another kind of line."""
        try:
            record = cls(**content) if content else None
        except TypeError:
            return None
        mappings = {"outputs", "sources", "before", "after"}
        return record if record and all(isinstance(getattr(record, name), dict) for name in mappings) else None

    def proves(self, now: "RecipeRecord") -> bool:
        """Whether what this record tells of was made from the same sources in the same way as ``now`` would be."""
        same = ("patient", "run", "sources")
        return self.status == "done" and all(getattr(self, name) == getattr(now, name) for name in same)


def grid_of(volume: Volume) -> dict[str, list]:
    """Size and spacing of a volume, as records state them."""
    return {"size": list(volume.array.shape), "spacing_mm": [round(s, 6) for s in volume.spacing_mm]}


def write_manifest(output: Path, described: Mapping[str, Any], records: Mapping[str, RecipeRecord]) -> None:
    """Write ``manifest.json``: the recipe, the versions, and every case without its time.

    Raises:
        StorageError: it cannot be written.
    """
    shown = [item.name for item in fields(RecipeRecord) if item.name not in _NOT_IN_MANIFEST]
    done = {name: asdict(record) for name, record in records.items() if record.status == "done"}
    content = {
        "format": "medfs dataset 1",
        **described,
        "cases": {name: {key: record[key] for key in shown} for name, record in done.items()},
        "failed": {name: record.error for name, record in records.items() if record.status == "failed"},
    }
    with atomic_path(output / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
