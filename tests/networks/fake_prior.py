"""A stand-in for a text prior: random vectors under the names ``organ 0``, ``organ 1``, ..."""

from collections.abc import Sequence

import torch
from torch import nn


class FakePrior(nn.Module):
    def __init__(self, count: int, texts: int = 2, width: int = 512, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("embedding", torch.randn(count, texts, width, generator=generator))

    def forward(self, wanted: Sequence[str]) -> torch.Tensor:
        return self.embedding[[int(name.removeprefix("organ ")) for name in wanted]]


def names(count: int) -> tuple[str, ...]:
    return tuple(f"organ {index}" for index in range(count))
