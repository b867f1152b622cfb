"""Few-shot heads on whole volumes: a short training of a small 3D encoder against copying the support's mask.

    python -m benchmarks.volumes_few_shot phantom -o OUT --table FILE
    python -m benchmarks.volumes_few_shot hippocampus DATA -o OUT --table FILE
    python -m benchmarks.volumes_few_shot memory --table FILE

`phantom` makes MR-like phantoms and cuts from each a block of 320 x 256 x 320 mm at a random place, so that organs do
not lie where the support has them. `hippocampus` takes a folder of Task04 of the Medical Segmentation Decathlon. Both
train every head for the same steps with the same settings and test it under the rules for volumes: one support of
another patient, annotated throughout. A voxel is foreground above one half, as published, or above the level that
suits the support best. Training draws episodes of two patients from their label maps (`--objects
labels`), or of two blocks of one patient from supervoxels. `memory` measures the peak of one support and one query of
36 x 256 x 256 voxels. What is done is kept in OUT and not done again.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from medfs.engines import EpisodicTrainer
from medfs.fewshot import (
    CopySegmenter,
    EpisodeBatches,
    EpisodeDataset,
    EpisodeSampler,
    FewShotProtocol,
    FewShotScore,
    FewShotSegmentor,
    VolumeMatcher,
    VolumeSegmenter,
    head_classes,
    load_segmentor,
    prepare_case,
    save_segmentor,
)
from medfs.fewshot.heads import EpisodeHead
from medfs.fewshot.modes import AcrossPatients, TwoCrops
from medfs.fewshot.protocol import summarise_rule
from medfs.fewshot.rules import WholeSupport, WholeSupportInRange
from medfs.inference.supervoxels import supervoxels
from medfs.io import Case, Volume, atomic_path, find_cases, make_folder, read_image, write_image, write_labels
from medfs.io.folds import PublishedFolds
from medfs.metrics import OrganScore, Status
from medfs.networks import ResNetEncoder
from medfs.phantom import phantom_case
from medfs.transforms.episodes import EpisodeAugmentation

PHANTOM_MM, PHANTOM_BLOCK = 8.0, (40, 32, 40)
PHANTOM_ORGANS = {6: "liver", 1: "spleen", 2: "right_kidney", 3: "left_kidney", 7: "stomach"}
HIPPOCAMPUS_ORGANS = {1: "anterior", 2: "posterior"}
RULES = (WholeSupport(), WholeSupportInRange())
CHANNELS = 128
RATE, RATES = 3e-3, {"HCPM": 1e-3}
HEADS = {
    "ADNet": {"pool": "feature"},
    "QNet": {"pool": "feature"},
    "DMAP": {"pool": "feature", "filter": "learned"},
    "ALP": {"mask_reduction": "area", "window": 2, "test_window": 2},
    "HCPM": {
        "pool": "feature",
        "prior": "soft",
        "scaled_attention": True,
        "mean_similarity": True,
        "spatial_dims": 3,
        "channels": 64,
        "window": 4,
        "stride": 2,
        "max_keys": 256,
        "hidden": 16,
        "initial_threshold": 8.0,
    },
}
CHAOS_HEADS = {  # windows of 20 mm, as published; two slices are 15.4 mm
    "ALP": {"mask_reduction": "area", "window": (1, 4, 4), "test_window": (1, 2, 2)},
    "HCPM": HEADS["HCPM"] | {"channels": CHANNELS, "window": (2, 16, 16), "stride": (1, 8, 8), "max_keys": 4096},
}


def segmentor_of(head: str, seed: int, *, spacing_mm: float, positions: bool) -> FewShotSegmentor:
    """The network of both experiments: ResNet-18 in 3D with 8 channels, features at half the resolution."""
    torch.manual_seed(seed)
    encoder = ResNetEncoder(
        18,
        spatial_dims=3,
        width=8,
        spacing_mm=(spacing_mm,) * 3,
        stem=(2, 1),
        dilate=(True, True, True),
        norm="instance",
        positions=positions,
    )
    return FewShotSegmentor(encoder, head_of(head, encoder, HEADS))


def head_of(head: str, encoder: ResNetEncoder, settings: dict[str, dict]) -> EpisodeHead:
    return head_classes()[f"{head}Head"](encoder.out_channels, **{"channels": CHANNELS} | settings[head])


@dataclass
class Experiment:
    """One dataset, split into those who train, one support and the queries."""

    name: str
    organs: dict[int, str]
    training: list[Case]
    tested: list[Case]
    output: Path
    depth: int
    min_pixels: int
    spacing_mm: float
    positions: bool
    options: argparse.Namespace

    @property
    def protocol(self) -> FewShotProtocol:
        names = tuple(case.name for case in self.tested)
        folds = PublishedFolds(names, (tuple(range(len(names))),))
        return FewShotProtocol(folds, self.organs, rules=RULES, seed=self.options.seed)

    def rows(self, head: str, steps: int, level: float | None = 0.5) -> list[FewShotScore]:
        """Scores of a head after so many steps; of the copied mask, if there is no head."""
        folder = self.output / f"{head or 'copy'}_{steps}_{self.options.objects}_seed{self.options.seed}"
        done = folder / ("scores.json" if level else "scores_level_of_support.json")
        if not done.exists():
            cases = [prepare_case(case, case.label, self.output / "cache") for case in self.tested]
            segmenter = VolumeSegmenter(self.trained(head, steps, folder), level=level) if head else CopySegmenter()
            found = self.protocol.evaluate(segmenter, cases, 0)
            make_folder(folder)
            with atomic_path(done) as temporary:
                temporary.write_text(json.dumps([asdict(row) for row in found]))
        rows = [_row(content) for content in json.loads(done.read_text())]
        say(f"{folder.name}, {done.stem}: Dice {summarise_rule(rows, RULES[0].name).overall['dice'].mean:.3f}")
        return rows

    def trained(self, head: str, steps: int, folder: Path) -> FewShotSegmentor:
        segmentor = segmentor_of(head, self.options.seed, spacing_mm=self.spacing_mm, positions=self.positions)
        weights, start = folder / "model.safetensors", time.monotonic()
        if not steps:
            return segmentor
        if weights.exists():
            return load_segmentor(weights)
        dataset = EpisodeDataset(
            self.sampler(), EpisodeAugmentation(shift_px=2, elastic_px=3), length=steps, positions=self.positions
        )
        rate = self.options.rate or RATES.get(head, RATE)
        optimizer = torch.optim.Adam(segmentor.parameters(), rate)
        EpisodicTrainer(
            torch.device("cpu"),
            1,
            EpisodeBatches(dataset, steps=steps),
            segmentor,
            optimizer,
            epoch_length=steps,
            decay=0.5,
            decay_steps=max(1, steps // 4),
            gradient_norm=1.0,
        ).run()
        save_segmentor(weights, segmentor)
        say(f"{folder.name}: {steps} steps in {(time.monotonic() - start) / 60:.1f} min")
        return segmentor

    def sampler(self) -> EpisodeSampler:
        cache, seed = self.output / "cache", self.options.seed
        if self.options.objects == "labels":
            cases = [prepare_case(case, case.label, cache) for case in self.training]
            return EpisodeSampler(cases, AcrossPatients(depth=self.depth, min_pixels=self.min_pixels), seed=seed)
        prepared = []
        for case in self.training:
            path = self.output / "supervoxels" / f"{case.name}.nii.gz"
            if not path.exists():
                make_folder(path.parent)
                image = read_image(case.image)
                write_labels(path, supervoxels(image, min_size=self.options.min_size, mask="none"), like=image)
            prepared.append(prepare_case(case, path, cache))
        return EpisodeSampler(prepared, TwoCrops(depth=self.depth, min_pixels=self.min_pixels), seed=seed)


def phantoms(options: argparse.Namespace) -> Experiment:
    """24 phantoms to train with, a support and 12 queries; other seeds for choosing settings than for reporting."""
    folder = options.output / f"phantoms_{options.cohort}"
    cases = []
    for number in range(37):
        name = f"phantom_{number:02d}"
        image, label = (folder / part / f"{name}.nii.gz" for part in ("images", "labels"))
        if not label.exists():
            seed = int(np.random.SeedSequence((options.cohort, number)).generate_state(1, np.uint32)[0])
            phantom = phantom_case(seed, spacing_mm=PHANTOM_MM, modality="mr", oblique=False)
            block = random_block(phantom.labels, seed)
            make_folder(image.parent)
            make_folder(label.parent)
            affine = np.diag([PHANTOM_MM] * 3 + [1.0])
            write_image(image, phantom.image[block], Volume.from_array(phantom.image[block], affine, image))
            write_labels(label, phantom.labels[block], Volume.from_array(phantom.labels[block], affine, label))
        cases.append(Case(name, name, image, label))
    output = folder / "runs"
    return Experiment("phantom", PHANTOM_ORGANS, cases[:24], cases[24:], output, 24, 25, PHANTOM_MM, False, options)


def random_block(labels: np.ndarray, seed: int) -> tuple[slice, ...]:
    """A block that shows every tested organ at least in half, elsewhere in each phantom."""
    random, total = np.random.default_rng(seed), np.bincount(labels.ravel(), minlength=16)
    while True:
        starts = [random.integers(max(n - m, 0) + 1) for n, m in zip(labels.shape, PHANTOM_BLOCK, strict=True)]
        block = tuple(slice(int(s), int(s) + m) for s, m in zip(starts, PHANTOM_BLOCK, strict=True))
        shown = np.bincount(labels[block].ravel(), minlength=16)
        if all(shown[value] >= total[value] / 2 for value in PHANTOM_ORGANS):
            return block


def hippocampus(options: argparse.Namespace) -> Experiment:
    """The first 40 cases train, the next 24 are queries, the one after them is the support."""
    cases = [case for case in find_cases(options.data) if case.label is not None]
    output = options.output / "hippocampus"
    return Experiment("hippocampus", HIPPOCAMPUS_ORGANS, cases[:40], cases[40:65], output, 24, 20, 1.0, True, options)


def _row(content: dict) -> FewShotScore:
    score = content.pop("score")
    return FewShotScore(**content, score=OrganScore(**{**score, "status": Status(score["status"])}))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(experiment: Experiment, results: dict[str, list[FewShotScore]]) -> list[str]:
    """Dice and HD95 of every organ, and means of the organs' means."""
    names = list(experiment.organs.values())
    header = ["method", *(f"{name.replace('_', ' ')}, Dice (HD95)" for name in names)]
    header += ["mean Dice", "mean HD95 mm", "Dice, z-range known", "n"]
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for method, rows in results.items():
        blind, ranged = (summarise_rule(rows, rule.name) for rule in RULES)
        organs = {organ.organ: organ.metrics for organ in blind.organs}
        cells = [f"{organs[n]['dice'].mean:.3f} ± {organs[n]['dice'].sd:.3f} ({_hd95(organs[n])})" for n in names]
        overall = [f"{blind.overall['dice'].mean:.3f}", _hd95(blind.overall), f"{ranged.overall['dice'].mean:.3f}"]
        lines.append(f"| {' | '.join([method, *cells, *overall, str(max(o.n_total for o in blind.organs))])} |")
    return lines


