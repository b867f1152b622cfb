"""Correlations of all places with all, and the centre-pivot convolutions that read them."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from medfs.errors import UsageError
from medfs.networks.hypercorrelation import CentrePivotConv, HypercorrelationDecoder, correlation


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_correlation_is_the_cosine_of_each_pair_of_places():
    query, support = random(1, 5, 3, 4), random(1, 5, 2, 6, seed=1)
    found = correlation(query, support)
    assert found.shape == (1, 3, 4, 2, 6)
    pair = query[:, :, 2, 1], support[:, :, 1, 5]
    expected = torch.nn.functional.cosine_similarity(*pair).clamp(min=0)
    torch.testing.assert_close(found[:, 2, 1, 1, 5], expected, rtol=1e-4, atol=1e-4)


def test_features_of_zero_correlate_with_nothing():
    assert not correlation(random(1, 5, 3, 4), torch.zeros(1, 5, 3, 4)).any()


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 4)])
def test_a_centre_pivot_convolution_is_one_over_four_axes_with_a_sparse_kernel(kernel, stride):
    torch.manual_seed(0)
    layer = CentrePivotConv(1, 1, kernel, stride)
    given = random(1, 1, 5, 6, 7, 8)
    weights, middle = np.zeros((kernel,) * 4), kernel // 2
    weights[:, :, middle, middle] += layer.over_query.weight[0, 0].detach().numpy()
    weights[middle, middle] += layer.over_support.weight[0, 0].detach().numpy()
    expected = correlate(given[0, 0].double().numpy(), weights, mode="constant")[:, :, ::stride, ::stride]
    expected += (layer.over_query.bias + layer.over_support.bias).item()
    np.testing.assert_allclose(layer(given)[0, 0].detach(), expected, rtol=1e-4, atol=1e-5)


def test_kernels_of_planes_treat_the_slices_of_volumes_as_slices():
    torch.manual_seed(0)
    layer = CentrePivotConv(1, 2, 3, 2)
    with torch.no_grad():
        slices = layer(random(1, 1, 4, 5, 6, 7))
        volume = layer(random(1, 1, 4, 5, 6, 7)[:, :, None, :, :, None])
    torch.testing.assert_close(volume[:, :, 0, :, :, 0], slices)


@pytest.mark.parametrize(("spatial_dims", "sees"), [(2, False), (3, True)])
def test_only_kernels_of_volumes_see_the_next_slice(spatial_dims, sees):
    torch.manual_seed(0)
    layer, given = CentrePivotConv(1, 1, spatial_dims=spatial_dims), torch.zeros(1, 1, *[3] * 6)
    given[0, 0, 0, 1, 1, 1, 1, 1] = 1
    with torch.no_grad():
        difference = layer(given) - layer(torch.zeros_like(given))
    assert bool(difference[0, 0, 1, 1, 1, 1, 1, 1] != 0) == sees


def test_levels_whose_supports_differ_are_brought_together():
    decoder = HypercorrelationDecoder((1, 1, 1))
    levels = [random(1, 1, *size, *size) for size in ((3, 5), (7, 9), (13, 20))]
    with torch.no_grad():
        assert decoder(levels).shape == (1, 2, 26, 40)


def test_more_than_three_levels_are_refused():
    with pytest.raises(UsageError, match="4 levels; expected 1 to 3"):
        HypercorrelationDecoder((1, 1, 1, 1))
