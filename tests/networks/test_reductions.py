"""Maps on features whose weights know no spatial axes."""

import pytest
import torch
import torch.nn.functional as F

from medfs.networks.reductions import ImageScalars, PointwiseConv


@pytest.mark.parametrize(("size", "convolution"), [((5, 6), F.conv2d), ((3, 4, 5), F.conv3d)])
def test_one_set_of_weights_is_a_1x1_convolution_in_2d_and_3d(size, convolution):
    layer, features = PointwiseConv(4, 7), torch.randn(2, 4, *size)
    kernel = layer.weight.view(7, 4, *[1] * len(size))
    torch.testing.assert_close(layer(features), convolution(features, kernel))


def test_scalars_are_linear_in_the_mean_feature():
    layer, features = ImageScalars(4, scalars=2, hidden=3), torch.randn(2, 4, 3, 4, 5)
    mean = features.mean(dim=(2, 3, 4))
    for index in range(2):
        expected = layer.scalars[index](layer.shared(mean))
        torch.testing.assert_close(layer(features, index), expected)
        torch.testing.assert_close(layer(mean[..., None], index), expected)