def _hd95(metrics) -> str:
    return f"{metrics['hd95_mm'].mean:.1f}"


def compare(options: argparse.Namespace) -> list[str]:
    experiment = phantoms(options) if options.what == "phantom" else hippocampus(options)
    results = {"support's mask copied": experiment.rows("", 0)}
    for head in options.heads:
        results[f"{head}, not trained"] = experiment.rows(head, 0)
        results[f"{head}, {options.steps} steps"] = experiment.rows(head, options.steps)
        results[f"{head}, {options.steps} steps, level of the support"] = experiment.rows(head, options.steps, None)
    source = "DATA " if options.what == "hippocampus" else ""
    chosen = f" --cohort {options.cohort}" if options.what == "phantom" else ""
    rate = f" --rate {options.rate:g}" if options.rate else ""
    command = (
        f"python -m benchmarks.volumes_few_shot {options.what} {source}-o OUT --heads {' '.join(options.heads)} "
        f"--steps {options.steps} --objects {options.objects} --seed {options.seed}{chosen}{rate}"
    )
    support, queries = experiment.tested[-1].name, [case.name for case in experiment.tested[:-1]]
    return [
        f"Made by `{command}` on Python {platform.python_version()}, torch {torch.__version__}, one thread. Support "
        f"{support}, queries {queries[0]} to {queries[-1]} ({len(queries)}), training with {len(experiment.training)} "
        f"other patients ({options.objects}). Dice: mean ± standard deviation over queries; HD95 in mm in brackets.",
        "",
        *table(experiment, results),
    ]


