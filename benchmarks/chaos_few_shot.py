"""Few-shot heads on CHAOS T2: self-supervised training on supervoxels, then the folds under every rule.

    medfs supervoxels DATA/images -o SUPERVOXELS --min-size 5000
    python -m benchmarks.chaos_few_shot DATA --supervoxels SUPERVOXELS -o OUT --heads dmap --folds 0 --seeds 0 \\
        --steps 300 --size 128 --table docs/results/chaos_few_shot.md

DATA holds ``images/`` and ``labels/`` of the 20 cases as ``preprocessing.chaos_t2`` writes them. For each head, fold
and seed there are three trainings: Setting 1, and Setting 2 without the upper and without the lower organs. Each is
scored under EP1, EP2 and without oracle. Two baselines stand beside them: the same network before training, and the
mask of the support copied to the same place. What is done is kept, so the command can be repeated after an
interruption. With --copy-all-pairs masks are copied between all pairs of scans instead, and nothing is trained.
"""

import argparse
import json
import platform
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from medfs.anatomy import label_set
from medfs.engines.episodic_runs import folder_protocol
from medfs.engines.runs import run_bundle
from medfs.fewshot import (
    CopySegmenter,
    FewShotScore,
    FewShotSegmentor,
    NetworkSegmenter,
    head_classes,
    load_segmentor,
    prepare_case,
)
from medfs.fewshot.protocol import published_means, summarise_rule
from medfs.fewshot.rules import EP1, WithoutOracle
from medfs.io import atomic_path, find_cases
from medfs.io.bundles import find_bundle
from medfs.io.folds import PublishedFolds
from medfs.metrics import OrganScore, Status, format_table

BUNDLE = "fewshot_volume_segmentation"
FOLD_LENGTH, FOLDS = 4, 5
ORGANS = ("left_kidney", "right_kidney", "spleen", "liver")
RULES = ("EP1", "EP2", "no oracle")
SETTINGS = {  # trainings by setting: what each must not see
    "Setting 1": ((),),
    "Setting 2": (("liver", "spleen"), ("right_kidney", "left_kidney")),
}
UNTRAINED, COPY = "not trained", "support's mask copied"


@dataclass(frozen=True)
class Experiment:
    """Where everything lies and how long a run is; trains and scores what is not there yet."""

    data: Path
    supervoxels: Path
    output: Path
    depth: int
    size: int
    steps: int
    support: str | int
    device: str

    def protocol(self, seed: int, exclude: tuple[str, ...]):
        return folder_protocol(
            self.data,
            label_set("chaos"),
            fold_length=FOLD_LENGTH,
            exclude=exclude,
            support=self.support,
            seed=seed,
        )

    def scores(self, method: str, head: str, setting: str, fold: int, seed: int) -> list[FewShotScore]:
        """Rows of one method, the organs of all trainings of a setting together."""
        rows: list[FewShotScore] = []
        for exclude in SETTINGS[setting]:
            name = "_".join([method, *([] if method == COPY else [head]), *exclude]).replace(" ", "-").replace("'", "")
            folder = self.output / f"fold{fold}_seed{seed}" / name
            done = folder / "scores.json"
            if not done.exists():
                found = self.evaluate(self.segmenter(method, head, exclude, fold, seed, folder), exclude, fold, seed)
                folder.mkdir(parents=True, exist_ok=True)
                with atomic_path(done) as temporary:
                    temporary.write_text(json.dumps([asdict(row) for row in found]))
            rows += [_row(content) for content in json.loads(done.read_text())]
            say(f"{name}, fold {fold}, seed {seed}: {mean_dice(rows)}")
        return rows

    def segmenter(self, method: str, head: str, exclude: tuple[str, ...], fold: int, seed: int, folder: Path):
        if method == COPY:
            return CopySegmenter()
        if method == UNTRAINED:
            return NetworkSegmenter(self.untrained(head, seed), size=self.size, device=self.device)
        weights = folder / "models" / "model.safetensors"
        if not weights.exists():
            self.train(head, exclude, fold, seed, folder)
        return NetworkSegmenter(load_segmentor(weights), size=self.size, device=self.device)

    def train(self, head: str, exclude: tuple[str, ...], fold: int, seed: int, folder: Path) -> None:
        start = time.monotonic()
        self.run(head, seed, folder, {"exclude": list(exclude), "fold": fold, "epochs": 3})
        say(f"{folder.name}: {self.steps} steps in {(time.monotonic() - start) / 60:.1f} min")

    def run(self, head: str, seed: int, folder: Path, changes: dict):
        values = {
            "dataset_dir": str(self.data),
            "supervoxels_dir": str(self.supervoxels),
            "output_dir": str(folder),
            "cache_dir": str(self.output / "cache"),
            "support": self.support,
            "depth": self.depth,
            "size": self.size,
            "seed": seed,
            "epoch_length": self.steps // 3,
            "device": self.device,
            "resume": (folder / "checkpoints" / "last.pt").exists(),
            **changes,
        }
        return run_bundle(find_bundle(BUNDLE), ["train.json", "chaos_t2.json", f"{head}.json"], values)

    def untrained(self, head: str, seed: int) -> FewShotSegmentor:
        """The network of the bundle as its seed makes it: a run whose only step is not taken."""
        return self.run(head, seed, self.output / "untrained", {"epochs": 1, "run": []}).parser.get_parsed_content(
            "network"
        )

    def evaluate(self, segmenter, exclude: tuple[str, ...], fold: int, seed: int) -> list[FewShotScore]:
        protocol = self.protocol(seed, exclude)
        tested = protocol.folds.named()[fold]
        cases = [case for case in find_cases(self.data) if case.name in tested]
        prepared = [prepare_case(case, case.label, self.output / "cache") for case in cases]
        return protocol.evaluate(segmenter, prepared, fold, lambda name: say(f"  {name} scored"))

    def copies(self) -> list[FewShotScore]:
        """The mask of every scan copied to every other one: how alike the scans are."""
        cases = find_cases(self.data)
        everyone = PublishedFolds(tuple(case.name for case in cases), (tuple(range(len(cases))),))
        protocol = replace(self.protocol(0, ()), folds=everyone, support="all", rules=(EP1(), WithoutOracle()))
        prepared = [prepare_case(case, case.label, self.output / "cache") for case in cases]
        return protocol.evaluate(CopySegmenter(), prepared, 0, lambda name: say(f"  {name} scored"))


