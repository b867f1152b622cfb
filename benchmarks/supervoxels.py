"""Supervoxels side by side: medfs, the published algorithm and other packages, one thread, each in a fresh process.

    python benchmarks/supervoxels.py --image image_1.nii.gz
    python benchmarks/supervoxels.py --agreement chaost2_mr

The first prints time, peak memory of the whole process, number of segments and ratios to medfs, on synthetic
volumes and on the given scan. The second compares with partitions that were published for the scans of a folder
(``images/image_N.nii.gz`` and ``supervoxels_5000/superpix-MIDDLE_N.nii.gz``).
"""

import argparse
import hashlib
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PUBLISHED = {"scale": 1.0, "sigma_mm": 0.0, "min_size": 5000}
COARSE = {"scale": 76500.0, "sigma_mm": 0.8, "min_size": 500}
SYNTHETIC = {"256x256x64": ((256, 256, 64), (1.25, 1.25, 7.7)), "512x512x100": ((512, 512, 100), (0.8, 0.8, 3.0))}
PEERS = ("skimage felzenszwalb", "skimage slic", "SimpleITK SLIC")


def torso(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A body with fifteen ellipsoid organs, a bias field, noise and flat air; int16."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    image = np.full(shape, -1000, np.float32)
    image[((x / 0.9) ** 2 + (y / 0.7) ** 2 + 0 * z) < 1] = 0
    for _ in range(15):
        a, b, c = rng.uniform(-0.5, 0.5, 3)
        u, v, w = rng.uniform(0.08, 0.3, 3)
        image[((x - a) / u) ** 2 + ((y - b) / v) ** 2 + ((z - c) / w) ** 2 < 1] = rng.uniform(-80, 200)
    image += 20 * np.sin(2 * x + y) + rng.normal(0, 10, shape).astype(np.float32)
    return image.clip(-160, 240).round().astype(np.int16)


def medfs_labels(volume: np.ndarray, spacing_mm: list[float], parameters: dict) -> np.ndarray:
    from medfs.supervoxels import felzenszwalb_3d

    return felzenszwalb_3d(volume, spacing_mm=spacing_mm, **parameters)


def published_labels(kind: str | None) -> Callable:
    def labels(volume: np.ndarray, spacing_mm: list[float], parameters: dict) -> np.ndarray:
        from published_felzenszwalb import felzenszwalb_3d

        image = _rescaled(volume)
        return felzenszwalb_3d(image, spacing_mm=spacing_mm[::-1], kind=kind, **parameters).T

    return labels


def _rescaled(volume: np.ndarray) -> np.ndarray:
    image = volume.T.astype(np.float64)
    return 255 * (image - image.min()) / (image.max() - image.min())


def slices_labels(volume: np.ndarray, spacing_mm: list[float], parameters: dict) -> np.ndarray:
    from skimage.segmentation import felzenszwalb

    return np.stack([felzenszwalb(plane, scale=1, sigma=0, min_size=400) for plane in _rescaled(volume) / 255]).T


def slic_labels(volume: np.ndarray, spacing_mm: list[float], parameters: dict) -> np.ndarray:
    from skimage.segmentation import slic

    segments = max(2, volume.size // 5000)
    image = (_rescaled(volume) / 255).astype(np.float32)
    return slic(image, n_segments=segments, compactness=0.1, spacing=spacing_mm[::-1], channel_axis=None).T


def itk_slic_labels(volume: np.ndarray, spacing_mm: list[float], parameters: dict) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    image = sitk.GetImageFromArray(_rescaled(volume).astype(np.float32))
    image.SetSpacing(spacing_mm)
    return sitk.GetArrayFromImage(sitk.SLIC(image, [20, 20, 12], maximumNumberOfIterations=10)).T


METHODS: dict[str, Callable] = {
    "medfs": medfs_labels,
    "published, stable sort": published_labels("stable"),
    "published, default sort": published_labels(None),
    "skimage felzenszwalb": slices_labels,
    "skimage slic": slic_labels,
    "SimpleITK SLIC": itk_slic_labels,
}
NEEDS = {"skimage felzenszwalb": "skimage", "skimage slic": "skimage", "SimpleITK SLIC": "SimpleITK"}


def peak_mb() -> float:
    """Peak memory of this program; ru_maxrss on Linux would include the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def measure(method: str, case: Path) -> None:
    """Child process: time one method on a stored case and print a line of JSON."""
    with np.load(case) as stored:
        volume, spacing_mm = stored["volume"], stored["spacing_mm"].tolist()
        parameters = json.loads(str(stored["json"]))
    METHODS[method](np.arange(4096).reshape(16, 16, 16), spacing_mm, parameters)  # imports what it needs
    cpu, wall = time.process_time(), time.perf_counter()
    labels = METHODS[method](volume, spacing_mm, parameters)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = peak_mb()
    digest = hashlib.sha256(np.ascontiguousarray(labels, np.int32).tobytes()).hexdigest()
    print(json.dumps({"cpu": cpu, "wall": wall, "peak": peak, "labels": len(np.unique(labels)), "digest": digest}))


def build_port(folder: Path) -> None:
    from Cython.Build import cythonize
    from setuptools import Extension, setup

    port = Extension("published_felzenszwalb", [str(HERE / "published_felzenszwalb.pyx")], extra_compile_args=["-O3"])
    arguments = ["--quiet", "build_ext", "--build-lib", str(folder), "--build-temp", str(folder / "temp")]
    setup(script_args=arguments, ext_modules=cythonize([port], build_dir=str(folder), quiet=True))


def compare(name: str, volume: np.ndarray, spacing_mm: list[float], parameters: dict, methods, folder: Path) -> None:
    case = folder / "case.npz"
    np.savez(case, volume=volume, spacing_mm=np.asarray(spacing_mm, np.float64), json=json.dumps(parameters))
    settings = ", ".join(f"{key} {value:g}" for key, value in parameters.items())
    print(f"\n{name} {'x'.join(map(str, volume.shape))}, {settings}")
    print(f"{'method':26}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}{'labels':>8}{'time/medfs':>12}{'peak/medfs':>12}")
    paths = [str(folder), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    ours: dict | None = None
    for method in methods:
        if method in NEEDS and importlib.util.find_spec(NEEDS[method]) is None:
            print(f"{method:26} skipped: {NEEDS[method]} is not installed")
            continue
        command = [sys.executable, __file__, "--method", method, "--case", str(case)]
        answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        row = json.loads(answer.stdout)
        ours = ours or row
        same = "  identical" if row is not ours and row["digest"] == ours["digest"] else ""
        figures = f"{row['cpu']:8.2f}{row['wall']:8.2f}{row['peak']:9.0f}{row['labels']:8}"
        ratios = f"{row['cpu'] / ours['cpu']:12.1f}{row['peak'] / ours['peak']:12.1f}"
        print(f"{method:26}{figures}{ratios}{same}", flush=True)


def compare_all(image: Path | None) -> None:
    exact = ("medfs", "published, stable sort", "published, default sort")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_port(folder)
        if image is not None:
            import nibabel as nib

            scan = nib.load(image)
            volume, spacing_mm = np.asarray(scan.dataobj), [float(size) for size in scan.header.get_zooms()]
            compare(image.name, volume, spacing_mm, PUBLISHED, exact + PEERS, folder)
            compare(image.name, volume, spacing_mm, COARSE, exact[:2], folder)
        shape, spacing = SYNTHETIC["256x256x64"]
        compare("synthetic", torso(shape), list(spacing), PUBLISHED, exact, folder)
        shape, spacing = SYNTHETIC["512x512x100"]
        for parameters in (PUBLISHED, COARSE):
            compare("synthetic", torso(shape), list(spacing), parameters, ("medfs",), folder)


def adjusted_rand_index(a: np.ndarray, b: np.ndarray) -> float:
    """Agreement of two partitions of the same voxels: 1 for equal ones, about 0 for independent ones."""
    _, joint = np.unique(a.astype(np.int64) * (int(b.max()) + 1) + b, return_counts=True)
    pairs, of_a, of_b = (
        sum(int(n) * (int(n) - 1) // 2 for n in counts)
        for counts in (joint, np.unique(a, return_counts=True)[1], np.unique(b, return_counts=True)[1])
    )
    expected = of_a * of_b / (a.size * (a.size - 1) / 2)
    return (pairs - expected) / ((of_a + of_b) / 2 - expected)


def agreement(folder: Path) -> None:
    """Adjusted Rand index with published partitions, inside their body mask."""
    import nibabel as nib

    scores = []
    for path in sorted((folder / "images").glob("image_*.nii.gz")):
        partition = folder / "supervoxels_5000" / path.name.replace("image", "superpix-MIDDLE")
        scan, theirs = nib.load(path), np.asarray(nib.load(partition).dataobj).astype(np.int32)
        spacing_mm = [float(size) for size in scan.header.get_zooms()]
        ours = medfs_labels(np.asarray(scan.dataobj), spacing_mm, PUBLISHED)
        body = theirs > 0
        scores.append(adjusted_rand_index(ours[body], theirs[body]))
        counts = len(np.unique(ours[body])), len(np.unique(theirs[body]))
        print(f"{path.name:20} segments {counts[0]:4} {counts[1]:4}  adjusted Rand index {scores[-1]:.4f}", flush=True)
    print(f"median {np.median(scores):.4f}, lowest {min(scores):.4f}, n = {len(scores)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--agreement", type=Path, metavar="FOLDER")
    parser.add_argument("--method", help=argparse.SUPPRESS)
    parser.add_argument("--case", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.method:
        measure(arguments.method, arguments.case)
    elif arguments.agreement:
        agreement(arguments.agreement)
    else:
        compare_all(arguments.image)


if __name__ == "__main__":
    main()
