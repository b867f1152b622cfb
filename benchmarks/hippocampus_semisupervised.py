"""Does unlabelled data help, and does text? Medical Segmentation Decathlon hippocampus, 4 labelled cases.

    python -m benchmarks.hippocampus_semisupervised DATA -o OUT --table docs/results/hippocampus_semisupervised.md

DATA holds ``images/`` and ``labels/``. 40 test and 8 validation cases are drawn once; each seed draws its own labelled
cases from the rest and starts its own weights. Every arm of a seed sees the same cases. First the learning rate and
the weight of the unlabelled term are chosen on the validation cases, mean over all seeds; then every arm is trained
with them and scored on the test cases. Runs that are done are kept, so the command can be repeated after an
interruption.
"""

import argparse
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import wilcoxon

from medfs.engines.runs import run_bundle
from medfs.inference import Segmenter
from medfs.io import Split, find_cases, make_split, read_image, read_labels
from medfs.io.bundles import find_bundle
from medfs.metrics import score_case

BUNDLE = "multi_organ_tak_segmentation"
SUPERVISED = {"objective": {"_target_": "medfs.semisup.objectives.SupervisedObjective"}}
MEAN_TEACHER = {"_target_": "medfs.semisup.objectives.MeanTeacherObjective"}
RATES = (0.0015, 0.004)  # candidates, judged by "supervised on 4, text"; every arm trains with the better one
SEMI = {  # candidates, judged by "semi-supervised on 4 + unlabelled, text"; both semi-supervised arms use the best one
    "weight 0.1 (published)": {},
    "weight 0.1, no contrast": {"contrast_weight": 0.0},
    "weight 1, risen at 40 %, with cross-entropy": {
        "consistency_weight": 1.0,
        "consistency_ramp": 0.4,
        "consistency_cross_entropy": True,
    },
}
RANDOM = {
    "text_prior": "$TextPrior.random(@label_set.names, seed=@seed, width=TextPrior.embedded(@label_set.names).width, "
    "row_norm=TextPrior.embedded(@label_set.names).row_norm)"
}
ALONE, BOTH = "supervised on 4, text", "semi-supervised on 4 + unlabelled, text"
ARMS = {  # labelled cases (None: all), whether unlabelled ones are used, and changes to the bundle
    ALONE: (4, False, {}),
    "supervised on 4, random": (4, False, RANDOM),
    BOTH: (4, True, {}),
    "semi-supervised on 4 + unlabelled, random": (4, True, RANDOM),
    "supervised on all, text": (None, False, {}),
}
PAIRS = (
    (BOTH, ALONE),
    (BOTH, "semi-supervised on 4 + unlabelled, random"),
    (ALONE, "supervised on 4, random"),
)
ORGANS = {1: "anterior_hippocampus", 2: "posterior_hippocampus"}


def split_for(data: Path, labelled: int | None, seed: int) -> Split:
    """Fixed test and validation cases; labelled cases by seed; all others unlabelled."""
    fixed = make_split(find_cases(data), validation=8, test=40, seed=0)
    order = np.random.default_rng(seed).permutation(len(fixed.labelled))
    known = {int(place) for place in order[:labelled]}
    return Split(
        labelled=tuple(case for place, case in enumerate(fixed.labelled) if place in known),
        unlabelled=tuple(_without_label(case) for place, case in enumerate(fixed.labelled) if place not in known),
        validation=fixed.validation,
        test=fixed.test,
        seed=seed,
    )


def _without_label(case):
    return type(case)(case.name, case.patient, case.image, None)


