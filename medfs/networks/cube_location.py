"""The classifier that tells where in a crop a cube was cut; used in training only."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CubeLocationClassifier(nn.Module):
    """Two linear layers with batch normalisation over the cubes of one image.

    Args:
        in_features: values of the deepest stage of one cube.
        cubes: number of places.
        hidden_channels: width between the layers.
        bias: whether the first layer has one, as in MagicNet and unlike TAK; the normalisation takes it out again.

    **Differs from the paper**: keeps no running statistics, which nothing would read.

    Example:
        >>> sum(parameter.numel() for parameter in CubeLocationClassifier(2048).parameters())
        8507419

    References:
        Chen et al. 2023, *MagicNet: Semi-Supervised Multi-Organ Segmentation via Magic-Cube Partition and Recovery*.
    """

    def __init__(self, in_features: int, cubes: int = 27, hidden_channels: int = 4096, *, bias: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden_channels, bias=bias),
            nn.BatchNorm1d(hidden_channels, track_running_stats=False),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden_channels, cubes),
        )

    def forward(self, deepest: Tensor) -> Tensor:
        """Logits (n, n) of the places of all cubes of one image, in order, from their deepest stage (n, C, *c)."""
        return self.layers(deepest.flatten(1))

    def loss(self, deepest: Tensor) -> Tensor:
        """Mean cross-entropy of the places of all cubes of a batch of images.

        Args:
            deepest: (B, n, C, *c), in the order of the places.
        """
        places = torch.arange(deepest.shape[1], device=deepest.device)
        return torch.stack([F.cross_entropy(self(image).float(), places) for image in deepest]).mean()
