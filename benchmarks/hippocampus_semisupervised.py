"""Does unlabelled data help, and does text? Medical Segmentation Decathlon hippocampus, 4 labelled cases.

    python -m benchmarks.hippocampus_semisupervised DATA -o OUT --table docs/results/hippocampus_semisupervised.md

DATA holds ``images/`` and ``labels/``. 40 test and 8 validation cases are drawn once; each seed draws its own labelled
cases from the rest and starts its own weights. Every arm of a seed sees the same cases. Runs that are done are kept,
so the command can be repeated after an interruption.
"""

import argparse
import json
import platform
import sys
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
SEMI: dict = {}  # the bundle's own objective: mean teacher, entropy-filtered pseudo-labels, contrast
RANDOM = {
    "text_prior": "$TextPrior.random(@label_set.names, seed=@seed, width=TextPrior.embedded(@label_set.names).width, "
    "row_norm=TextPrior.embedded(@label_set.names).row_norm)"
}
ARMS = {
    "supervised on 4, text": (4, SUPERVISED),
    "supervised on 4, random": (4, SUPERVISED | RANDOM),
    "semi-supervised on 4 + unlabelled, text": (4, SEMI),
    "semi-supervised on 4 + unlabelled, random": (4, SEMI | RANDOM),
    "supervised on all, text": (None, SUPERVISED),
}
PAIRS = (
    ("semi-supervised on 4 + unlabelled, text", "supervised on 4, text"),
    ("semi-supervised on 4 + unlabelled, text", "semi-supervised on 4 + unlabelled, random"),
    ("supervised on 4, text", "supervised on 4, random"),
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


def train_and_score(data: Path, folder: Path, arm: str, seed: int, steps: int, part: str) -> dict[str, dict]:
    """Dice and HD95 per case and organ of one run; trains it unless it is there."""
    done = folder / f"{part}.json"
    if done.exists():
        return json.loads(done.read_text())
    labelled, changes = ARMS[arm]
    folder.mkdir(parents=True, exist_ok=True)
    split = split_for(data, labelled, seed)
    split.write(folder / "split.json")
    if not (folder / "medfs.json").exists():
        values = {
            "dataset_dir": str(data),
            "output_dir": str(folder),
            "labels": "hippocampus",
            "modality": "mr",
            "spacing_mm": [1.0, 1.0, 1.0],
            "patch_size": [32, 32, 32],
            "levels": 4,
            "filters": 8,
            "seed": seed,
            "epochs": 10,
            "epoch_length": steps // 10,
            **changes,
        }
        run_bundle(find_bundle(BUNDLE), ["train.json"], values)
    segment = Segmenter(folder, device="cpu")
    scores = {}
    for case in split.cases(part):
        truth = read_labels(case.label)
        rows = score_case(segment(read_image(case.image)), truth.array, truth.spacing_mm, ORGANS, case=case.name)
        scores[case.name] = {row.organ: {"dice": row.dice, "hd95_mm": row.hd95_mm} for row in rows}
    done.write_text(json.dumps(scores))
    return scores


def case_means(scores: dict[str, dict], metric: str = "dice") -> dict[str, float]:
    """Mean over the two parts of the hippocampus, per case."""
    return {case: float(np.mean([organ[metric] for organ in rows.values()])) for case, rows in scores.items()}


def table(results: dict[str, list[dict]], steps: int, part: str, command: str) -> str:
    """The results as Markdown."""
    lines = [
        "| arm | Dice, mean over cases | per seed | anterior | posterior | HD95 mm |",
        "|---|---|---|---|---|---|",
    ]
    for arm, seeds in results.items():
        means = [np.mean(list(case_means(scores).values())) for scores in seeds]
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
        f"{cases} {part} cases, {count} seeds, {steps} steps each; n = {cases} of {cases} cases scored in every arm.\n"
        f"Made by `{command}`\non Python {platform.python_version()}, torch {torch.__version__}, CPU."
    )
    return "\n".join([intro, "", *lines, ""])


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
    parser.add_argument("--part", choices=("test", "validation"), default="test")
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--table", type=Path, help="write the tables below the marker line of this file")
    options = parser.parse_args()
    results: dict[str, list[dict]] = {arm: [] for arm in options.arms}
    for seed in range(options.seeds):
        for arm in options.arms:
            folder = options.output.resolve() / f"seed{seed}" / "".join(c if c.isalnum() else "_" for c in arm)
            scores = train_and_score(options.data.resolve(), folder, arm, seed, options.steps, options.part)
            results[arm].append(scores)
            mean = np.mean(list(case_means(scores).values()))
            print(f"seed {seed}  {arm}: Dice {mean:.4f} ({options.part})", file=sys.stderr, flush=True)
    command = (
        f"python -m benchmarks.hippocampus_semisupervised DATA -o OUT --seeds {options.seeds} --steps {options.steps}"
    )
    text = table(results, options.steps, options.part, command)
    print(text)
    if options.table:
        marker = "<!-- results -->\n"
        head = options.table.read_text().split(marker)[0] if options.table.exists() else "# Hippocampus\n\n"
        options.table.write_text(head + marker + "\n" + text)


if __name__ == "__main__":
    main()
