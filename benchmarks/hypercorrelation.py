"""Cost of PATNet's transformation and of its 4D convolutions, as medfs computes them and by their definitions.

    python -m benchmarks.hypercorrelation --size 400 --repeats 2

Each row is measured in a fresh process on one thread, without gradients, on random features of the sizes that a
ResNet-50 gives. ``naive`` builds the matrix of C x C and the full 4D kernel. Both forms of the transformation must give
the same correlations, or the script stops.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from medfs.networks.anchor_space import anchor_coordinates, prototype_weights, unit_anchors
from medfs.networks.hypercorrelation import CentrePivotConv, correlation

STAGES = {"layer2": (512, 8), "layer3": (1024, 16), "layer4": (2048, 32)}  # channels, stride
CONVOLUTIONS = {  # grid of the query; channels in and out, kernel, stride of the support, side of the support if fixed
    "first of layer2": ("layer2", 4, 16, 5, 4, None),
    "first of layer3": ("layer3", 6, 16, 5, 4, None),
    "first of layer4": ("layer4", 3, 16, 3, 2, None),
    "mixing": ("layer2", 128, 128, 3, 1, 2),
}


def transformed(features: Tensor, prototypes: Tensor, anchors: Tensor) -> Tensor:
    """By the matrix of C x C, as the paper writes it."""
    matrix = torch.linalg.pinv(F.normalize(prototypes, dim=2)) @ unit_anchors(anchors)
    return (matrix.mT @ features.flatten(2)).unflatten(2, features.shape[2:])


def convolved(given: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """A full 4D convolution (1, C, *Q, *S) with zero padding, as a sum of 2D ones over the support."""
    side, rows, columns = kernel.shape[2], *given.shape[2:4]
    margin = side // 2
    padded = F.pad(given, (0, 0, 0, 0, margin, margin, margin, margin))
    total = torch.zeros(())
    for row in range(side):
        for column in range(side):
            part = padded[:, :, row : row + rows, column : column + columns]
            folded = part.flatten(2, 3).transpose(1, 2).flatten(0, 1)
            total = total + F.conv2d(folded, kernel[:, :, row, column], stride=stride, padding=margin)
    return total


def of_transformation(stage: str, form: str, size: int) -> tuple[Callable[[], Tensor], str]:
    channels, stride = STAGES[stage]
    side = -(-size // stride)
    query, support = torch.randn(2, 1, channels, side, side).unbind()
    prototypes, anchors = torch.randn(1, 2, channels), torch.randn(2, channels)

    def rank_two() -> Tensor:
        weights = (prototype_weights(each, prototypes) for each in (query, support))
        return correlation(*(anchor_coordinates(each, anchors) for each in weights))

    def naive() -> Tensor:
        return correlation(*(transformed(each, prototypes, anchors) for each in (query, support)))

    return naive if form == "naive" else rank_two, f"{channels} x {side} x {side}"


def of_convolution(name: str, form: str, size: int) -> tuple[Callable[[], Tensor], str]:
    stage, channels, width, kernel, stride, fixed = CONVOLUTIONS[name]
    side = -(-size // STAGES[stage][1])
    there = fixed or side
    given = torch.rand(1, channels, side, side, there, there)
    layer, weights = CentrePivotConv(channels, width, kernel, stride), torch.randn(width, channels, *[kernel] * 4)
    compute = (lambda: convolved(given, weights, stride)) if form == "naive" else (lambda: layer(given))
    return compute, f"{channels} x {side}^2 x {there}^2, kernel {kernel}"


PARTS = {
    "transformation and correlation": (of_transformation, STAGES),
    "4D convolution": (of_convolution, CONVOLUTIONS),
}


def measure(part: str, stage: str, form: str, size: int, repeats: int, queue: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    """Least seconds, MiB that the peak lies above the inputs, and the sum of the result as a check."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    compute, shape = PARTS[part][0](stage, form, size)
    torch.linalg.cholesky(torch.eye(64) @ torch.eye(64))  # what libraries load on first use is not the method's
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    with torch.no_grad():
        for _ in range(repeats):
            result = torch.zeros(())  # the one before is let go
            begun = time.perf_counter()
            result = compute()
            seconds.append(time.perf_counter() - begun)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    queue.put((min(seconds), peak, shape, float(result.double().mean())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=400, help="side of the image in pixels")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print("| part | where | size | naive s | medfs s | ratio | naive MiB | medfs MiB | ratio |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|")
    for part, (_, stages) in PARTS.items():
        for stage in stages:
            found = {}
            for form in ("naive", "medfs"):
                queue = context.Queue()
                given = (part, stage, form, arguments.size, arguments.repeats, queue)
                process = context.Process(target=measure, args=given)
                process.start()
                found[form] = queue.get()
                process.join()
            (slow, large, shape, first), (fast, small, _, second) = found["naive"], found["medfs"]
            if part.startswith("transformation") and abs(first - second) > 1e-4 * abs(first):
                raise SystemExit(f"{stage}: the forms differ, mean correlation {first} and {second}")
            cells = (
                f"{slow:.3f} | {fast:.3f} | {slow / fast:.1f} | {large:.0f} | {small:.0f} | {large / max(small, 1):.1f}"
            )
            print(f"| {part} | {stage} | {shape} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
