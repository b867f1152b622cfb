"""What the published implementations compute, and how close a rebuilt one has to come.

The folder of ``MEDFS_REFERENCE`` holds ``NAME.npz`` (inputs and outputs) and ``NAME.json`` (names and shapes of the
published parameters); the parameter values follow from a rule and the salt stored beside them.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch


@dataclass(frozen=True)
class ReferenceCase:
    """Arrays of one stored case and the parameters that produced them, under their published names."""

    arrays: dict[str, np.ndarray]
    parameters: dict[str, torch.Tensor]

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[name])


def load_case(folder: Path, name: str) -> ReferenceCase:
    salt = (folder / "salt.txt").read_text().strip()
    shapes = json.loads((folder / f"{name}.json").read_text())["parameters"]
    with np.load(folder / f"{name}.npz") as stored:
        arrays = dict(stored)
    return ReferenceCase(arrays, {key: torch.from_numpy(parameter(salt, key, tuple(s))) for key, s in shapes.items()})


def parameter(salt: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Value of one published parameter: seeded by its name, scaled by what its name says it is."""
    noise = np.random.Generator(np.random.Philox(zlib.crc32(f"{salt}/{name}".encode()))).standard_normal(shape)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        value = np.zeros(shape)
    elif leaf == "running_var":
        value = 1 + 0.1 * abs(noise)
    elif leaf in ("running_mean", "bias"):
        value = 0.1 * noise
    elif len(shape) <= 1:
        value = (1 if leaf == "weight" else 0.5) + 0.05 * noise
    else:
        if np.prod(shape[1:]) > 1:
            noise = noise - noise.mean(axis=tuple(range(1, len(shape))), keepdims=True)
        value = noise * np.sqrt(2 / np.prod(shape[1:]))
    if name.startswith("decoder") and name.endswith("cls.3.weight"):
        value = value * 0.02
    if name.endswith("reduce1d.bias") and shape == (1,):
        value = value - 2
    if name == "t":  # ADNet's threshold is given, not drawn
        value = np.full(shape, -2.0)
    return np.asarray(value).astype(np.float32)


def assert_matches(actual: torch.Tensor, stored: np.ndarray, *, elsewhere: float = 1e-4) -> None:
    """Outputs: 1e-4 of the largest value in float32, 2e-3 + 1e-3 |b| where the stored array is float16.

    Args:
        actual: what medfs computes.
        stored: what the published implementation computed, on a CPU with AVX-512.
        elsewhere: share of the largest value that is allowed on CPUs without it. A hundred convolutions sum in another
            order there, and differ by the rounding of single precision, of which the stored values have their share.
    """
    value = actual.detach().double().numpy()
    assert value.shape == stored.shape
    expected = stored.astype(np.float64)
    largest = max(1.0, abs(expected).max())
    allowed = 2e-3 + 1e-3 * abs(expected) if stored.dtype == np.float16 else 1e-4 * largest
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        allowed = np.maximum(allowed, elsewhere * largest)
    worst = abs(value - expected).max()
    assert (abs(value - expected) <= allowed).all(), f"largest difference {worst:.3g}"


def assert_loss_matches(actual: torch.Tensor, stored: np.ndarray) -> None:
    np.testing.assert_allclose(actual.item(), stored.item(), rtol=1e-3)


def assert_gradient_matches(actual: torch.Tensor, stored: np.ndarray) -> None:
    largest = abs(stored).max()
    assert largest > 0
    assert abs(actual.numpy() - stored).max() <= 1e-3 * largest
