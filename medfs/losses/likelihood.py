"""Losses of probabilities, for heads that give no logits, and the label value that they leave out."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = 255
"""Label of voxels that count nowhere: padding."""


def probability_nll(probability: Tensor, target: Tensor, weights: Sequence[float]) -> Tensor:
    """Negative log likelihood of given probabilities, averaged with class weights.

    The sum of ``-w log p`` over the sum of ``w``; 0 if no voxel counts.

    Args:
        probability: (B, N, *S), sums to 1 over the classes.
        target: (B, *S), integers; :data:`IGNORED` voxels do not count.
        weights: one for each class.

    >>> round(probability_nll(torch.tensor([[0.5], [0.5]])[None], torch.tensor([[1]]), (0.1, 1.0)).item(), 4)
    0.6931
    """
    chosen, weight = chosen_probability(probability, target, weights)
    return -(weight * chosen.log()).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def logit_nll(logits: Tensor, target: Tensor, weights: Sequence[float]) -> Tensor:
    """As :func:`probability_nll` of the softmax of logits, with a gradient however sure and wrong they are.

    Args:
        logits: (B, N, *S).
        target: (B, *S), integers; :data:`IGNORED` voxels do not count.
        weights: one for each class.

    >>> logits = torch.tensor([[40.0], [0.0]])[None].requires_grad_()
    >>> logit_nll(logits, torch.tensor([[1]]), (1.0, 1.0)).backward()
    >>> logits.grad.flatten().tolist()
    [1.0, -1.0]
    """
    counted, weight = target != IGNORED, logits.new_tensor(weights, dtype=torch.float32)
    total = F.cross_entropy(logits.float(), target.long(), weight, ignore_index=IGNORED, reduction="sum")
    weights_of_all = weight[torch.where(counted, target, 0).long()] * counted
    return total / weights_of_all.sum().clamp(min=torch.finfo(torch.float32).tiny)


def chosen_probability(probability: Tensor, target: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Probability of the true class, away from 0 and 1 by the precision of float32, and its weight; both (B, *S).

    The weight of ignored voxels is 0.

    Args:
        probability: (B, N, *S).
        target: (B, *S), integers.
        weights: one for each class.
    """
    counted = target != IGNORED
    classes = torch.where(counted, target, 0).long()
    precision = torch.finfo(torch.float32).eps
    chosen = probability.float().gather(1, classes[:, None])[:, 0].clamp(precision, 1 - precision)
    return chosen, chosen.new_tensor(weights)[classes] * counted
