"""Several ways of training side by side: the same cases, the same steps, one table."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import nan
from pathlib import Path
from typing import Any

from medfs import __version__
from medfs.engines.runs import VALUES_FILE, run_bundle
from medfs.errors import InputError, MedfsError, NothingDoneError, UsageError, root_cause
from medfs.inference.comparison_table import Result, comparison_table, mean
from medfs.inference.segmenter import Segmenter
from medfs.io import Split, atomic_path, find_cases, make_folder, make_split, read_image, read_labels
from medfs.io.bundles import find_bundle
from medfs.io.datasets import read_json
from medfs.io.splits import PARTS, draw_labelled, require_distinct_voxels
from medfs.metrics import OrganScore, Status, score_case

_BUNDLE = "multi_organ_tak_segmentation"
_EPOCHS = 10
_ASKED_FILE = "asked.json"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        overlays: names of overlays of the bundle, e.g. ``("tak",)``.
        values: values by id of ``train.json``, over the overlays.
        all_labels: give it every training label, as an upper bound.
    """

    overlays: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    all_labels: bool = False


@dataclass(frozen=True)
class Arms:
    """Ways of training by name, and which to compare with which.

    Attributes:
        arms: at least one.
        pairs: names, first against second; empty for all against the first.
    """

    arms: Mapping[str, Arm]
    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_overlays(cls, names: Sequence[str]) -> "Arms":
        """One arm for each overlay.

        Raises:
            UsageError: a name is no overlay of the bundle.
        """
        return cls({name: Arm((name,)) for name in names}).checked("--objectives")

    @classmethod
    def read(cls, path: Path) -> "Arms":
        """Read ``{"arms": {NAME: {"overlays": [], "values": {}, "all_labels": false}}, "pairs": [[A, B]]}``.

        Raises:
            InputError: the file is damaged or holds something else.
        """
        content = read_json(path)
        try:
            arms = {
                name: Arm(tuple(entry.pop("overlays", ())), **entry) for name, entry in dict(content["arms"]).items()
            }
            pairs = tuple((str(first), str(second)) for first, second in content.get("pairs", ()))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            expected = "expected arms by name, each with overlays, values or all_labels"
            raise InputError(f"{path}: not a description of arms ({error!r}); {expected}") from error
        return cls(arms, pairs).checked(str(path))

    def checked(self, source: str) -> "Arms":
        """Itself.

        Raises:
            UsageError: there is no arm, or an overlay or a paired arm does not exist.
        """
        configs = find_bundle(_BUNDLE) / "configs"
        for name in (overlay for arm in self.arms.values() for overlay in arm.overlays):
            if not (configs / f"{name}.json").is_file():
                known = ", ".join(sorted(path.stem for path in configs.glob("*.json")))
                raise UsageError(f"{source}: the bundle has no overlay {name!r}; expected some of {known}")
        unknown = [name for pair in self.pairs for name in pair if name not in self.arms]
        if unknown or not self.arms:
            raise UsageError(f"{source}: no arm {unknown[0] if unknown else 'at all'}; expected names among the arms")
        return self

    def compared(self, done: Sequence[str]) -> list[tuple[str, str]]:
        """The pairs among the arms that are done."""
        first = next(iter(self.arms))
        pairs = self.pairs or tuple((name, first) for name in self.arms if name != first)
        return [pair for pair in pairs if set(pair) <= set(done)]


