"""What a training step of each objective costs: seconds of one thread, and memory beyond the weights.

    python -m benchmarks.semi_supervised_cost -o docs/results/semi_supervised.md
    python -m benchmarks.semi_supervised_cost --objectives tak tak+gradient_checkpointing --size 96

Every overlay of the bundle is built as `medfs train` builds it and takes steps on random crops, each in a process of
its own. Half of the run counts as done, so that all terms are there. `+gradient_checkpointing` after a name switches it
on. With ``-o`` the table is written into that page.
"""

import argparse
import multiprocessing
import resource
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from benchmarks.volumes_few_shot import write_part
from medfs.io.bundles import find_bundle

OVERLAYS = ("supervised", "mean_teacher", "ga", "ua_mt", "urpc", "cps", "dhc", "self_training", "magicnet", "tak")
RECOMPUTED = "+gradient_checkpointing"
MIB = 1024  # ru_maxrss counts KiB


def built(name: str, arguments: argparse.Namespace) -> ConfigParser:
    """The bundle's training with one overlay, for crops of a size."""
    configs = find_bundle("multi_organ_tak_segmentation") / "configs"
    overlay = name.removesuffix(RECOMPUTED)
    files = [str(configs / f"{part}.json") for part in ("train", overlay)]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    values: dict[str, Any] = {
        "labels": "amos",
        "filters": arguments.filters,
        "cubes": arguments.cubes,
        "plan": SimpleNamespace(patch_size=[arguments.size] * 3, levels=arguments.levels),
        "device": "$torch.device('cpu')",
        "gradient_checkpointing": name.endswith(RECOMPUTED),
    }
    if overlay in ("magicnet", "tak"):
        values["objective::frequency_steps"] = 1  # blending begins with the second step
    parser.update(values)
    return parser


def batches(classes: int, arguments: argparse.Namespace) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Labelled and unlabelled crops; labels are blocks, as organs are."""
    torch.manual_seed(0)
    shape = (arguments.batch, 1, *[arguments.size] * 3)
    label = torch.randint(0, classes, (arguments.batch, 1, 4, 4, 4)).float()
    label = nn.functional.interpolate(label, shape[2:]).long()
    return {"image": torch.rand(shape) + label / classes, "label": label}, {"image": torch.rand(shape)}


def measure(name: str, arguments: argparse.Namespace, queue: "multiprocessing.Queue[tuple[float, float]]") -> None:
    """Seconds of one thread and MiB beyond the start that a step needs; the least of several steps."""
    torch.set_num_threads(1)
    parser = built(name, arguments)
    network, teacher, objective, optimizer = (
        parser.get_parsed_content(part) for part in ("network", "teacher", "objective", "optimizer")
    )
    labelled, unlabelled = batches(16, arguments)
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for index in range(arguments.steps):
        begun = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        terms = objective(network.train(), teacher, labelled, unlabelled, 0.5, arguments.total // 2 + index)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        objective.after_step(network, index)
        teacher.update(network, index)
        seconds.append(time.process_time() - begun)
    queue.put((min(seconds[1:]), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / MIB))


def table(arguments: argparse.Namespace) -> str:
    lines = ["| objective | seconds of a step | times supervised | peak memory MiB |", "|---|--:|--:|--:|"]
    context, first = multiprocessing.get_context("spawn"), None
    for name in arguments.objectives:
        queue = context.Queue()
        process = context.Process(target=measure, args=(name, arguments, queue))
        process.start()
        while True:  # a process that died of its memory never answers
            try:
                seconds, peak = queue.get(timeout=5)
                break
            except multiprocessing.queues.Empty:  # type: ignore[attr-defined]
                if not process.is_alive():
                    raise SystemExit(f"{name}: ended with {process.exitcode}") from None
        process.join()
        first = first or seconds
        lines.append(f"| `{name}` | {seconds:.2f} | {seconds / first:.1f} | {peak:.0f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", nargs="+", default=[*OVERLAYS, "tak" + RECOMPUTED])
    for name, value in {
        "size": 64,
        "filters": 16,
        "levels": 4,
        "cubes": 2,
        "batch": 1,
        "steps": 3,
        "total": 1000,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    text = (
        f"{arguments.batch} labelled and {arguments.batch} unlabelled crop of {arguments.size}³ voxels, 16 classes, "
        f"{arguments.filters} filters, {arguments.levels} levels, {arguments.cubes}³ cubes; seconds of one thread, the "
        f"least of {arguments.steps - 1} steps; memory beyond weights and crops. Made by `python -m "
        f"benchmarks.semi_supervised_cost`, torch {torch.__version__}.\n\n{table(arguments)}"
    )
    if arguments.output:
        write_part(arguments.output, "cost", text)


if __name__ == "__main__":
    main()
