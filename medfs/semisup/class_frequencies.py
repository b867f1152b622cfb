"""How often the teacher predicted each class of late."""

import torch
import torch.distributed as dist
from torch import Tensor, nn


class ClassFrequencies(nn.Module):
    """Counts of predicted classes over a stretch of steps, and the table made of the last whole stretch.

    Args:
        num_classes: background included.
        steps: length of a stretch; its counts replace the table, then counting starts anew.
        temperature: counts are taken to the power of its inverse.

    References:
        Chen et al., MagicNet, CVPR 2023.
    """

    counts: Tensor
    table: Tensor
    counted_steps: Tensor

    def __init__(self, num_classes: int, steps: int = 20, temperature: float = 1.0) -> None:
        super().__init__()
        self.steps, self.temperature = steps, temperature
        self.register_buffer("counts", torch.zeros(num_classes, dtype=torch.float64))
        self.register_buffer("table", torch.zeros(num_classes))
        self.register_buffer("counted_steps", torch.zeros((), dtype=torch.int64))

    @property
    def known(self) -> bool:
        """Whether a stretch has been completed."""
        return bool(self.table.any())

    def count(self, labels: Tensor) -> Tensor:
        """Number of voxels of each class, (N,)."""
        return torch.bincount(labels.flatten(), minlength=len(self.counts)).to(self.counts)

    def weights(self, labels: Tensor) -> Tensor:
        """The table's value at each label: 1 for the most frequent class, 0 for one that was never predicted."""
        return self.table[labels]

    def add(self, counts: Tensor) -> None:
        """Add the counts of one step, summed over the ranks; all ranks must call it."""
        if dist.is_initialized():
            counts = counts.clone()
            dist.all_reduce(counts)
        self.counts += counts
        self.counted_steps += 1
        if int(self.counted_steps) == self.steps:
            frequency = self.counts ** (1 / self.temperature)
            self.table.copy_(frequency / frequency.max().clamp(min=1))
            self.counts.zero_()
            self.counted_steps.zero_()
