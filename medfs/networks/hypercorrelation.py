"""Hypercorrelations: every place of a query against every place of a support, and the network that reads them.

``*Q`` are the spatial axes of the query, ``*S`` those of the support, 2 each for slices and 3 for volumes.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.networks.functional import resize
from medfs.networks.match_decoder import PlaneConv

_SMALLEST_LENGTH = 1e-5
_GROUPS = 4
_WIDTHS = (16, 64, 128)
_KERNELS = ((3, 3, 3), (5, 3, 3), (5, 5, 3))
_SUPPORT_STRIDES = ((2, 2, 2), (4, 2, 2), (4, 4, 2))


def correlation(query: Tensor, support: Tensor) -> Tensor:
    """Cosines above 0 of all places of a query with all of a support; 0 where a feature is zero.

    Args:
        query: (B, C, *Q).
        support: (B, C, *S).

    Returns:
        (B, *Q, *S).
    """
    with torch.autocast(query.device.type, enabled=False):
        first, second = (_unit(features.float()).flatten(2) for features in (query, support))
        cosine = (first.transpose(1, 2) @ second).relu_()  # in place: this is the largest tensor of all
    return cosine.view(len(query), *query.shape[2:], *support.shape[2:])


class CentrePivotConv(nn.Module):
    """A convolution of a correlation that looks around in the query or in the support, never in both at once.

    Of the kernel over all axes together only that part is kept, so that it is the sum of two convolutions over the axes
    of one picture. Strides thin out the support.

    Args:
        in_channels: of the correlation.
        out_channels: of the result.
        kernel: side of both kernels.
        support_stride: along the axes of the support.
        spatial_dims: 2 for kernels that see the slices of a volume one by one, which serve slices, too; 3 for volumes.

    References:
        Min et al., Hypercorrelation squeeze for few-shot segmentation, ICCV 2021.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, support_stride: int = 1, *, spatial_dims: int = 2
    ) -> None:
        super().__init__()
        self.support_stride, self.spatial_dims = support_stride, spatial_dims
        self.over_query = convolution(in_channels, out_channels, kernel, spatial_dims=spatial_dims)
        self.over_support = convolution(in_channels, out_channels, kernel, support_stride, spatial_dims=spatial_dims)

    def forward(self, correlation: Tensor) -> Tensor:
        """(B, C, *Q, *S) to (B, C', *Q, *S')."""
        axes = (correlation.ndim - 2) // 2
        step, whole = slice(None, None, self.support_stride), slice(None)
        # kernels of a plane leave the slices of a volume alone
        thinned = correlation[(..., *(step if place < self.spatial_dims else whole for place in reversed(range(axes))))]
        return _over_query(self.over_query, thinned) + _over_support(self.over_support, correlation)