def memory(options: argparse.Namespace) -> list[str]:
    """Each head in a process of its own, because the peak of a process never falls."""
    lines = ["| head | peak beyond start, GB | seconds |", "|---|--:|--:|"]
    for head in options.heads:
        command = [sys.executable, "-m", "benchmarks.volumes_few_shot", "memory", "--measure", head]
        measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        lines.append(f"| {head} | {measured['gb']:.2f} | {measured['seconds']:.0f} |")
        say(lines[-1])
    about = (
        "One support and one query of 36 x 256 x 256 voxels of 7.7 x 1.25 x 1.25 mm, an organ of 162,000 voxels, "
        "forward pass on one thread: ResNet-18 in 3D of 16 channels, strides by spacing, heads of 128 channels. "
        f"Made by `python -m benchmarks.volumes_few_shot memory --heads {' '.join(options.heads)}`, "
        f"torch {torch.__version__}."
    )
    return [about, "", *lines]


def measure(head: str) -> dict[str, float]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    encoder = ResNetEncoder(18, spatial_dims=3, width=16, spacing_mm=(7.7, 1.25, 1.25))
    matcher = VolumeMatcher(FewShotSegmentor(encoder, head_of(head, encoder, HEADS | CHAOS_HEADS)))
    image, query = torch.randn(2, 1, 36, 256, 256).unbind()
    mask = torch.zeros(36, 256, 256, dtype=torch.bool)
    mask[9:27, 80:180, 90:180] = True
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    matcher.foreground(query, list(matcher.supports([image], {1: [mask]}).values()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"gb": (peak - before) * 1024 / 1e9, "seconds": time.monotonic() - start}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    for name in ("phantom", "hippocampus", "memory"):
        part = what.add_parser(name)
        part.add_argument("--heads", nargs="+", choices=list(HEADS), default=list(HEADS))
        part.add_argument("--table", type=Path, help="write the table below the marker of this part in this file")
        if name == "memory":
            part.add_argument("--measure", choices=list(HEADS), help=argparse.SUPPRESS)
            continue
        if name == "hippocampus":
            part.add_argument("data", type=Path)
        else:
            part.add_argument("--cohort", type=int, default=1, help="seed of the phantoms; 0 served to choose settings")
        part.add_argument("-o", "--output", type=Path, required=True)
        part.add_argument("--steps", type=int, default=200)
        part.add_argument("--objects", choices=["labels", "supervoxels"], default="labels")
        part.add_argument("--min-size", type=int, default=300, help="of supervoxels, in voxels")
        part.add_argument("--rate", type=float, help=f"of Adam, for all heads; if not given {RATE:g}, but {RATES}")
        part.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    if options.what == "memory" and options.measure:
        print(json.dumps(measure(options.measure)))
        return
    lines = memory(options) if options.what == "memory" else compare(options)
    print("\n".join(lines))
    if options.table:
        drawn = "" if getattr(options, "objects", "labels") == "labels" else " from supervoxels"
        write_part(options.table, options.what + drawn, "\n".join(lines))


def write_part(path: Path, part: str, text: str) -> None:
    """Put a table between the markers of its part, which the file has to have."""
    begin, end = f"<!-- {part} -->\n", f"<!-- end of {part} -->\n"
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{text}\n\n{end}{after}")


if __name__ == "__main__":
    main()
