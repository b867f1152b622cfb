"""Time and memory of all metrics of all organs of one case, beside other libraries.

    OMP_NUM_THREADS=1 python -m benchmarks.metrics [--shape 60 192 192] [--repeats 3] [--noise]

Each peer runs in a process of its own, takes turns with the others and reports the CPU seconds of its fastest
run and the peak of its memory above what its imports and the two label maps hold. Peers that are not installed are
left out. All receive the label maps as they are; making masks or one-hot channels of them is part of the run. The
last four columns are the largest difference from medfs over the organs.
"""

import argparse
import ctypes
import importlib.util
import json
import subprocess
import sys
import time

import numpy as np
from scipy import ndimage

SPACING_MM = (3.0, 0.8, 0.8)
N_ORGANS = 15
TOLERANCE_MM = 2.0
Rows = list[list[float]]  # per organ: Dice, HD95, ASD, NSD


def label_maps(shape, noise=False, seed=0):
    """Fifteen uneven ellipsoids; the same shifted by (1, 2, 3) voxels with 0.2 % of holes, or noise, as prediction."""
    rng = np.random.default_rng(seed)
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    reference = np.zeros(shape, np.uint8)
    for organ in range(1, N_ORGANS + 1):
        centre, radius = rng.uniform(0.2, 0.8, 3) * shape, rng.uniform(0.05, 0.18, 3) * shape
        bumps = ndimage.zoom(rng.normal(scale=0.4, size=(8, 8, 8)), np.array(shape) / 8, order=1)
        inside = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radius, strict=True)) + bumps < 1
        reference[inside] = organ
    if noise:
        return rng.integers(0, N_ORGANS + 1, size=shape, dtype=np.uint8), reference
    prediction = np.roll(reference, (1, 2, 3), axis=(0, 1, 2))
    prediction[rng.random(shape) < 0.002] = 0
    return prediction, reference


def medfs_scores():
    from medfs.metrics import score_case

    names = {organ: str(organ) for organ in range(1, N_ORGANS + 1)}

    def run(prediction, reference) -> Rows:
        scores = score_case(prediction, reference, SPACING_MM, names, nsd_tolerance_mm=TOLERANCE_MM)
        return [[score.dice, score.hd95_mm, score.asd_mm, score.nsd] for score in scores]

    return run


def monai_scores():
    import torch
    from monai import metrics
    from monai.networks.utils import one_hot

    def run(prediction, reference) -> Rows:
        maps = [
            one_hot(torch.from_numpy(m.astype(np.int64))[None, None], N_ORGANS + 1, dim=1)
            for m in (prediction, reference)
        ]
        spacing = {"include_background": False, "spacing": list(SPACING_MM)}
        columns = [
            metrics.compute_dice(*maps, include_background=False),
            metrics.compute_hausdorff_distance(*maps, percentile=95, **spacing),
            metrics.compute_average_surface_distance(*maps, symmetric=True, **spacing),
            metrics.compute_surface_dice(*maps, class_thresholds=[TOLERANCE_MM] * N_ORGANS, **spacing),
        ]
        return torch.stack([column[0] for column in columns], dim=1).tolist()

    return run


def surface_distance_scores():
    import surface_distance as sd

    def run(prediction, reference) -> Rows:
        rows = []
        for organ in range(1, N_ORGANS + 1):
            first, second = reference == organ, prediction == organ
            found = sd.compute_surface_distances(first, second, SPACING_MM)
            rows.append(
                [
                    sd.compute_dice_coefficient(first, second),
                    sd.compute_robust_hausdorff(found, 95),
                    float(np.mean(sd.compute_average_surface_distance(found))),
                    sd.compute_surface_dice_at_tolerance(found, TOLERANCE_MM),
                ]
            )
        return rows

    return run


def transform_scores():
    """Our crop with a distance transform of the package edt in place of the two k-d trees."""
    import edt

    import medfs.metrics.score as score
    from medfs.metrics.surface import SurfaceDistances, surface_voxels

    def measure(prediction, reference, spacing):
        pred, ref = surface_voxels(prediction), surface_voxels(reference)
        return SurfaceDistances(edt.edt(~ref, anisotropy=spacing)[pred], edt.edt(~pred, anisotropy=spacing)[ref])

    score.surface_distances = measure
    return medfs_scores()


PEERS = {
    "medfs": ("medfs", medfs_scores),
    "medfs with edt": ("edt", transform_scores),
    "surface-distance": ("surface_distance", surface_distance_scores),
    "monai.metrics": ("monai", monai_scores),
}


def memory_mib(field: str) -> float:
    """``VmRSS`` or ``VmHWM`` of this process (Linux)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


def measure_here(peer: str, shape, noise: bool) -> dict:
    """Seconds, memory and scores of one run in this process."""
    run = PEERS[peer][1]()
    run(*label_maps((16, 48, 48)))  # imports and first calls
    prediction, reference = label_maps(shape, noise)
    ctypes.CDLL(None).malloc_trim(0)  # give back what making the maps left
    with open("/proc/self/clear_refs", "w") as switch:
        switch.write("5")  # forget the peak so far
    before, start = memory_mib("VmRSS"), time.process_time()
    rows = run(prediction, reference)
    return {"seconds": time.process_time() - start, "mib": memory_mib("VmHWM") - before, "rows": rows}


def measure_apart(peer: str, shape, noise: bool) -> dict:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.metrics", "--only", peer, "--shape", *map(str, shape)]
    command += ["--noise"] * noise
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def report(results: dict[str, list[dict]]) -> None:
    """Print a line per peer: ratios to medfs, and the largest difference of each metric from medfs."""
    best = {peer: min(run["seconds"] for run in runs) for peer, runs in results.items()}
    peak = {peer: max(run["mib"] for run in runs) for peer, runs in results.items()}
    ours = np.array(results["medfs"][0]["rows"])
    print("| peer | CPU s | ratio | peak MiB | ratio | Dice | HD95 mm | ASD mm | NSD |")
    print("|---|---|---|---|---|---|---|---|---|")
    for peer, runs in results.items():
        differences = np.abs(np.array(runs[0]["rows"]) - ours).max(axis=0)
        cells = [
            peer,
            f"{best[peer]:.2f}",
            f"{best[peer] / best['medfs']:.1f}",
            f"{peak[peer]:.0f}",
            f"{peak[peer] / peak['medfs']:.1f}",
            *(f"{value:.1e}" for value in differences),
        ]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(60, 192, 192))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--noise", action="store_true", help="a prediction of random labels: every voxel is a surface")
    parser.add_argument("--only", choices=PEERS, help="one run in this process, printed as JSON")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure_here(options.only, options.shape, options.noise)))
        return
    peers = [peer for peer, (module, _) in PEERS.items() if importlib.util.find_spec(module)]
    results: dict[str, list[dict]] = {peer: [] for peer in peers}
    for _ in range(options.repeats):
        for peer in peers:
            results[peer].append(measure_apart(peer, options.shape, options.noise))
    print(f"shape {tuple(options.shape)}, {N_ORGANS} organs, fastest of {options.repeats}")
    report(results)


if __name__ == "__main__":
    main()
