"""VGG-16 as an encoder of many maps."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.networks.block_features import three_channels
from medfs.networks.weights import load_exactly, read_weights
from medfs.types import Features

_CONVOLUTIONS = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))  # of each stage; times the width
_LAYERS: dict[int, tuple[Callable[..., nn.Module], Callable[[int], nn.Module]]] = {
    2: (nn.Conv2d, nn.MaxPool2d),
    3: (nn.Conv3d, nn.MaxPool3d),
}
_MAPS = (17, 19, 21, 24, 26, 28, 30)


class VGG16Encoder(nn.Module):
    """VGG-16 that gives what the convolutions of its last two stages give, before their nonlinearity, and the end.

    There are seven maps: three on an eighth of the resolution, three on a sixteenth and one on a thirty-second. All
    have the same channels, so that heads have to be told, ``maps=(3, 3, 1)``. Parameters have torchvision's names.

    Args:
        spatial_dims: 2 for slices, 3 for volumes.
        width: channels of the first stage. Published is 64.

    Raises:
        UsageError: another number of axes, or a width below 1.

    **Differs from the paper**: volumes and ``width`` are ours.

    References:
        Simonyan and Zisserman, Very deep convolutional networks for large-scale image recognition, ICLR 2015.
    """

    def __init__(self, spatial_dims: int = 2, *, width: int = 64) -> None:
        super().__init__()
        if spatial_dims not in _LAYERS or width < 1:
            raise UsageError(f"VGG-16 of width {width} for {spatial_dims} axes; expected a width above 0, 2 or 3 axes")
        self.spatial_dims, self.width = spatial_dims, width
        convolution, pooling = _LAYERS[spatial_dims]
        layers: list[nn.Module] = []
        channels = 3
        for stage in _CONVOLUTIONS:
            for factor in stage:
                layers += [convolution(channels, width * factor, 3, padding=1), nn.ReLU()]
                channels = width * factor
            layers.append(pooling(2))
        self.features = nn.Sequential(*layers)
        self.out_channels = (channels,) * len(_MAPS)
        for layer in layers:
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Features:
        """Give the seven maps of images (B, 1 or 3, *S), no smaller than 32 along each axis.

        Raises:
            UsageError: the images have other channels or axes.
        """
        features, maps = three_channels(image, self.spatial_dims), []
        for place, layer in enumerate(self.features):
            features = layer(features)
            if place in _MAPS:
                maps.append(features)
        return tuple(maps)

    def load_file(self, path: str | Path) -> tuple[str, ...]:
        """Load weights of torchvision's VGG-16 or of a file of this class.

        Returns:
            The names that the file has beyond the encoder: the classifier.

        Raises:
            InputError: the file cannot be read, or a name is missing or belongs to no VGG-16; nothing is loaded.
        """
        weights = read_weights(path)
        extra = tuple(name for name in weights if name.startswith("classifier."))
        load_exactly(self, {name: value for name, value in weights.items() if name not in extra}, str(path))
        return extra
