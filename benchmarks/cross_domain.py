"""Cross-domain few-shot segmentation: from synthetic pictures of named things to blood cells and abdominal MR.

    python -m benchmarks.cross_domain WBC CHAOS -o OUT --table docs/results/cross_domain.md \\
        --figure docs/images/cross_domain_text_weight.png

WBC and CHAOS hold ``images/`` and ``labels/``. Each host is trained on the same pictures of ``medfs.phantom`` with and
without the text-guided plug-in, and tested on both targets with 1 and 5 shots and several seeds of episodes. One host
is also trained with other weights of the text and with texts that say nothing or the wrong thing. What is done is kept,
so the command can be repeated after an interruption.
"""

import argparse
import json
import platform
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch

from medfs.engines.picture_runs import evaluate_pictures, with_texts
from medfs.engines.runs import run_bundle
from medfs.fewshot import PictureEpisodes, PictureSet, load_segmentor
from medfs.io import atomic_path
from medfs.io.bundles import find_bundle
from medfs.metrics import ClassIoU
from medfs.phantom import write_scenes
from medfs.text import TextPrior

BUNDLE = "cross_domain_text_segmentation"
HOSTS = {"PMMs": ["pmm.json"], "PATNet": ["patnet.json"], "DMTNet": ["dmtnet.json"], "IFA": [], "Q-Net": ["qnet.json"]}
CLASSES = {"WBC": ("cytoplasm", "nucleus"), "CHAOS": ("liver", "right_kidney", "left_kidney", "spleen")}
DATASETS = ("phantom", "wbc", "chaos_t2")
MIN_PIXELS = {"WBC": 1, "CHAOS": 100}
SHOTS, SEEDS = (1, 5), (0, 1, 2, 3, 4)
CHOSEN = "IFA"
WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)
WEIGHT = 0.3
CONTROLS = ("sentences", "class names", "shuffled", "random")
EVERYTHING = "everything is foreground"


@dataclass(frozen=True)
class Run:
    """One training: a host, the texts that it reads, None for none, and their weight."""

    host: str
    texts: str | None = None
    weight: float = WEIGHT

    @property
    def folder(self) -> str:
        return "_".join([self.host, *([self.texts.replace(" ", "-"), f"{self.weight:g}"] if self.texts else ["plain"])])


@dataclass
class Experiment:
    """Where everything lies and how long a run is; trains and scores what is not there yet."""

    targets: dict[str, Path]
    output: Path
    steps: int
    size: int
    pictures: int
    episodes: int
    sets: dict[str, PictureSet] = field(default_factory=dict)

    def target(self, name: str) -> PictureSet:
        if name not in self.sets:
            options = {"size": self.size, "min_pixels": MIN_PIXELS[name]}
            self.sets[name] = PictureSet(self.targets[name], CLASSES[name], **options)
        return self.sets[name]

    def source(self) -> Path:
        folder = self.output / "scenes"
        if not (folder / "class_slices.json").exists():
            write_scenes(folder, self.pictures, size=self.size)
        return folder

    def rows(self, run: Run) -> list[dict]:
        """A row for each target, number of shots and seed."""
        done = self.output / run.folder / "rows.json"
        if not done.exists():
            weights = self.output / run.folder / "models" / "model.safetensors"
            if not weights.exists():
                self.train(run)
            rows, begun = [], (time.monotonic(), time.process_time())
            for name in CLASSES:
                prior = self.prior(run.texts, CLASSES[name]) if run.texts else None
                network = with_texts(load_segmentor(weights), prior)
                scores = evaluate_pictures(network, self.target(name), shots=SHOTS, seeds=SEEDS, episodes=self.episodes)
                rows += [{"target": name, **asdict(run), **score.row()} for score in scores]
            say(f"{run.folder} scored in {spent(begun)}: {self.brief(rows)}")
            write_json(done, rows)
        return json.loads(done.read_text())

    def train(self, run: Run) -> None:
        begun, folder = (time.monotonic(), time.process_time()), self.output / run.folder
        values = {
            "dataset_dir": str(self.source()),
            "output_dir": str(folder),
            "size": self.size,
            "epochs": 2,
            "epoch_length": self.steps // 2,
            "device": "cpu",
            "resume": (folder / "checkpoints" / "last.pt").exists(),
        }
        if run.texts:
            names = list(PictureSet(self.source(), size=self.size).classes.values())
            file = self.output / f"{run.texts.replace(' ', '_')}.safetensors"
            self.prior(run.texts, names).save(file)
            values |= {"text": True, "text_prior": str(file), "text_weight": run.weight}
        run_bundle(find_bundle(BUNDLE), ["train.json", *HOSTS[run.host], "phantom.json"], values)
        say(f"{run.folder}: {self.steps} steps in {spent(begun)}")

    def prior(self, texts: str, names: tuple[str, ...] | list[str]) -> TextPrior:
        """Vectors of the background and some classes."""
        whole = TextPrior.described(DATASETS, ("name",) if texts == "class names" else ("description",))
        if texts == "shuffled":
            whole = TextPrior.shuffled(whole)
        elif texts == "random":
            whole = TextPrior.random(whole.names, whole.kinds, whole.width, row_norm=whole.row_norm)
        return whole.subset(["background", *names])

    def everything(self) -> list[dict]:
        """What calling every pixel foreground scores."""
        rows = []
        for name in CLASSES:
            for shots in SHOTS:
                for seed in SEEDS:
                    episodes, iou = PictureEpisodes(self.target(name), shots=shots, seed=seed), ClassIoU()
                    for place in range(self.episodes):
                        draw = episodes.draw(place)
                        truth = self.target(name).masks(draw.query, draw.class_name)[0].numpy()
                        iou.update(draw.class_name, np.ones_like(truth), truth)
                    rows.append({"target": name, "shots": shots, "seed": seed, **iou.row()})
        return rows

    @staticmethod
    def brief(rows: list[dict]) -> str:
        return ", ".join(f"{t} {k}-shot {cell(rows, t, k, 'mean_iou')}" for t in CLASSES for k in SHOTS)