@dataclass(frozen=True)
class Experiment:
    """Where everything lies and how long a run is; trains what is not there yet."""

    data: Path
    output: Path
    seeds: int
    steps: int

    def scores(self, arm: str, seed: int, rate: float, semi: str, part: str) -> dict[str, dict]:
        """Dice and HD95 per case and organ of one run."""
        labelled, unlabelled, changes = ARMS[arm]
        name = f"{arm} rate {rate:g} {semi if unlabelled else ''}"
        folder = self.output / f"seed{seed}" / "_".join("".join(c if c.isalnum() else " " for c in name).split())
        done = folder / f"{part}.json"
        if done.exists():
            return json.loads(done.read_text())
        split = split_for(self.data, labelled, seed)
        if not (folder / "medfs.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            split.write(folder / "split.json")
            objective = {"objective": MEAN_TEACHER | SEMI[semi]} if unlabelled else SUPERVISED
            self.train(folder, seed, rate, objective | changes)
        scores = {}
        segment = Segmenter(folder, device="cpu")
        for case in split.cases(part):
            truth = read_labels(case.label)
            rows = score_case(segment(read_image(case.image)), truth.array, truth.spacing_mm, ORGANS, case=case.name)
            scores[case.name] = {row.organ: {"dice": row.dice, "hd95_mm": row.hd95_mm} for row in rows}
        done.write_text(json.dumps(scores))
        print(f"seed {seed}  {name}: Dice {mean_dice(scores):.4f} ({part})", file=sys.stderr, flush=True)
        return scores

    def train(self, folder: Path, seed: int, rate: float, changes: dict) -> None:
        values = {
            "dataset_dir": str(self.data),
            "output_dir": str(folder),
            "labels": "hippocampus",
            "modality": "mr",
            "spacing_mm": [1.0, 1.0, 1.0],
            "patch_size": [32, 32, 32],
            "levels": 4,
            "filters": 8,
            "learning_rate": rate,
            "seed": seed,
            "epochs": 10,
            "epoch_length": self.steps // 10,
            **changes,
        }
        run_bundle(find_bundle(BUNDLE), ["train.json"], values)

    def choose(self) -> tuple[float, str, list[str]]:
        """Learning rate and semi-supervised setting by the validation cases, and the table of the candidates."""
        published = next(iter(SEMI))
        rows = ["| candidate | judged by | Dice on the 8 validation cases | |", "|---|---|---|---|"]

        def best(arm: str, candidates: list[tuple[float, str]], names: list[str]) -> tuple[float, str]:
            means = [
                np.mean([mean_dice(self.scores(arm, seed, *pair, "validation")) for seed in range(self.seeds)])
                for pair in candidates
            ]
            place = int(np.argmax(means))
            for index, (name, mean) in enumerate(zip(names, means, strict=True)):
                rows.append(f"| {name} | {arm} | {mean:.4f} | {'chosen' if index == place else ''} |")
            return candidates[place]

        rate, _ = best(ALONE, [(rate, published) for rate in RATES], [f"learning rate {rate:g}" for rate in RATES])
        _, semi = best(BOTH, [(rate, name) for name in SEMI], list(SEMI))
        return rate, semi, rows


def mean_dice(scores: dict[str, dict]) -> float:
    return float(np.mean(list(case_means(scores).values())))


def case_means(scores: dict[str, dict], metric: str = "dice") -> dict[str, float]:
    """Mean over the two parts of the hippocampus, per case."""
    return {case: float(np.mean([organ[metric] for organ in rows.values()])) for case, rows in scores.items()}


def table(results: dict[str, list[dict]], choice: list[str], steps: int, command: str) -> str:
    """The results as Markdown."""
    lines = [
        "| arm | Dice, mean over cases | per seed | anterior | posterior | HD95 mm |",
        "|---|---|---|---|---|---|",
    ]
    for arm, seeds in results.items():
        means = [mean_dice(scores) for scores in seeds]
        organs = [
            np.mean([rows[organ]["dice"] for scores in seeds for rows in scores.values()]) for organ in ORGANS.values()
        ]
        distance = np.mean([value for scores in seeds for value in case_means(scores, "hd95_mm").values()])
        spread = f" ± {np.std(means, ddof=1):.3f}" if len(means) > 1 else ""
        per_seed = ", ".join(f"{mean:.3f}" for mean in means)
        per_organ = " | ".join(f"{dice:.3f}" for dice in organs)
        lines.append(f"| {arm} | {np.mean(means):.3f}{spread} | {per_seed} | {per_organ} | {distance:.2f} |")
    lines += [
        "",
        "| paired over cases (mean over seeds) | difference in Dice | cases better | Wilcoxon p |",
        "|---|---|---|---|",
    ]
    for first, second in PAIRS:
        if first in results and second in results:
            lines.append(compare(first, second, results))
    count = len(next(iter(results.values())))
    cases = len(next(iter(results.values()))[0])
    intro = (
        f"{cases} test cases, {count} seeds, {steps} steps each; n = {cases} of {cases} cases scored in every arm.\n"
        f"Made by `{command}`\non Python {platform.python_version()}, torch {torch.__version__}, CPU."
    )
    return "\n".join([intro, "", *choice, "", *lines, ""])


def compare(first: str, second: str, results: dict[str, list[dict]]) -> str:
    """One row: difference of two arms, paired over cases."""
    means = []
    for arm in (first, second):
        seeds = [case_means(scores) for scores in results[arm]]
        means.append(np.array([np.mean([seed[case] for seed in seeds]) for case in sorted(seeds[0])]))
    difference = means[0] - means[1]
    better = f"{(difference > 0).sum()} of {len(difference)}"
    p = wilcoxon(difference).pvalue
    return f"| {first} against {second} | {difference.mean():+.3f} | {better} | {p:.2g} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--table", type=Path, help="write the tables below the marker line of this file")
    options = parser.parse_args()
    experiment = Experiment(options.data.resolve(), options.output.resolve(), options.seeds, options.steps)
    rate, semi, choice = experiment.choose()
    seeds = range(options.seeds)
    results = {arm: [experiment.scores(arm, seed, rate, semi, "test") for seed in seeds] for arm in options.arms}
    command = (
        f"python -m benchmarks.hippocampus_semisupervised DATA -o OUT --seeds {options.seeds} --steps {options.steps}"
    )
    text = table(results, choice, options.steps, command)
    print(text)
    if options.table:
        marker = "<!-- results -->\n"
        head = options.table.read_text().split(marker)[0] if options.table.exists() else "# Hippocampus\n\n"
        options.table.write_text(head + marker + "\n" + text)


if __name__ == "__main__":
    main()
