"""Supervised contrast that aligns voxel features with the texts of their classes."""

from collections.abc import Sequence
from math import exp, log

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medfs.errors import UsageError

_ROWS = 1024  # anchors compared at a time: bounds the memory of the comparison


def entropy_threshold(progress: float, num_classes: int = 2) -> float:
    """Entropy (in nats) up to which a pseudo-label is trusted; rises with the progress of training.

    ``ln(num_classes) * (0.75 + 0.25 * exp(-5 * (1 - progress)**2))``. The published threshold keeps the ``ln 2`` of
    binary segmentation for any number of classes, which trusts only very certain voxels; pass the true number for a
    threshold relative to the largest possible entropy.

    Args:
        progress: 0 at the start, 1 (and more) when the threshold has reached its end.
        num_classes: whose largest entropy is meant.

    >>> round(entropy_threshold(0.0), 3), round(entropy_threshold(1.0), 3)
    (0.521, 0.693)
    """
    rest = 1 - min(max(progress, 0.0), 1.0)
    return log(num_classes) * (0.75 + 0.25 * exp(-5 * rest**2))


def entropy_of(logits: Tensor) -> Tensor:
    """Entropy in nats of the softmax of logits (B, N, *S), one value a voxel, in float32.

    >>> round(entropy_of(torch.zeros(1, 2, 1)).item(), 3)
    0.693
    """
    log_probability = logits.float().log_softmax(1)
    return -(log_probability.exp() * log_probability).sum(1)


def reliable_labels(labels: Tensor, entropy: Tensor, threshold: float, ignore_index: int = -1) -> Tensor:
    """Pseudo-labels with the uncertain ones replaced.

    Args:
        labels: integers of any shape.
        entropy: of the prediction behind every label, same shape, in nats.
        threshold: labels with an entropy above it are replaced.
        ignore_index: the replacement.

    Returns:
        Labels as int64.
    """
    return labels.long().masked_fill(entropy > threshold, ignore_index)


class VisualTextualContrast(nn.Module):
    """Voxels and texts of one class attract each other, those of different classes repel, at several scales.

    At every scale up to n voxels per volume and class are drawn; together with all texts they form a pool of unit
    vectors. Every member is an anchor: for every other member of its class, ``-log`` of the softmax of that pair
    against all members of other classes, averaged over the pairs, then over anchors; scales are summed.

    Args:
        temperature: divides the cosine similarity.
        samples_per_class: voxels per volume and class for each scale, fine to coarse; None takes all.
        ignore_index: label of voxels that are never drawn.

    References:
        Khosla et al. 2020, *Supervised Contrastive Learning*; Gu et al. 2025 (``medfs.networks.TextVNet``).
    """

    def __init__(
        self,
        temperature: float = 0.07,
        samples_per_class: Sequence[int] | None = (40, 20, 10),
        ignore_index: int = -1,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.samples_per_class = None if samples_per_class is None else tuple(samples_per_class)
        self.ignore_index = ignore_index

    def forward(
        self,
        visuals: Sequence[Tensor],
        texts: Sequence[Tensor],
        labels: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Loss summed over scales, computed in float32 whatever autocast says.

        Args:
            visuals: per scale (V, C_i, *S_i).
            texts: per scale (N, T, C_i), class order of the labels.
            labels: (V, *S) or (V, 1, *S), brought to every scale by nearest neighbour.
            generator: source of the draws; the default one if None.

        Returns:
            Scalar; without any labelled voxel the texts alone are contrasted.

        Raises:
            UsageError: if the numbers of scales differ.
        """
        samples = self.samples_per_class or (None,) * len(visuals)
        if not len(visuals) == len(texts) == len(samples):
            raise UsageError(
                f"contrast: {len(visuals)} visual and {len(texts)} text scales, {len(samples)} sample counts"
            )
        if labels.dim() == visuals[0].dim() - 1:
            labels = labels.unsqueeze(1)
        total = visuals[0].new_zeros((), dtype=torch.float32)
        with torch.autocast(visuals[0].device.type, enabled=False):
            for visual, text, limit in zip(visuals, texts, samples, strict=True):
                pool, classes = self._pool(visual, text, labels, limit, generator)
                total = total + pool_contrast(pool, classes, self.temperature)
        return total

    def _pool(
        self, visual: Tensor, text: Tensor, labels: Tensor, limit: int | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Vectors (P, C) of drawn voxels and all texts, and their classes (P,)."""
        num_classes, texts_per_class = text.shape[:2]
        resized = F.interpolate(labels.float(), visual.shape[2:], mode="nearest").long().flatten(1)
        voxels = visual.flatten(2).transpose(1, 2)
        chosen = resized != self.ignore_index
        if limit is not None:
            chosen &= draw_per_class(resized, num_classes, limit, generator)
        pool = torch.cat([voxels[chosen].float(), text.flatten(0, 1).float()])
        every = torch.arange(num_classes, device=text.device).repeat_interleave(texts_per_class)
        return pool, torch.cat([resized[chosen], every])


def draw_per_class(labels: Tensor, num_classes: int, limit: int, generator: torch.Generator | None = None) -> Tensor:
    """A mask that keeps up to ``limit`` voxels of every class in every row, drawn uniformly without replacement.

    Args:
        labels: (V, M) with values -1..num_classes-1.
        num_classes: number of classes.
        limit: voxels kept per row and class.
        generator: source of the draws.

    Returns:
        Boolean (V, M); a negative label counts as a class of its own.
    """
    source = labels.device if generator is None else generator.device
    key = torch.rand(labels.shape, generator=generator, device=source).to(labels.device).flatten()
    rows = torch.arange(labels.shape[0], device=labels.device).unsqueeze(1)
    group = (labels.clamp(min=-1) + 1 + rows * (num_classes + 1)).flatten()
    order = key.argsort()
    order = order[group[order].argsort(stable=True)]
    size = torch.bincount(group, minlength=labels.shape[0] * (num_classes + 1))
    start = (size.cumsum(0) - size)[group[order]]
    kept = torch.zeros_like(group, dtype=torch.bool)
    kept[order] = torch.arange(len(group), device=labels.device) - start < limit
    return kept.view_as(labels)


def pool_contrast(pool: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Mean supervised contrast over all members of a pool.

    Args:
        pool: vectors (P, C), normalised here.
        classes: (P,).
        temperature: divides the cosine similarity.

    Returns:
        Scalar; members without a companion of their class contribute 0.
    """
    unit = F.normalize(pool, dim=1)
    total = unit.new_zeros(())
    for start in range(0, len(unit), _ROWS):
        total = total + checkpoint(_anchor_sum, unit, classes, start, temperature, use_reentrant=False)
    return total / len(unit)


def _anchor_sum(unit: Tensor, classes: Tensor, start: int, temperature: float) -> Tensor:
    """Summed loss of the anchors ``start`` to ``start + _ROWS``."""
    anchors = unit[start : start + _ROWS]
    similarity = anchors @ unit.T / temperature
    same = classes[start : start + _ROWS, None] == classes[None]
    itself = torch.arange(len(anchors), device=unit.device)
    # Not -inf: an anchor without negatives must not meet inf - inf in the backward pass.
    negatives = similarity.masked_fill(same, -1e4).logsumexp(1, keepdim=True)
    positive = same.clone()
    positive[itself, itself + start] = False
    loss = torch.logaddexp(similarity, negatives) - similarity
    return ((loss * positive).sum(1) / (positive.sum(1) + 1e-5)).sum()