@dataclass(frozen=True)
class Comparison:
    """Trains every arm with every number of labels and every seed, scores all on the same test cases.

    Test and validation cases are drawn once. Each seed draws its own labelled cases and starts its own weights; within
    a seed all arms see the same cases. What is done is kept: the same command goes on where it was interrupted.

    Args:
        data: folder with ``images/`` and ``labels/``.
        output: folder for the runs and the table.
        labels: label set, or organs from value 1 on.
        arms: what to compare.
        labelled: numbers of labelled cases.
        seeds: how many.
        steps: of each training, a multiple of 10; each tenth is followed by a validation.
        validation: cases on which each run chooses its checkpoint.
        test: cases that are scored.
        nsd_tolerance_mm: tolerance of the surface Dice.
        values: values of ``train.json`` for all arms.

    Raises:
        InputError: the data are damaged, or an image is in two of training, validation and test.
        UsageError: there are too few cases.
    """

    data: Path
    output: Path
    labels: str
    arms: Arms
    labelled: tuple[int, ...]
    seeds: int
    steps: int
    validation: int
    test: int
    nsd_tolerance_mm: float
    values: Mapping[str, Any]

    def run(self, say: Say) -> tuple[str, bool]:
        """Train and score what is missing, and write ``table.md``.

        An arm that fails is named in the table and stops no other.

        Returns:
            The table, and whether any arm failed.

        Raises:
            NothingDoneError: no arm gave a result.
        """
        fixed = make_split(find_cases(self.data), validation=self.validation, test=self.test, seed=0)
        require_distinct_voxels(fixed.uses)
        results: dict[tuple[int, str], dict[int, Result]] = {}
        failures: list[str] = []
        for labelled, seed, name in self._runs():
            try:
                found = self._result(fixed, labelled, seed, name, say)
            except (MedfsError, RuntimeError) as error:  # MONAI wraps what a configured value raises
                failures.append(f"{name}, {labelled} labelled, seed {seed}: {root_cause(error)}")
                say(failures[-1])
                continue
            results.setdefault((labelled, name), {})[seed] = found
            say(f"{labelled} labelled, seed {seed}, {name}: Dice {mean(found.by_case().values()):.4f}")
            self._write(self.output / "table.md", comparison_table(results, self.arms.compared, failures))
        if not results:
            raise NothingDoneError(f"no arm gave a result: {failures[0]}")
        table = comparison_table(results, self.arms.compared, failures)
        self._write(self.output / "table.md", table)
        return table, bool(failures)

    def _runs(self) -> Iterator[tuple[int, int, str]]:
        for labelled in self.labelled:
            for seed in range(self.seeds):
                yield from ((labelled, seed, name) for name in self.arms.arms)

    def _result(self, fixed: Split, labelled: int, seed: int, name: str, say: Say) -> Result:
        slug = "_".join("".join(letter if letter.isalnum() else " " for letter in name).split())
        folder, arm = self.output / f"labelled_{labelled}" / f"seed_{seed}" / slug, self.arms.arms[name]
        split = draw_labelled(fixed, None if arm.all_labels else labelled, seed)
        asked = self._asked(split, seed, arm)
        _require_same(folder, asked)
        if (folder / "result.json").exists():
            return self._stored(folder / "result.json")
        seconds = nan
        if not (folder / VALUES_FILE).exists():
            say(f"{labelled} labelled, seed {seed}, {name}: {self.steps} steps ...")
            self._write(folder / _ASKED_FILE, json.dumps(asked, indent=1))
            seconds = self._train(folder, split, seed, arm)
        scores = tuple(self._scores(folder, split))
        content = {"seconds": seconds, "scores": [asdict(row) for row in scores]}
        self._write(folder / "result.json", json.dumps(content, indent=1))
        return Result(scores, seconds / self.steps)

    def _values(self, seed: int, arm: Arm) -> dict[str, Any]:
        """Values of ``train.json`` that hold wherever the files lie."""
        epochs = {"epochs": _EPOCHS, "epoch_length": self.steps // _EPOCHS}
        return {"labels": self.labels, "seed": seed, **epochs, **self.values, **arm.values}

    def _asked(self, split: Split, seed: int, arm: Arm) -> dict[str, Any]:
        """All that a result depends on, the cases by names, parts and sizes of files."""
        files = [path for part in PARTS for case in split.cases(part) for path in (case.image, case.label) if path]
        cases = [split.sha256, *(path.stat().st_size for path in files)]
        asked = {
            **self._values(seed, arm),
            "medfs": __version__,
            "overlays": arm.overlays,
            "cases": hashlib.sha256(json.dumps(cases).encode()).hexdigest(),
            "steps": self.steps,
            "nsd_tolerance_mm": self.nsd_tolerance_mm,
        }
        return dict(json.loads(json.dumps(asked)))  # as it will be read again

    def _train(self, folder: Path, split: Split, seed: int, arm: Arm) -> float:
        """Train or go on; seconds of a whole training, not a number of a part."""
        split.write(folder / "split.json")
        resume = (folder / "checkpoints" / "last.pt").exists()
        values = {
            "dataset_dir": str(self.data.resolve()),
            "output_dir": str(folder.resolve()),
            "resume": resume,
            **self._values(seed, arm),
        }
        start = time.monotonic()
        run_bundle(find_bundle(_BUNDLE), ["train.json", *(f"{name}.json" for name in arm.overlays)], values)
        return nan if resume else time.monotonic() - start

    def _scores(self, folder: Path, split: Split) -> Iterator[OrganScore]:
        segmenter = Segmenter(folder)
        organs = {value: name for value, name in enumerate(segmenter.label_set.names) if value}
        for case in split.test:
            assert case.label is not None
            truth = read_labels(case.label)
            yield from score_case(
                segmenter(read_image(case.image)),
                truth.array,
                truth.spacing_mm,
                organs,
                case=case.name,
                nsd_tolerance_mm=self.nsd_tolerance_mm,
            )

    def _stored(self, path: Path) -> Result:
        content = read_json(path)
        scores = tuple(OrganScore(**{**row, "status": Status(row["status"])}) for row in content["scores"])
        return Result(scores, content["seconds"] / self.steps)

    def _write(self, path: Path, text: str) -> None:
        make_folder(path.parent)
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", "utf-8")


def _require_same(folder: Path, asked: Mapping[str, Any]) -> None:
    """Return if the folder holds nothing that a run with other values left and this one would use."""
    if any((folder / name).exists() for name in ("result.json", VALUES_FILE, "checkpoints/last.pt")):
        path = folder / _ASKED_FILE
        stored = read_json(path) if path.exists() else {}
        other = [key for key in {**asked, **stored} if key not in stored or stored[key] != asked.get(key)]
        if other:
            made = f"with other values of {', '.join(other)}" if stored else f"without {path.name}, by an older medfs"
            raise UsageError(f"{folder}: was made {made}; choose another folder with -o or delete this run")
