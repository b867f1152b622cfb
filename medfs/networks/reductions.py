"""Small learned maps on features that serve slices and volumes alike: their weights know no spatial axes."""

from torch import Tensor, nn


class PointwiseConv(nn.Conv1d):
    """A 1x1 convolution without bias over any number of spatial axes.

    Args:
        in_channels: of the features.
        out_channels: of the result.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *S) to (B, C', *S)."""
        return super().forward(features.flatten(2)).unflatten(2, features.shape[2:])


class ImageScalars(nn.Module):
    """Scalars of a whole image: its mean feature through a linear layer, then one linear map for each scalar.

    The published networks keep the classifier of their pretrained encoder as the first layer and put no nonlinearity
    behind it, so that a scalar is a linear function of the mean feature.

    Args:
        in_channels: of the features.
        scalars: how many.
        hidden: width of the shared layer.
    """

    def __init__(self, in_channels: int, scalars: int, hidden: int = 1000) -> None:
        super().__init__()
        self.shared = nn.Linear(in_channels, hidden)
        self.scalars = nn.ModuleList(nn.Linear(hidden, 1) for _ in range(scalars))

    def forward(self, features: Tensor, index: int) -> Tensor:
        """Scalar number ``index`` of each image: (B, C, *S) to (B, 1)."""
        return self.scalars[index](self.shared(features.flatten(2).mean(dim=2)))