def values(rows: list[dict], target: str, shots: int, metric: str) -> list[float]:
    """In percent, in the order of the seeds."""
    return [100 * row[metric] for row in rows if row["target"] == target and row["shots"] == shots]


def cell(rows: list[dict], target: str, shots: int, metric: str) -> str:
    found = values(rows, target, shots, metric)
    return f"{fmean(found):.1f} ± {stdev(found):.1f}"


def table(results: dict[tuple[str, str], list[dict]]) -> list[str]:
    """Both metrics on both targets with every number of shots."""
    places = [(target, shots) for target in CLASSES for shots in SHOTS]
    heads = [f"{target}, {shots}-shot {metric}" for target, shots in places for metric in ("mIoU", "FB-IoU")]
    lines = ["| host | texts | " + " | ".join(heads) + " |", "|" + "---|" * (2 + len(heads))]
    for (host, texts), rows in results.items():
        cells = [cell(rows, *place, metric) for place in places for metric in ("mean_iou", "fb_iou")]
        lines.append(f"| {host} | {texts} | {' | '.join(cells)} |")
    return [*lines, ""]


def gains(results: dict[tuple[str, str], list[dict]], hosts: list[str]) -> list[str]:
    """What the texts add, episode seed by episode seed."""
    places = [(target, shots) for target in CLASSES for shots in SHOTS]
    lines = ["| host | " + " | ".join(f"{t}, {k}-shot" for t, k in places) + " |", "|" + "---|" * (1 + len(places))]
    for host in hosts:
        cells = []
        for place in places:
            pairs = zip(*(values(results[host, kind], *place, "mean_iou") for kind in ("yes", "no")), strict=True)
            found = [told - plain for told, plain in pairs]
            cells.append(f"{fmean(found):+.1f} ± {stdev(found):.1f}")
        lines.append(f"| {host} | {' | '.join(cells)} |")
    return [*lines, ""]


