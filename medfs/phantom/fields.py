"""Smooth random fields in space: deformations, textures and coil shading.

A field is a sum of plane waves, so its value at a place does not depend on the grid it is sampled on.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class WaveField:
    """A smooth random field with zero mean over space.

    Attributes:
        waves_per_mm: ``(W, 3)``, angular wave vectors.
        phases: ``(W,)``, radians.
        amplitudes: ``(W, C)``, in the unit of the field.
    """

    waves_per_mm: FloatArray
    phases: FloatArray
    amplitudes: FloatArray

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        *,
        wavelength_mm: tuple[float, float],
        sd: float,
        components: int = 1,
        waves: int = 8,
    ) -> "WaveField":
        """Draw waves of random directions, whose sum has the standard deviation ``sd`` in each component."""
        directions = rng.normal(size=(waves, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = rng.uniform(*wavelength_mm, size=(waves, 1))
        amplitudes = rng.normal(size=(waves, components))
        amplitudes *= sd * np.sqrt(2.0 / (amplitudes**2).sum(axis=0, keepdims=True))
        return cls(2 * np.pi * directions / lengths, rng.uniform(0, 2 * np.pi, size=waves), amplitudes)

    def at(self, points_mm: FloatArray) -> FloatArray:
        """Values ``(C, V)`` at the points ``(3, V)``, in the type of the points."""
        kind = points_mm.dtype
        values = np.zeros((self.amplitudes.shape[1], points_mm.shape[1]), dtype=kind)
        for wave, phase, amplitude in zip(self.waves_per_mm, self.phases, self.amplitudes, strict=True):
            swing = np.cos(wave.astype(kind) @ points_mm + kind.type(phase))
            for value, height in zip(values, amplitude.astype(kind), strict=True):
                value += height * swing
        return values
