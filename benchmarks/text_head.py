"""The text-conditioned head against an ordinary output convolution: how fast it learns, what it costs.

    python -m benchmarks.text_head curves --start plain paced --seeds 0 1
    python -m benchmarks.text_head speed

``curves`` trains small networks on phantoms and prints the mean Dice of the 15 organs on phantoms never seen.
``speed`` takes the processor time of one training step and one inference pass, one thread, and the peak memory, each
form in a fresh process.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from medfs.anatomy import label_set
from medfs.losses import GACrossEntropyLoss, GADiceLoss
from medfs.networks import PlainVNet, TextFusion, TextVNet, parameter_groups, text_head
from medfs.networks.dynamic_convolution import apply_kernels, apply_kernels_plain
from medfs.phantom import phantom_case
from medfs.text import TextPrior

CROP = 32
SPACING_MM = 6.0
CLASSES = 16
STARTS = {
    "plain": "an ordinary output convolution",
    "published": "default weights, one learning rate",
    "paced": "default weights, generating layers slowed by parameter_groups",
    "text": "initialise_from_text, generating layers slowed by parameter_groups",
}


@dataclass(frozen=True)
class Case:
    image: Tensor  # (1, *S), 0 to 1
    labels: Tensor  # (*S), int64


def phantoms(first: int, count: int) -> list[Case]:
    cases = []
    for seed in range(first, first + count):
        case = phantom_case(seed, spacing_mm=SPACING_MM)
        image = (torch.as_tensor(case.image).float().clamp(-125, 275) + 125) / 400
        labels = torch.as_tensor(case.labels).long()
        missing = [max(0, CROP - size) for size in labels.shape]
        pad = [part for gap in reversed(missing) for part in (gap // 2, gap - gap // 2)]
        cases.append(Case(nn.functional.pad(image, pad).unsqueeze(0), nn.functional.pad(labels, pad)))
    return cases


def crops(cases: list[Case], batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches; four crops of five have a voxel of a random organ in their middle."""
    generator = torch.Generator().manual_seed(seed)
    places = [[(case.labels == organ).nonzero() for organ in range(1, CLASSES)] for case in cases]

    def below(limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=generator))

    def one() -> tuple[Tensor, Tensor]:
        index = below(len(cases))
        case, voxels = cases[index], places[index][below(CLASSES - 1)]
        free = [size - CROP + 1 for size in case.labels.shape]
        start = [below(limit) for limit in free]
        if below(5) and len(voxels):
            centre = voxels[below(len(voxels))].tolist()
            start = [min(max(c - CROP // 2, 0), limit - 1) for c, limit in zip(centre, free, strict=True)]
        box = tuple(slice(s, s + CROP) for s in start)
        return case.image[(slice(None), *box)], case.labels[box]

    while True:
        images, labels = zip(*(one() for _ in range(batch)), strict=True)
        yield torch.stack(images), torch.stack(labels)


def mean_dice(network: nn.Module, cases: list[Case]) -> float:
    """Mean over organs and cases; organs that a case lacks are left out."""
    scores = []
    for case in cases:
        with torch.no_grad():
            logits = sliding_window_inference(case.image.unsqueeze(0), (CROP,) * 3, 4, network, overlap=0.25)
        predicted = logits[0].argmax(0)
        for organ in range(1, CLASSES):
            mine, true = predicted == organ, case.labels == organ
            if true.any():
                scores.append(2.0 * (mine & true).sum().item() / (mine.sum() + true.sum()).item())
    return sum(scores) / len(scores)


def build(start: str, filters: int = 8, levels: int = 4) -> nn.Module:
    if start == "plain":
        return PlainVNet(CLASSES, filters=filters, levels=levels)
    names = label_set("amos").names
    fusion = TextFusion(TextPrior.embedded("amos"), names)
    return TextVNet(fusion, filters=filters, levels=levels, init="text" if start == "text" else "published")


def optimiser(network: nn.Module, start: str, lr: float = 8e-3) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameter_groups(network, lr) if start in ("paced", "text") else network.parameters(), lr)


def train(start: str, steps: int, seed: int, marks: list[int]) -> list[float]:
    """Mean Dice on unseen phantoms after each number of steps in ``marks``."""
    torch.manual_seed(seed)
    network = build(start)
    updates = optimiser(network, start)
    decay = torch.optim.lr_scheduler.PolynomialLR(updates, steps, power=0.9)
    cross_entropy, dice = GACrossEntropyLoss(), GADiceLoss()
    batches, unseen = crops(phantoms(0, 8), 2, seed), phantoms(1000, 3)
    results = []
    for step in range(1, steps + 1):
        images, labels = next(batches)
        updates.zero_grad()
        logits = network(images)
        (dice(logits, labels) + cross_entropy(logits, labels)).backward()
        updates.step()
        decay.step()
        if step in marks:
            results.append(mean_dice(network, unseen))
    return results


def curves(arguments: argparse.Namespace) -> None:
    marks = [mark for mark in (75, 150, 225, 300, 450, 675) if mark <= arguments.steps]
    print("| start | seed | " + " | ".join(f"{mark} steps" for mark in marks) + " | s |")
    print("|---" * (len(marks) + 3) + "|")
    for start in arguments.start:
        for seed in arguments.seeds:
            begun = time.perf_counter()
            values = train(start, arguments.steps, seed, marks)
            cells = " | ".join(f"{value:.3f}" for value in values)
            print(f"| {start} | {seed} | {cells} | {time.perf_counter() - begun:.0f} |", flush=True)


def measure(form: str, filters: int, size: int, queue: "multiprocessing.Queue[tuple[float, float, float]]") -> None:
    """Seconds of a training step and of inference, and MiB that the step needs beyond weights and image."""
    torch.set_num_threads(1)
    text_head.apply_kernels = apply_kernels_plain if form == "materialised" else apply_kernels
    network = build("plain" if form == "plain convolution" else "text", filters, levels=5)
    image = torch.randn(1, 1, size, size, size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = min(timed(lambda: network(image).mean().backward()) for _ in range(3))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    with torch.no_grad():
        inference = min(timed(lambda: network(image)) for _ in range(2))
    queue.put((step, inference, peak))


def timed(action: Callable[[], object]) -> float:
    begun = time.process_time()
    action()
    return time.process_time() - begun


def speed(arguments: argparse.Namespace) -> None:
    context = multiprocessing.get_context("spawn")
    print("| filters | patch | output layer | training step s | inference s | step's peak memory MiB |")
    print("|---|---|---|---|---|---|")
    for filters in arguments.filters:
        for form in ("plain convolution", "materialised", "chunked"):
            queue = context.Queue()
            process = context.Process(target=measure, args=(form, filters, arguments.size, queue))
            process.start()
            step, inference, peak = queue.get()
            process.join()
            print(f"| {filters} | {arguments.size}³ | {form} | {step:.2f} | {inference:.2f} | {peak:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    learning = commands.add_parser("curves")
    learning.add_argument("--start", nargs="+", default=list(STARTS), choices=STARTS)
    learning.add_argument("--steps", type=int, default=450)
    learning.add_argument("--seeds", type=int, nargs="+", default=[0])
    learning.set_defaults(run=curves)
    cost = commands.add_parser("speed")
    cost.add_argument("--filters", type=int, nargs="+", default=[8, 16])
    cost.add_argument("--size", type=int, default=64)
    cost.set_defaults(run=speed)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
