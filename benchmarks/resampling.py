"""Resampling side by side: medfs, MONAI, SimpleITK and SciPy, one thread, each in a fresh process.

    python benchmarks/resampling.py --image image_1.nii.gz --label label_1.nii.gz

Prints, for a phantom and for the given scan, CPU time (the middle one of five runs after a warm-up), the memory a run
adds at its peak (its result included), ratios to medfs, and, where a method takes a grid, the largest difference from
medfs in the field of view; of labels, how many voxels differ.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

REPEATS = 5
GRIDS = {"covering": (1.5, 1.5, 1.5), "published": (1.62, 1.62, 6.1)}


def medfs_image(array: np.ndarray, affine: np.ndarray, spacing_mm: list[float], size: str) -> Callable:
    from medfs.transforms import ResampleToSpacing

    transform, volume = ResampleToSpacing(spacing_mm, size), _tracked(array.astype(np.float32), affine)
    return lambda: transform(volume)


def medfs_labels(array: np.ndarray, affine: np.ndarray, spacing_mm: list[float], size: str) -> Callable:
    from medfs.transforms import ResampleLabelsToSpacing

    transform, volume = ResampleLabelsToSpacing(spacing_mm, size), _tracked(array, affine)
    return lambda: transform(volume)


def monai_spacing(array: np.ndarray, affine: np.ndarray, spacing_mm: list[float], size: str) -> Callable:
    from monai.transforms import Spacing

    transform, volume = Spacing(spacing_mm), _tracked(array.astype(np.float32), affine)
    return lambda: transform(volume)


def monai_grid(array: np.ndarray, affine: np.ndarray, spacing_mm: list[float], size: str) -> Callable:
    from monai.transforms import SpatialResample

    grid, volume = _grid(array, affine, spacing_mm, size), _tracked(array.astype(np.float32), affine)
    transform = SpatialResample(mode="bilinear", padding_mode="border")
    return lambda: transform(volume, dst_affine=grid[1], spatial_size=grid[0])


def itk_image(array: np.ndarray, affine: np.ndarray, spacing_mm: list[float], size: str) -> Callable:
    import SimpleITK as sitk  # noqa: N813

    resample, volume = _itk(array.astype(np.float32), affine, spacing_mm, size)
    return lambda: sitk.GetArrayFromImage(resample(volume)).T[None]


def itk_labels(array: np.ndarray, affine: np.ndarray, spacing_mm: list[float], size: str) -> Callable:
    import SimpleITK as sitk  # noqa: N813

    resample, volume = _itk(array, affine, spacing_mm, size)

    def vote() -> np.ndarray:
        result = None
        for value in np.unique(array):
            share = sitk.GetArrayFromImage(resample(sitk.Cast(volume == int(value), sitk.sitkFloat32)))
            result = np.zeros(share.shape, array.dtype) if result is None else result
            result[share >= 0.5] = value
        return result.T[None]

    return vote


def scipy_image(array: np.ndarray, affine: np.ndarray, spacing_mm: list[float], size: str) -> Callable:
    from scipy import ndimage

    shape, new = _grid(array, affine, spacing_mm, size)
    to_old, volume = np.linalg.inv(affine) @ new, array.astype(np.float32)
    steps, start = to_old.diagonal()[:3], to_old[:3, 3]
    return lambda: ndimage.affine_transform(volume, steps, start, shape, order=1, mode="nearest")[None]


IMAGE = {
    "medfs": medfs_image,
    "MONAI Spacing": monai_spacing,
    "MONAI SpatialResample": monai_grid,
    "SimpleITK linear": itk_image,
    "SciPy affine_transform": scipy_image,
}
LABELS = {"medfs": medfs_labels, "SimpleITK, label by label": itk_labels}


def _tracked(array: np.ndarray, affine: np.ndarray):
    import torch
    from monai.data import MetaTensor

    torch.set_num_threads(1)
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array)[None]), affine=torch.from_numpy(affine))


def _grid(array: np.ndarray, affine: np.ndarray, spacing_mm: list[float], size: str) -> tuple[list[int], np.ndarray]:
    found = medfs_image(np.zeros(array.shape, np.uint8), affine, spacing_mm, size)()
    return list(found.shape[1:]), np.asarray(found.affine)


def _itk(array: np.ndarray, affine: np.ndarray, spacing_mm: list[float], size: str):
    import SimpleITK as sitk  # noqa: N813

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    shape, new = _grid(array, affine, spacing_mm, size)
    volume = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    old_mm = np.linalg.norm(affine[:3, :3], axis=0)
    volume.SetSpacing(old_mm.tolist())
    start = ((np.linalg.inv(affine) @ new)[:3, 3] * old_mm).tolist()
    new_mm = np.linalg.norm(new[:3, :3], axis=0).tolist()
    direction = volume.GetDirection()

    def resample(image):
        return sitk.Resample(image, shape, sitk.Transform(), sitk.sitkLinear, start, new_mm, direction, 0.0)

    return resample, volume


def _memory(field: str) -> float:
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) / 1024


def measure(kind: str, method: str, size: str, folder: Path) -> None:
    """Child process: run one method on the stored case, keep its result, print a line of JSON."""
    with np.load(folder / "case.npz") as stored:
        array, affine = stored[kind], stored["affine"]
    arguments = affine, list(GRIDS[size]), size
    methods = IMAGE if kind == "image" else LABELS
    methods[method](array[:12, :12, :6], *arguments)()  # imports what it needs
    run, times, extra = methods[method](array, *arguments), [], 0.0
    for _ in range(REPEATS + 1):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
        base, cpu = _memory("VmRSS"), time.process_time()
        result = run()
        times.append(time.process_time() - cpu)
        extra = max(extra, _memory("VmHWM") - base)
        values = np.asarray(result)
        del result
    other = folder / f"{kind}_medfs.npy"
    if method == "medfs":
        np.save(other, values)
    expected = np.load(other)
    far = None
    if values.shape == expected.shape:  # only the published grid has samples outside the field
        steps = np.divide(GRIDS[size], np.linalg.norm(affine[:3, :3], axis=0))
        field = (0, *(slice(int(np.ceil((n - 0.5) / step))) for n, step in zip(array.shape, steps, strict=True)))
        off = np.abs(values - expected.astype(np.float64))[field if size == "published" else ...]
        far = f"{off.max():.1g}" if kind == "image" else f"{int((off > 0).sum())} voxels"
    print(json.dumps({"cpu": float(np.median(times[1:])), "extra": extra, "shape": values.shape[1:], "far": far}))


def compare(name: str, image: np.ndarray, labels: np.ndarray, affine: np.ndarray) -> None:
    environment = {**os.environ} | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "case.npz", image=image, labels=labels, affine=affine)
        for kind, methods in (("image", IMAGE), ("labels", LABELS)):
            for size, spacing_mm in GRIDS.items():
                print(f"\n{name} {image.shape}, {kind} to {spacing_mm} mm, {size}")
                print(f"{'method':27}{'CPU s':>8}{'ratio':>7}{'extra MB':>10}{'ratio':>7}{'difference':>20}")
                ours: dict = {}
                for method in methods:
                    command = [sys.executable, __file__, "--child", kind, method, size, folder]
                    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                    row = json.loads(answer.stdout)
                    ours = ours or row
                    far = row["far"] or f"grid {'x'.join(map(str, row['shape']))}"
                    figures = f"{row['cpu']:8.3f}{row['cpu'] / ours['cpu']:7.1f}{row['extra']:10.0f}"
                    print(f"{method:27}{figures}{row['extra'] / ours['extra']:7.1f}{far:>20}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--label", type=Path)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, method, size, folder = arguments.child
        measure(kind, method, size, Path(folder))
        return
    from medfs.io import read_image, read_labels
    from medfs.phantom import phantom_case

    phantom = phantom_case(0, spacing_mm=(0.8, 0.8, 3))
    compare("phantom", phantom.image, phantom.labels, phantom.affine)
    if arguments.image and arguments.label:
        scan, labels = read_image(arguments.image), read_labels(arguments.label)
        compare(arguments.image.name, scan.array, labels.array, scan.affine)


if __name__ == "__main__":
    main()
