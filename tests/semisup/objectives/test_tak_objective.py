"""TAK: contrast in all views, thresholds in both readings, and what its released code has wrong."""

import pytest
import torch
from objective_cases import NAMES, SIZE, batches, build, evaluated, plain_vnet, text_network

from medfs.errors import UsageError
from medfs.losses import VisualTextualContrast
from medfs.networks import TextFusion, TextVNet
from medfs.semisup.objectives import MagicNetObjective, TAKObjective
from medfs.semisup.objectives.magicnet import PseudoLabels
from medfs.text import TextPrior

ALL = VisualTextualContrast(samples_per_class=None)


def test_tak_without_contrast_is_magicnet_with_gradient_aware_losses():
    network = text_network()
    tak = build(TAKObjective, network, contrast_weight=0.0)
    terms, _ = evaluated(tak, network)
    same, _ = evaluated(build(MagicNetObjective, network, dice=tak.dice, cross_entropy=tak.cross_entropy), network)
    assert all(torch.equal(terms[name], same[name]) for name in same)
    assert terms.keys() == same.keys()


@pytest.mark.parametrize(("progress", "expected"), [(0.129, False), (0.13, True), (1.0, True)])
def test_contrast_begins_at_its_share_of_the_run(progress, expected):
    network = text_network()
    terms, _ = evaluated(build(TAKObjective, network), network, progress=progress)
    assert ("contrast" in terms) == expected


def test_fault_13_contrast_is_a_step_unless_a_ramp_is_asked_for():
    network = text_network()
    options = {"contrast_start": 0.2, "contrast": ALL, "entropy_classes": 10**6}
    step, _ = evaluated(build(TAKObjective, network, **options), network, progress=0.3)
    ramp, _ = evaluated(build(TAKObjective, network, contrast_ramp=0.4, **options), network, progress=0.3)
    torch.testing.assert_close(ramp["contrast"], step["contrast"] / 4)


def test_fault_13_contrast_is_computed_in_float32():
    network = text_network()
    objective = build(TAKObjective, network)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms, _ = evaluated(objective, network)
    assert terms["contrast"].dtype == torch.float32


def test_contrast_sees_every_crop_in_three_views():
    network = text_network()
    objective = build(TAKObjective, network)
    seen = {}

    def remember(visuals, texts, labels):
        seen.update(visuals=visuals, texts=texts, labels=labels)
        return visuals[0].sum() * 0

    objective.contrast.forward = remember
    labelled, _ = batches()
    evaluated(objective, network)
    assert [tuple(visual.shape) for visual in seen["visuals"]] == [(12, 4, 16, 16), (12, 8, 8, 8), (12, 16, 4, 4)]
    assert [tuple(text.shape) for text in seen["texts"]] == [(3, 2, 4), (3, 2, 8), (3, 2, 16)]
    labels = seen["labels"]
    assert labels.shape == (12, SIZE, SIZE)
    for first in (0, 4, 8):
        assert torch.equal(labels[first : first + 2], labelled["label"][:, 0])
    assert torch.equal(labels[2:4], labels[6:8])
    whole, _ = network.embed(network.encode(labelled["image"]))
    torch.testing.assert_close(seen["visuals"][0][:2], whole[0])


@pytest.mark.parametrize(("classes", "kept"), [(2, [1, -1]), (None, [1, 1])])
def test_fault_4_the_threshold_refers_to_two_classes_or_to_those_of_the_task(classes, kept):
    objective = build(TAKObjective, text_network(), entropy_classes=classes)
    sure, unsure = [0.0, 9.0, 0.0], [0.0, 1.2, 0.1]  # entropies 0.002 and 0.93 of at most 1.10
    logits = torch.tensor([sure, unsure]).T[None, :, :, None]
    label = torch.zeros(1, 2, 1, dtype=torch.long)
    labels = objective.contrast_labels(label, PseudoLabels(logits, logits), 1.0)
    assert labels.flatten(1).tolist() == [[0, 0], kept] * 3
    assert objective.observed["kept"] == sum(value >= 0 for value in kept) / 2


def test_blended_labels_are_those_of_cubes_alone():
    objective = build(TAKObjective, text_network())
    whole, blended = (torch.zeros(1, 3, 2, 2).index_fill(1, torch.tensor([value]), 50.0) for value in (1, 2))
    labels = objective.contrast_labels(torch.zeros(1, 2, 2).long(), PseudoLabels(whole, blended), 0.5)
    assert labels[:, 0, 0].tolist() == [0, 1, 0, 1, 0, 2]


def test_gradients_of_the_contrast_reach_texts_projections_and_encoder_but_not_the_decoder():
    network = text_network()
    terms, _ = evaluated(build(TAKObjective, network), network)
    terms["contrast"].backward()
    assert network.alignment.texts[0][0].weight.grad.abs().sum() > 0
    assert network.alignment.features[0][0].weight.grad.abs().sum() > 0
    assert next(network.backbone.encoder.parameters()).grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.backbone.decoder.parameters())


@pytest.mark.parametrize("texts", [1, 3])
def test_fault_15_any_number_of_texts_per_class_will_do(texts):
    torch.manual_seed(0)
    prior = TextPrior.random(NAMES, width=8, kinds=tuple(f"text {number}" for number in range(texts)))
    fusion = TextFusion(prior, NAMES, hidden_channels=16, out_channels=16)
    network = TextVNet(fusion, spatial_dims=2, filters=4, levels=3, context_channels=16)
    terms, _ = evaluated(build(TAKObjective, network), network)
    assert torch.isfinite(terms["contrast"])


@pytest.mark.parametrize("network", [plain_vnet, lambda: text_network().deploy()])
def test_a_network_without_texts_is_refused_in_one_line(network):
    with pytest.raises(UsageError, match="without texts") as caught:
        build(TAKObjective, network())
    assert "\n" not in str(caught.value)
