"""Few-shot episodes per second, beside the published way of making them.

    OMP_NUM_THREADS=1 python -m benchmarks.episodes [--data FOLDER] [--episodes 100] [--cases 8] [--repeats 8]

Both make the same kind of episode: two adjacent slices of a supervoxel with at least 200 pixels, one of them bent in
contrast, one of them warped, no organ excluded. The published way is a stand-in of ours in vectorised NumPy with all
volumes in memory: for every episode it standardises the volume, finds the supervoxels with np.unique, tries them until
one has a run of two slices with enough pixels, and warps with OpenCV where it is installed, else with SciPy. medfs
reads memory-mapped arrays that were standardised and indexed once; that preparation is timed apart. Without --data
(images/ and supervoxels/, as `medfs episodes` takes them), phantoms are made. One process, one thread, its CPU time;
turns are taken, and the fastest counts.
"""

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from medfs.fewshot import EpisodeDataset, EpisodeSampler, find_objects, prepare_case
from medfs.fewshot.modes import AdjacentSlices
from medfs.inference.episodes import supervoxel_folder
from medfs.inference.supervoxels import supervoxels
from medfs.io import find_cases, read_image, read_labels, write_labels
from medfs.phantom import write_cohort
from medfs.transforms.episodes import EpisodeAugmentation

SPACING_MM = (1.5, 1.5, 7.7)
MIN_SIZE, MIN_PIXELS = 5000, 200
cv2 = importlib.util.find_spec("cv2") and importlib.import_module("cv2")


def phantom_folder(folder: Path, count: int) -> Path:
    """MR-like phantoms with supervoxels."""
    for case in write_cohort(folder, count, modality="mr", spacing_mm=SPACING_MM):
        image = read_image(case.image)
        path = folder / "supervoxels" / case.image.name
        path.parent.mkdir(exist_ok=True)
        write_labels(path, supervoxels(image, min_size=MIN_SIZE), like=image)
    return folder


class PublishedWay:
    """The sampler of Q-Net, DMAP and HCPMNet, written anew and without its Python loops over slices."""

    def __init__(self, cases, objects) -> None:
        self.images = [np.ascontiguousarray(read_image(case.image).array.T) for case in cases]
        self.maps = [
            np.ascontiguousarray(read_labels(objects[case.name], assume_orientation=True).array.T) for case in cases
        ]
        self.random = np.random.default_rng(0)

    def __call__(self, index: int):
        random = self.random
        number = random.integers(len(self.images))
        image, labels = self.images[number], self.maps[number]
        image = (image - image.mean()) / image.std()
        ids = np.unique(labels)
        ids = ids[ids != 0]
        while True:
            mask = labels == random.choice(ids)
            slices = np.flatnonzero(mask.any(axis=(1, 2)))
            runs = [run for run in np.split(slices, np.flatnonzero(np.diff(slices) != 1) + 1) if len(run) > 1]
            if not runs:
                continue
            run = runs[random.integers(len(runs))]
            start = run[random.integers(len(run) - 1)]
            if max(mask[start].sum(), mask[start + 1].sum()) >= MIN_PIXELS:
                break
        pair = [(image[z], mask[z].astype(np.float32)) for z in random.permutation([start, start + 1])]
        bent, warped = random.integers(2, size=2)
        pair[bent] = (self.bend(pair[bent][0]), pair[bent][1])
        pair[warped] = self.warp(*pair[warped])
        return [torch.from_numpy(np.ascontiguousarray(array)) for side in pair for array in side]

    def bend(self, image):
        low, extent = image.min(), image.max() - image.min() + 1e-5
        return extent * np.power((image - low + 1e-5) / extent, self.random.uniform(0.5, 1.5)).astype(np.float32) + low

    def warp(self, image, mask):
        random, (rows, columns) = self.random, image.shape
        angle, shear = np.deg2rad(random.uniform(-5, 5, 2))
        centre = np.array([[1, 0, columns / 2], [0, 1, rows / 2], [0, 0, 1]])
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        slant = np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
        shift = np.array([[1, 0, random.uniform(-5, 5)], [0, 1, random.uniform(-5, 5)], [0, 0, 1]])
        matrix = np.diag([*[random.uniform(0.9, 1.2)] * 2, 1]) @ slant @ shift @ centre @ turn @ np.linalg.inv(centre)
        noise = [random.uniform(-1, 1, image.shape).astype(np.float32) for _ in range(2)]
        sides = np.stack([image, mask], axis=-1)
        if not cv2:
            inverse = np.linalg.inv(matrix)[[1, 0]][:, [1, 0, 2]]
            moved = [ndimage.affine_transform(s, inverse[:, :2], inverse[:, 2], order=1) for s in (image, mask)]
            dx, dy = (10 * ndimage.gaussian_filter(field, 5, truncate=2) for field in noise)
            grid = np.mgrid[:rows, :columns] + np.stack([dy, dx])
            image, mask = (ndimage.map_coordinates(s, grid, order=1, mode="reflect") for s in moved)
        else:
            moved = cv2.warpAffine(sides, matrix[:2], (columns, rows), flags=cv2.INTER_LINEAR)
            dx, dy = (10 * cv2.GaussianBlur(field, (21, 21), 5) for field in noise)
            x, y = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
            moved = cv2.remap(moved, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            image, mask = moved[..., 0], moved[..., 1]
        return image, np.rint(mask)


def fastest(calls: dict, episodes: int, repeats: int) -> dict[str, float]:
    """CPU seconds per call of each, the fastest of several turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats):
        for name, call in calls.items():
            call(0)
            start = time.process_time()
            for index in range(turn * episodes, (turn + 1) * episodes):
                call(index)
            times[name].append((time.process_time() - start) / episodes)
    return {name: min(found) for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cases", type=int, default=8, help="phantoms to make")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if cv2:
        cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or phantom_folder(Path(folder) / "phantoms", options.cases)
        cases = find_cases(data)
        objects = find_objects(cases, supervoxel_folder(data))
        seconds = []
        for _ in ("first", "again"):
            start = time.perf_counter()
            prepared = [prepare_case(case, objects[case.name], Path(folder) / "cache") for case in cases]
            seconds.append(time.perf_counter() - start)
        sampler = EpisodeSampler(prepared, AdjacentSlices(MIN_PIXELS))
        dataset = EpisodeDataset(sampler, EpisodeAugmentation())
        plain = EpisodeDataset(sampler, None)
        calls = {
            "published way": PublishedWay(cases, objects),
            "medfs": dataset.__getitem__,
            "medfs, images as they are": plain.__getitem__,
            "medfs, drawing alone": lambda index: sampler.draw(0, index),
        }
        found = fastest(calls, options.episodes, options.repeats)
    shape = " x ".join(map(str, prepared[0].index.shape))
    print(f"{len(cases)} cases, the first of {shape}; {options.episodes} episodes, fastest of {options.repeats} turns;")
    print(f"warps of the published way by {'OpenCV ' + cv2.__version__ if cv2 else 'SciPy'};", end=" ")
    print(f"medfs prepared all cases in {seconds[0]:.1f} s, and found them prepared in {seconds[1]:.2f} s\n")
    print("| | CPU ms per episode | episodes/s | times the published way |")
    print("|---|---|---|---|")
    for name, value in found.items():
        print(f"| {name} | {1e3 * value:.3g} | {1 / value:.0f} | {found['published way'] / value:.1f} |")


if __name__ == "__main__":
    main()
