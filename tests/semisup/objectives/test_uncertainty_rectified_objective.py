"""The scales of one network: how many, how they are supervised, how they agree."""

import pytest
import torch
from objective_cases import NAMES, any_network, batches, evaluated, plain_vnet, text_network

from medfs.errors import UsageError
from medfs.losses import SoftDiceLoss, rectified_consistency
from medfs.networks import PlainVNet
from medfs.semisup import sigmoid_ramp
from medfs.semisup.objectives import UncertaintyRectifiedObjective


@pytest.mark.parametrize(("levels", "scales", "expected"), [(3, 4, 2), (4, 4, 3), (5, 4, 4), (5, 2, 2), (6, 9, 5)])
def test_there_is_a_prediction_for_each_level_of_the_decoder_that_is_asked_for(levels, scales, expected):
    network = PlainVNet(len(NAMES), spatial_dims=2, filters=2, levels=levels)
    objective = UncertaintyRectifiedObjective(network, scales)
    logits = objective.pyramid(network, torch.rand(1, 1, 64, 64))
    assert [tuple(scale.shape) for scale in logits] == [(1, len(NAMES), 64, 64)] * expected


@pytest.mark.parametrize("make_network", [text_network, plain_vnet])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_finest_prediction_is_the_students_own(make_network, dims):
    network = make_network(dims)
    image = torch.rand(2, 1, *[16] * dims)
    finest = UncertaintyRectifiedObjective(network).pyramid(network, image)[0]
    torch.testing.assert_close(finest, network(image))


def test_coarser_predictions_are_read_off_coarser_features():
    network = plain_vnet()
    objective = UncertaintyRectifiedObjective(network)
    image = torch.rand(1, 1, 24, 24)
    coarse = objective.pyramid(network, image)[1]
    stages = network.encode(image)
    features = network.backbone.decoder[1](network.backbone.up[1](stages[2]) + stages[1])
    at_half = objective.outputs[0](features)
    centres = torch.nn.functional.avg_pool2d(coarse, 2)[..., 1:-1, 1:-1]  # linear interpolation is symmetric
    smooth = torch.nn.functional.interpolate(at_half, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(centres, torch.nn.functional.avg_pool2d(smooth, 2)[..., 1:-1, 1:-1])


def test_terms_are_those_of_the_formula():
    network, (labelled, unlabelled) = plain_vnet(), batches()
    objective = UncertaintyRectifiedObjective(network, consistency_weight=0.4, consistency_ramp=0.8)
    terms, _ = evaluated(objective, network, progress=0.4)
    logits = objective.pyramid(network, torch.cat([labelled["image"], unlabelled["image"]]))
    dice = [SoftDiceLoss()(scale[:2], labelled["label"]) for scale in logits]
    entropy = [torch.nn.functional.cross_entropy(scale[:2], labelled["label"][:, 0]) for scale in logits]
    torch.testing.assert_close(terms["dice"], 0.5 * sum(dice) / 2)
    torch.testing.assert_close(terms["cross_entropy"], 0.5 * sum(entropy) / 2)
    expected = 0.4 * sigmoid_ramp(0.5) * rectified_consistency([scale[2:] for scale in logits])
    torch.testing.assert_close(terms["consistency"], expected)


@pytest.mark.parametrize(
    ("network", "scales", "message"),
    [
        (plain_vnet, 1, "at least 2 scales and 3 levels"),
        (lambda: PlainVNet(3, spatial_dims=2, filters=2, levels=2), 4, "network of 2 levels"),
        (any_network, 4, "expected TextVNet or PlainVNet"),
    ],
)
def test_what_has_no_scales_is_refused(network, scales, message):
    with pytest.raises(UsageError, match=message):
        UncertaintyRectifiedObjective(network(), scales)
