"""The mean teacher: an exponential moving average of the student, and the ramp that goes with it."""

import copy
import math

import torch
from torch import Tensor, nn


class MeanTeacher(nn.Module):
    """A copy of a network whose weights follow the student's as a moving average.

    After step ``t`` (counted from 0) a weight becomes ``a w + (1 - a) w_student`` with ``a = min(1 - 1 / (t + 1),
    decay)``, so that the first update copies the student. Floating buffers are averaged too, others copied.

    Args:
        student: the network to follow; copied, never changed.
        decay: upper limit of ``a``.

    References:
        Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017.

    **Differs from the paper's TAK code**: buffers follow as well; there they stayed at their first values.
    """

    def __init__(self, student: nn.Module, decay: float = 0.99) -> None:
        super().__init__()
        self.network = copy.deepcopy(student).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, student: nn.Module, step: int) -> None:
        """Follow the student after its optimiser step number ``step`` (from 0)."""
        decay = min(1 - 1 / (step + 1), self.decay)
        targets = [*self.network.parameters(), *self.network.buffers()]
        sources = [*student.parameters(), *student.buffers()]
        for target, source in zip(targets, sources, strict=True):
            if target.is_floating_point():
                target.lerp_(source.to(target.dtype), 1 - decay)
            else:
                target.copy_(source)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, N, *S) of the averaged network for images (B, C, *S)."""
        logits: Tensor = self.network(image)
        return logits


def with_noise(image: Tensor, sigma: float = 0.1) -> Tensor:
    """What the teacher sees: Gaussian noise added, cut off at two standard deviations.

    >>> bool((with_noise(torch.zeros(99)).abs() <= 0.2).all())
    True
    """
    return image + (sigma * torch.randn_like(image)).clamp(-2 * sigma, 2 * sigma)


def sigmoid_ramp(progress: float) -> float:
    """Rise from ``exp(-5)`` at progress 0 to 1 at progress 1 and beyond.

    References:
        Laine and Aila, Temporal ensembling for semi-supervised learning, ICLR 2017.

    >>> round(sigmoid_ramp(0.5), 4), sigmoid_ramp(2)
    (0.2865, 1.0)
    """
    return math.exp(-5 * (1 - min(max(progress, 0.0), 1.0)) ** 2)