class HypercorrelationDecoder(nn.Module):
    """Two logits a place of the query from correlations at several levels.

    Each level is squeezed by three convolutions that thin out the support. From the coarsest level on, what a level
    gives is brought to the next finer one, added to it and mixed. The mean over the support is decoded.

    Args:
        in_channels: maps at each level, coarse to fine; at most three levels.
        spatial_dims: as :class:`CentrePivotConv` takes it.

    Raises:
        UsageError: no level, or more than three.

    **Differs from the paper**: where the thinned supports of two levels differ in size, as with images that are no
    multiples of 16 voxels, the coarser one is interpolated; the release cannot add them. Fewer levels are ours.

    References:
        Min et al., Hypercorrelation squeeze for few-shot segmentation, ICCV 2021.
    """

    def __init__(self, in_channels: Sequence[int], *, spatial_dims: int = 2) -> None:
        super().__init__()
        if not 1 <= len(in_channels) <= len(_KERNELS):
            raise UsageError(f"hypercorrelation: {len(in_channels)} levels; expected 1 to {len(_KERNELS)}")
        width = self.mixed_channels = _WIDTHS[-1]
        self.squeeze = nn.ModuleList(
            _block((maps, *_WIDTHS), kernels, strides, spatial_dims)
            for maps, kernels, strides in zip(in_channels, _KERNELS, _SUPPORT_STRIDES, strict=False)
        )
        self.mix = nn.ModuleList(_block((width,) * 4, (3,) * 3, (1,) * 3, spatial_dims) for _ in in_channels[1:])
        first, second, third, last = (
            convolution(*sizes, spatial_dims=spatial_dims)
            for sizes in ((width, width), (width, width // 2), (width // 2, width // 2), (width // 2, 2))
        )
        self.decode = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.decide = nn.Sequential(third, nn.ReLU(), last)

    def forward(self, correlations: Sequence[Tensor], gains: Sequence[Tensor] = ()) -> Tensor:
        """Decode the correlations of all levels.

        Args:
            correlations: (B, maps, *Q, *S) at each level, coarse to fine.
            gains: (B, C), what episodes add to the weights of the last normalisation of each mixing; none if empty.

        Returns:
            (B, 2, *Q') on twice the places of the finest level.
        """
        mixed = self.squeeze[0](correlations[0])
        for level, block in enumerate(self.mix):
            squeezed = self.squeeze[level + 1](correlations[level + 1])
            added = squeezed + _on_grid(mixed, squeezed.shape[2:])
            mixed = _normalised_last(block, added, gains[level]) if gains else block(added)
        axes = (mixed.ndim - 2) // 2
        decoded = self.decode(mixed.flatten(2 + axes).mean(dim=-1))
        return self.decide(resize(decoded, [2 * length for length in decoded.shape[2:]])).float()


def convolution(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, *, spatial_dims: int = 2
) -> nn.Module:
    """A convolution with bias: over the last two axes for ``spatial_dims`` 2, over all three of a volume for 3."""
    if spatial_dims == 2:
        return PlaneConv(in_channels, out_channels, kernel, stride=stride, bias=True)
    return nn.Conv3d(in_channels, out_channels, kernel, stride, kernel // 2)


def _block(sizes: Sequence[int], kernels: Sequence[int], strides: Sequence[int], spatial_dims: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after, kernel, stride in zip(sizes, sizes[1:], kernels, strides, strict=False):
        layers += [CentrePivotConv(before, after, kernel, stride, spatial_dims=spatial_dims)]
        layers += [nn.GroupNorm(_GROUPS, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _unit(features: Tensor) -> Tensor:
    return features / (features.norm(dim=1, keepdim=True) + _SMALLEST_LENGTH)


def _normalised_last(block: nn.Module, given: Tensor, gain: Tensor) -> Tensor:
    """A block whose last normalisation has other weights for each episode."""
    *layers, norm, nonlinearity = block.children()
    for layer in layers:
        given = layer(given)
    assert isinstance(norm, nn.GroupNorm)
    return nonlinearity(
        norm(given) + F.group_norm(given, norm.num_groups) * gain.view(*gain.shape, *[1] * (given.ndim - 2))
    )


def _over_query(layer: Callable[[Tensor], Tensor], correlation: Tensor) -> Tensor:
    """A layer for (n, C, *Q) on (B, C, *Q, *S)."""
    axes = (correlation.ndim - 2) // 2
    support = correlation.shape[2 + axes :]
    folded = correlation.flatten(2 + axes).movedim(-1, 1)
    result = layer(folded.flatten(0, 1)).unflatten(0, folded.shape[:2])
    return result.movedim(1, -1).unflatten(-1, support)


def _over_support(layer: Callable[[Tensor], Tensor], correlation: Tensor) -> Tensor:
    """A layer for (n, C, *S) on (B, C, *Q, *S)."""
    axes = (correlation.ndim - 2) // 2
    query = correlation.shape[2 : 2 + axes]
    folded = correlation.flatten(2, 1 + axes).movedim(2, 1)
    result = layer(folded.flatten(0, 1)).unflatten(0, folded.shape[:2])
    return result.movedim(1, 2).unflatten(2, query)


def _on_grid(correlation: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, *Q, *S) interpolated to other axes of query and support."""
    axes = len(size) // 2
    in_query = _over_query(partial(resize, size=size[:axes]), correlation)
    return _over_support(partial(resize, size=size[axes:]), in_query)