def draw_weights(sweep: dict[float, list[dict]], plain: list[dict], path: Path) -> None:
    """Mean IoU over the weight of the text, a curve for each target and number of shots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(CLASSES), figsize=(9, 3.6), layout="constrained")
    for axis, target in zip(axes, CLASSES, strict=True):
        for shots, color in zip(SHOTS, ("#1f77b4", "#d62728"), strict=True):
            found = [values(rows, target, shots, "mean_iou") for rows in sweep.values()]
            means, deviations = [fmean(each) for each in found], [stdev(each) for each in found]
            axis.errorbar(list(sweep), means, deviations, color=color, marker="o", capsize=3, label=f"{shots}-shot")
            axis.axhline(fmean(values(plain, target, shots, "mean_iou")), color=color, linestyle=":")
        axis.set(title=target, xlabel="weight of the text", ylabel="mean IoU in percent", xticks=list(sweep))
        axis.legend(title="dotted: without text", fontsize=8, title_fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)


def report(experiment: Experiment, options: argparse.Namespace) -> str:
    results: dict[tuple[str, str], list[dict]] = {}
    for host in options.hosts:
        results[host, "no"] = experiment.rows(Run(host))
    for host in options.hosts:
        results[host, "yes"] = experiment.rows(Run(host, "sentences"))
    ordered = {(host, kind): results[host, kind] for host in options.hosts for kind in ("no", "yes")}
    controls = {(CHOSEN, kind): experiment.rows(Run(CHOSEN, kind)) for kind in options.controls}
    sweep = {weight: experiment.rows(Run(CHOSEN, "sentences", weight)) for weight in options.weights}
    lines = [
        f"Made by `python -m benchmarks.cross_domain WBC CHAOS -o OUT --steps {options.steps} --size {options.size} "
        f"--pictures {options.pictures} --episodes {options.episodes}`",
        f"on Python {platform.python_version()}, torch {torch.__version__}, one core. Numbers are percent, mean ± "
        f"standard deviation over {len(SEEDS)} seeds of {options.episodes} episodes; each network is trained once.",
        "",
        "## Hosts with and without texts",
        "",
        *table(ordered | {(EVERYTHING, ""): experiment.everything()}),
        "Mean IoU with texts less mean IoU without, on the same episodes:",
        "",
        *gains(results, options.hosts),
    ]
    if controls:
        lines += [f"## What the texts say, {CHOSEN}", "", *table({(CHOSEN, "none"): results[CHOSEN, "no"]} | controls)]
    if sweep:
        lines += ["## Weight of the text", "", f"![Mean IoU of {CHOSEN} over the weight of the text]({FIGURE})", ""]
        lines += [
            "| weight | " + " | ".join(f"{t}, {k}-shot mIoU" for t in CLASSES for k in SHOTS) + " |",
            "|---|---|---|---|---|",
        ]
        for weight, rows in sweep.items():
            lines.append(
                f"| {weight:g} | " + " | ".join(cell(rows, t, k, "mean_iou") for t in CLASSES for k in SHOTS) + " |"
            )
        if options.figure:
            draw_weights(sweep, results[CHOSEN, "no"], options.figure)
    return "\n".join(lines) + "\n"


FIGURE = "../images/cross_domain_text_weight.png"


def write_json(path: Path, content: object) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content))


def spent(begun: tuple[float, float]) -> str:
    """Time on the clock and of the processor."""
    return (
        f"{(time.monotonic() - begun[0]) / 60:.1f} min ({(time.process_time() - begun[1]) / 60:.1f} of the processor)"
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wbc", type=Path)
    parser.add_argument("chaos", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--hosts", nargs="+", choices=list(HOSTS), default=list(HOSTS))
    parser.add_argument("--controls", nargs="*", choices=CONTROLS, default=list(CONTROLS))
    parser.add_argument("--weights", nargs="*", type=float, default=list(WEIGHTS))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--pictures", type=int, default=480)
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--plain", action="store_true", help="only train and score the hosts without texts")
    parser.add_argument("--table", type=Path, help="write the tables below the marker line of this file")
    parser.add_argument("--figure", type=Path, help="draw the curves over the weight of the text")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    experiment = Experiment(
        {"WBC": options.wbc.resolve(), "CHAOS": options.chaos.resolve()},
        options.output.resolve(),
        options.steps,
        options.size,
        options.pictures,
        options.episodes,
    )
    if options.plain:
        for host in options.hosts:
            experiment.rows(Run(host))
        return
    text = report(experiment, options)
    print(text)
    if options.table:
        marker = "<!-- results -->\n"
        head = options.table.read_text().split(marker)[0] if options.table.exists() else "# From things to cells\n\n"
        options.table.write_text(head + marker + "\n" + text)


if __name__ == "__main__":
    main()