def _row(content: dict) -> FewShotScore:
    score = content.pop("score")
    return FewShotScore(**content, score=OrganScore(**{**score, "status": Status(score["status"])}))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def mean_dice(rows: list[FewShotScore]) -> str:
    """Mean of the organs' means, rule by rule."""
    means = {rule: published_means(rows, rule) for rule in RULES}
    return ", ".join(f"{rule} {sum(found.values()) / len(found):.3f}" for rule, found in means.items())


def table(results: dict[tuple[str, str], list[FewShotScore]], rule: str) -> list[str]:
    """One rule as Markdown: Dice of each organ, mean and deviation over scans; the mean of organs of every metric."""
    heads = " | ".join(organ.replace("_", " ") for organ in ORGANS)
    lines = [
        f"**{rule}**",
        "",
        f"| method | | {heads} | mean of organs | IoU | HD95 mm | NSD 2 mm | n |",
        "|" + "---|" * 10,
    ]
    for (method, setting), rows in results.items():
        summary = summarise_rule(rows, rule)
        organs = {organ.organ: organ for organ in summary.organs}
        cells = [f"{organs[o].metrics['dice'].mean:.3f} ± {organs[o].metrics['dice'].sd:.3f}" for o in ORGANS]
        others = [
            f"{summary.overall[metric].mean:.{digits}f}" if metric in summary.overall else "-"
            for metric, digits in (("iou", 3), ("hd95_mm", 1), ("nsd", 3))
        ]
        counts = sorted({organ.n_total for organ in summary.organs})
        mean = f"{summary.overall['dice'].mean:.3f}"
        lines.append(f"| {' | '.join([method, setting, *cells, mean, *others, ', '.join(map(str, counts))])} |")
    return [*lines, ""]


def report(experiment: Experiment, results: dict, options: argparse.Namespace) -> str:
    left_out = sorted(set(range(FOLDS)) - set(options.folds))
    # The overlay of a head bears the name of its class without "Head".
    known = sorted(name.removesuffix("Head").lower() for name in head_classes())
    words = " ".join
    command = (
        f"python -m benchmarks.chaos_few_shot DATA --supervoxels SUPERVOXELS -o OUT --heads {words(options.heads)} "
        f"--folds {words(map(str, options.folds))} --seeds {words(map(str, options.seeds))} "
        f"--steps {options.steps} --size {options.size} --depth {options.depth} --support {options.support}"
    )
    if unset := sorted(set(SETTINGS) - set(options.settings)):
        command += f" --settings {words(repr(setting) for setting in options.settings)}"
    lines = [
        f"Made by `{command}`",
        f"on Python {platform.python_version()}, torch {torch.__version__}, {experiment.device}. "
        f"ResNet-{options.depth} from random weights, slices of {options.size} pixels, {options.steps} steps of one "
        f"episode; folds {words(map(str, options.folds))}, seeds {words(map(str, options.seeds))}.",
        f"Not run: folds {', '.join(map(str, left_out)) or 'none'}; settings {', '.join(unset) or 'none'}; "
        f"heads {', '.join(sorted(set(known) - set(options.heads))) or 'none'} of those that medfs has.",
        "",
        "Organs: Dice, mean ± standard deviation over n scans. The other columns are means of the organs' means.",
        "",
    ]
    for rule in RULES:
        lines += table(results, rule)
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--supervoxels", type=Path, help="default: supervoxels/ in DATA")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--heads", nargs="+", default=["dmap"], help="names of overlays of the bundle")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--folds", nargs="+", type=int, default=list(range(FOLDS)))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--support", default="last", type=lambda text: int(text) if text.isdecimal() else text)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--copy-all-pairs", action="store_true")
    parser.add_argument("--table", type=Path, help="write the tables below the marker line of this file")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    experiment = Experiment(
        options.data.resolve(),
        (options.supervoxels or options.data / "supervoxels").resolve(),
        options.output.resolve(),
        options.depth,
        options.size,
        options.steps,
        options.support,
        options.device,
    )
    if options.copy_all_pairs:
        copies = experiment.copies()
        for rule in ("EP1", "no oracle"):
            print(f"{rule}\n{format_table(summarise_rule(copies, rule), ['dice', 'iou'])}\n")
        return
    runs = [(fold, seed) for seed in options.seeds for fold in options.folds]

    def rows(method: str, head: str, setting: str) -> list[FewShotScore]:
        return [row for run in runs for row in experiment.scores(method, head, setting, *run)]

    results = {(COPY, ""): rows(COPY, "", "Setting 1")}
    for head in options.heads:
        results[f"{head}, {UNTRAINED}", ""] = rows(UNTRAINED, head, "Setting 1")
        for setting in options.settings:
            results[f"{head}, trained", setting] = rows("trained", head, setting)
    text = report(experiment, results, options)
    print(text)
    if options.table:
        marker = "<!-- results -->\n"
        head = options.table.read_text().split(marker)[0] if options.table.exists() else "# Few-shot heads on CHAOS\n\n"
        options.table.write_text(head + marker + "\n" + text)


if __name__ == "__main__":
    main()
