"""A batch seen whole, with exchanged cubes, and cube by cube: what MagicNet compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.networks import VNet
from medfs.semisup.cubes import CubeOrder, draw_sources, merge_cubes, mix_cubes, split_cubes, unmix_cubes

Stages = tuple[Tensor, ...]
SCALES = 3
"""The deepest stages, which `CubeNetwork.predict` reads."""
_PARTS = ("backbone", "num_classes", "encode", "decode", "predict")


class CubeNetwork(Protocol):
    """A network whose features can be cut and recovered between its parts."""

    @property
    def backbone(self) -> VNet:
        """Encoder and decoder, whose ``channels`` tell the depth."""

    @property
    def num_classes(self) -> int:
        """Channels of the output."""

    def encode(self, image: Tensor) -> Stages:
        """Stages, fine to coarse."""

    def decode(self, stages: Sequence[Tensor]) -> Tensor:
        """Features at full resolution."""

    def predict(self, stages: Sequence[Tensor], decoded: Tensor) -> Tensor:
        """Logits."""


def as_cube_network(network: nn.Module) -> CubeNetwork:
    """The network itself, if it has the parts.

    Raises:
        UsageError: it has not.
    """
    if not all(hasattr(network, part) for part in _PARTS):
        raise UsageError(
            f"{type(network).__name__} cannot be cut into encoder, decoder and output; expected TextVNet or PlainVNet"
        )
    return network  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class View:
    """Deepest stages (B, C_i, *S_i) and logits (L, N, *S) of a batch; L may be smaller than B."""

    stages: Stages
    logits: Tensor


@dataclass(frozen=True, slots=True)
class CubeStages:
    """Stages of all cubes of a batch, (B * n, C_i, *c_i), fine to coarse.

    Attributes:
        stages: of the cubes.
        cubes: their number along each axis.
        order: in which they are put together.
    """

    stages: Stages
    cubes: tuple[int, ...]
    order: CubeOrder

    @classmethod
    def encoded(cls, network: CubeNetwork, image: Tensor, cubes: tuple[int, ...], order: CubeOrder) -> "CubeStages":
        """Encode each cube of images (B, C, *S) alone."""
        return cls(network.encode(split_cubes(image, cubes).flatten(0, 1)), cubes, order)

    def __getitem__(self, images: slice) -> "CubeStages":
        """The cubes of some of the images."""
        return CubeStages(tuple(self._of_images(stage)[images].flatten(0, 1) for stage in self.stages), *self._grid)

    @property
    def deepest(self) -> Tensor:
        """The deepest stage, (B, n, C, *c)."""
        return self._of_images(self.stages[-1])

    def merged(self, features: Tensor) -> Tensor:
        """Features of all cubes (B * n, C, *c) put together, (B, C, *S)."""
        return merge_cubes(self._of_images(features), self.cubes, self.order)

    def deepest_merged(self) -> Stages:
        """The deepest stages, each put together."""
        return tuple(self.merged(stage) for stage in self.stages[-SCALES:])

    def predict(self, network: CubeNetwork) -> View:
        """Decode each cube alone, put the features together, and read the logits off the whole."""
        merged = self.deepest_merged()
        return View(merged, network.predict(merged, self.merged(network.decode(self.stages))))

    def predict_each(self, network: CubeNetwork) -> Tensor:
        """Logits of each cube as if it were an image of its own, put together, (B, N, *S)."""
        return self.merged(network.predict(self.stages, network.decode(self.stages)))

    @property
    def _grid(self) -> tuple[tuple[int, ...], CubeOrder]:
        return self.cubes, self.order

    def _of_images(self, features: Tensor) -> Tensor:
        return features.unflatten(0, (-1, torch.Size(self.cubes).numel()))


def whole_view(network: CubeNetwork, image: Tensor) -> View:
    """The plain forward pass."""
    stages = network.encode(image)
    return View(stages[-SCALES:], network.predict(stages, network.decode(stages)))


def mixed_view(network: CubeNetwork, image: Tensor, cubes: Sequence[int]) -> View:
    """Encode and decode images whose cubes were exchanged; bring the features back; read the logits off them."""
    sources = draw_sources(len(image), torch.Size(cubes).numel(), image.device)
    stages = network.encode(mix_cubes(image, sources, cubes))
    decoded = unmix_cubes(network.decode(stages), sources, cubes)
    deepest = tuple(unmix_cubes(stage, sources, cubes) for stage in stages[-SCALES:])
    return View(deepest, network.predict(deepest, decoded))
