"""The transformation that takes the prototypes of two classes to learned anchors, without its matrix.

The paper multiplies features by ``pinv(prototypes) @ anchors``, a matrix of C x C. It has rank 2: features become two
coordinates, those of the prototypes, and lengths and angles of what the matrix would give follow from two numbers a
place and the angle of the anchors.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_COLLINEAR = 1e-7  # squared sine of the angle below which two prototypes count as one direction
_SMALLEST = 1e-6


def dual_directions(prototypes: Tensor) -> Tensor:
    """The transposed pseudo-inverse of the directions of two prototypes.

    Found by projection, in single precision as exact as a pseudo-inverse in double. Of two equal directions each gives
    half; of a zero prototype nothing.

    Args:
        prototypes: (B, 2, C), of any length.

    Returns:
        (B, 2, C).

    >>> dual_directions(torch.tensor([[[4.0, 0.0], [3.0, 4.0]]])).mul(100).round().tolist()
    [[[100.0, -75.0], [0.0, 125.0]]]
    """
    unit = F.normalize(prototypes, dim=2, eps=_SMALLEST)
    other = unit.flip(dims=(1,))
    across = unit - (unit * other).sum(dim=2, keepdim=True) * other
    square = across.square().sum(dim=2, keepdim=True)
    collinear = (square < _COLLINEAR) & (unit.square().sum(dim=2, keepdim=True) > 0.5)
    return torch.where(collinear, unit / 2, across / square.clamp(min=_COLLINEAR))


def prototype_weights(features: Tensor, prototypes: Tensor) -> Tensor:
    """How much of each prototype's direction features are made of, as the pseudo-inverse says.

    Args:
        features: (B, C, *S).
        prototypes: (B, 2, C), of any length.

    Returns:
        (B, 2, *S).
    """
    with torch.autocast(features.device.type, enabled=False):
        return torch.einsum("bpc,bc...->bp...", dual_directions(prototypes.float()), features.float())


def anchor_coordinates(weights: Tensor, anchors: Tensor) -> Tensor:
    """Sums of weighted anchors, in an orthonormal basis of the space that the anchors span.

    Lengths and angles are those of the C-dimensional sums. Weights of fewer anchors than there are belong to the first.

    Args:
        weights: (B, P', *S).
        anchors: (P, C) or (B, P, C), of any length; their directions count.

    Returns:
        (B, P', *S).
    """
    with torch.autocast(weights.device.type, enabled=False):
        unit, used = unit_anchors(anchors), weights.shape[1]
        gram = unit @ unit.mT + _SMALLEST * torch.eye(unit.shape[-2], device=unit.device)
        basis = torch.linalg.cholesky(gram).expand(len(weights), -1, -1)[:, :used, :used]
        return torch.einsum("bpr,bp...->br...", basis, weights.float())


def unit_anchors(anchors: Tensor) -> Tensor:
    """Anchors (..., C) divided by their length."""
    anchors = anchors.float()
    return anchors / (anchors.norm(dim=-1, keepdim=True) + _SMALLEST)
