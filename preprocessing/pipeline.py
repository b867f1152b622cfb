"""One runner for all recipes: raw cases in, a dataset of checked NIfTI files out, a case at a time."""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import medfs
from medfs.errors import ExitCode, InputError, MedfsError, StorageError, UsageError, root_cause
from medfs.inference.records import (
    append_record,
    exit_code,
    output_hashes,
    read_records,
    replace_records,
    seconds_since,
)
from medfs.io import Volume, file_sha256, make_folder, write_image
from medfs.io.atomic import remove_stale_temporaries
from preprocessing.folds import write_folds
from preprocessing.recipe import RawCase, RawDataset, Recipe, label_ids, unique_cases
from preprocessing.records import RecipeRecord, grid_of, write_manifest
from preprocessing.steps import apply_steps, compact

_PACKAGES = ("numpy", "scipy", "nibabel", "pydicom", "pillow", "torch", "monai")

OnCase = Callable[[RecipeRecord, bool], None]


@dataclass(frozen=True, eq=False)
class RecipeRun:
    """A recipe applied to one folder.

    Attributes:
        recipe: what to do.
        source: folder of the raw dataset; nothing is written into it.
        output: folder of the results, made if missing.
        seed: of the folds, where they are not the published ones.
    """

    recipe: Recipe
    source: Path
    output: Path
    seed: int = 0

    def run(self, dataset: RawDataset, on_case: OnCase = lambda record, kept: None) -> ExitCode:
        """Make the dataset, or what is missing or no longer true of it.

        Writes ``images/``, ``labels/``, ``report.jsonl``, ``manifest.json``, ``class_slices.json`` and
        ``folds.json``. A case is kept as it is only if its sources, the recipe, the versions and what was written
        are proved unchanged by their hashes. What a failed case had written before is deleted.

        Args:
            dataset: from :meth:`find`.
            on_case: called after each case, with whether it was kept.

        Raises:
            UsageError: the output lies in the source, or holds cases that the source lacks.
            StorageError: the output cannot be written; other troubles fail their case alone.
        """
        if self.source.resolve() in (self.output.resolve(), *self.output.resolve().parents):
            raise UsageError(f"{self.output}: lies in the source folder; choose another one for the results")
        make_folder(self.output)
        for folder in filter(Path.is_dir, self.output.iterdir()):
            remove_stale_temporaries(folder)
        described = self._described(dataset)
        key = hashlib.sha256(json.dumps(described).encode()).hexdigest()
        earlier, records = read_records(self.output), {}
        self._require_no_others(earlier, {case.name for case in dataset.cases})
        if earlier:
            replace_records(self.output, earlier.values())  # without the line that a kill cut short
        for case in dataset.cases:
            before = RecipeRecord.from_report(earlier.get(case.name))
            record = self._case(case, before, key, dataset)
            records[case.name] = record
            if record is not before:
                self._remove(set(before.outputs if before else ()) - set(record.outputs))
                if record.status == "failed":
                    self._remove({f"supervoxels/{case.name}.nii.gz"})
                append_record(self.output, asdict(record))
            on_case(record, record is before)
        write_manifest(self.output, described, records)
        self._write_tables(records, dataset.classes)
        return exit_code(records.values())

    def find(self) -> RawDataset:
        """The raw cases, sorted.

        Raises:
            InputError: there is no case, or two of one name.
        """
        if not self.source.is_dir():
            raise InputError(f"{self.source}: no such folder; expected the raw dataset")
        found = self.recipe.find(self.source)
        return replace(found, cases=unique_cases(found.cases, self.source))

    def _require_no_others(self, earlier: Mapping[str, Mapping[str, Any]], names: set[str]) -> None:
        """Images of cases that no manifest tells of would be taken for cases of this dataset."""
        others = [name for name in earlier if name not in names and (self.output / f"images/{name}.nii.gz").exists()]
        if others:
            shown = ", ".join(others[:5]) + (" ..." if len(others) > 5 else "")
            raise UsageError(
                f"{self.output}: holds {len(others)} cases that the source lacks: {shown}; choose another folder, or "
                "delete their files"
            )

    def _described(self, dataset: RawDataset) -> dict[str, Any]:
        recipe = self.recipe
        codes = [{"stored": [r.start, r.stop - 1], "id": label} for r, label in recipe.codes.items()]
        return {
            "recipe": recipe.name,
            "classes": {str(label): name for label, name in dataset.classes.items()},
            "codes": codes,
            "ignored": recipe.ignored,
            "steps": [step.described() for step in recipe.steps],
            "versions": {"medfs": medfs.__version__, **_versions()},
        }

    def _case(self, case: RawCase, before: RecipeRecord | None, key: str, dataset: RawDataset) -> RecipeRecord:
        start = time.monotonic()
        source = case.sources[0].parent if case.sources else self.source
        record = RecipeRecord(case.name, "failed", str(source), 0.0, patient=case.patient, run=key)
        try:
            record = replace(record, sources=self._source_hashes(case))
            if before is not None and before.proves(record) and self._holds(before.outputs):
                return before
            record = self._made(case, record, dataset)
        except StorageError:
            raise
        except Exception as error:  # whatever it is, the other cases go on
            cause = str(error) if isinstance(error, MedfsError) else root_cause(error)
            record = replace(record, error=f"{case.name}: {cause}")
        return replace(record, seconds=seconds_since(start))

    def _source_hashes(self, case: RawCase) -> dict[str, str]:
        missing = next((path for path in case.sources if not path.is_file()), None)
        if missing is not None:
            raise InputError(f"{missing.relative_to(self.source).as_posix()} is missing")
        files = {path.relative_to(self.source).as_posix(): file_sha256(path) for path in case.sources}
        return files | {name: hashlib.sha256(text.encode()).hexdigest() for name, text in case.facts.items()}

    def _holds(self, outputs: Mapping[str, str]) -> bool:
        """Whether files are still what they were when they were written."""
        paths = {self.output / name: sha256 for name, sha256 in outputs.items()}
        return all(path.is_file() and file_sha256(path) == sha256 for path, sha256 in paths.items())

    def _made(self, case: RawCase, record: RecipeRecord, dataset: RawDataset) -> RecipeRecord:
        raw = case.load()
        allowed = [*dataset.classes, *([] if self.recipe.ignored is None else [self.recipe.ignored])]
        if raw.labels is not None:
            if raw.labels.shape != raw.image.array.shape:
                raise InputError(f"labels of {raw.labels.shape} voxels, image of {raw.image.array.shape}")
            raw = replace(raw, labels=label_ids(raw.labels, self.recipe.codes, allowed, "labels"))
        image, labels = apply_steps(self.recipe.steps, raw.image, raw.labels)
        arrays = {"images": compact(image.array), **raw.channels}
        if labels is not None:
            arrays["labels"] = labels
        return replace(
            record,
            status="done",
            before=grid_of(raw.image),
            after=grid_of(image),
            labels=None if labels is None else _counts(labels),
            outputs=self._written(case.name, arrays, image),
            warnings=raw.image.warnings,
        )

    def _written(self, case: str, arrays: Mapping[str, np.ndarray], like: Volume) -> dict[str, str]:
        """SHA-256 by name of the files of one case, all of them or none."""
        outputs = {f"{folder}/{case}.nii.gz": array for folder, array in arrays.items()}
        try:
            for name, array in outputs.items():
                make_folder((self.output / name).parent)
                write_image(self.output / name, array, like)
            return output_hashes(self.output, outputs)
        except BaseException:
            for name in outputs:
                with contextlib.suppress(StorageError):
                    self._remove({name})
            raise

    def _write_tables(self, records: Mapping[str, RecipeRecord], classes: Mapping[int, str]) -> None:
        from medfs.fewshot.index import write_class_slices

        labelled = {name: r for name, r in records.items() if r.status == "done" and r.labels is not None}
        paths = {name: self.output / "labels" / f"{name}.nii.gz" for name in labelled}
        write_class_slices(self.output / "class_slices.json", paths, {0: "background", **classes})
        patients = {name: record.patient for name, record in labelled.items()}
        write_folds(self.output / "folds.json", patients, self.recipe.folds, self.seed)

    def _remove(self, outputs: set[str]) -> None:
        for name in outputs:
            try:
                (self.output / name).unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"{self.output / name}: cannot be removed: {error.strerror or error}") from error


def _counts(labels: np.ndarray) -> dict[str, int]:
    values, counts = np.unique(labels, return_counts=True)
    return {str(value): int(count) for value, count in zip(values, counts, strict=True) if value}


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
