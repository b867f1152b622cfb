"""Pseudo-labels, ramp and contrast of the mean teacher."""

import pytest
import torch
from objective_cases import NAMES, any_network, batches, evaluated, text_network
from torch import nn

from medfs.losses import entropy_threshold
from medfs.semisup import sigmoid_ramp
from medfs.semisup.objectives import MeanTeacherObjective
from medfs.semisup.objectives.mean_teacher import IGNORED, perturb_intensity


class Fixed(nn.Module):
    """A network whose logits are given."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, image):
        return self.logits


def logits_of_entropies(entropies):
    """Three-class logits (1, 3, len) whose entropies are those given, in nats; class 1 is the likelier one."""
    found = []
    for wanted in entropies:
        low, high = 0.0, 60.0
        for _ in range(200):
            middle = (low + high) / 2
            p = torch.tensor([0.0, middle, 0.0], dtype=torch.float64).softmax(0)
            low, high = (middle, high) if float(-(p * p.log()).sum()) > wanted else (low, middle)
        found.append([0.0, middle, 0.0])
    return torch.tensor(found).T[None]


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.625, 1.0])
def test_pseudo_labels_above_the_entropy_threshold_are_ignored(progress):
    objective = MeanTeacherObjective(entropy_ramp=0.625)
    threshold = entropy_threshold(progress / 0.625)
    logits = logits_of_entropies([0.1, threshold - 1e-3, threshold + 1e-3])
    labels = objective.pseudo_labels(Fixed(logits), torch.zeros(1, 1, 3), progress)
    assert labels.tolist() == [[1, 1, IGNORED]]


def test_the_threshold_may_refer_to_the_classes_of_the_task():
    uniform = torch.zeros(1, 16, 5)
    image = torch.zeros(1, 1, 5)
    assert (MeanTeacherObjective().pseudo_labels(Fixed(uniform), image, 1.0) == IGNORED).all()
    sure = uniform.clone()
    sure[:, 3] = 2.5
    assert (MeanTeacherObjective().pseudo_labels(Fixed(sure), image, 1.0) == IGNORED).all()
    assert (MeanTeacherObjective(entropy_classes=None).pseudo_labels(Fixed(sure), image, 1.0) == 3).all()


def test_an_unsure_teacher_leaves_nothing_to_agree_with():
    labelled, unlabelled = batches(3)
    network = any_network(3)
    unsure = Fixed(torch.zeros(2, len(NAMES), 16, 16, 16))
    terms = MeanTeacherObjective()(network, unsure, labelled, unlabelled, 1.0, 0)
    network.zero_grad()
    terms["consistency"].backward()
    assert torch.isfinite(terms["consistency"])
    assert all(p.grad is None or torch.equal(p.grad, torch.zeros_like(p.grad)) for p in network.parameters())


def test_consistency_is_weighted_by_the_ramp():
    network = any_network(2)
    labelled, unlabelled = batches(2)
    sure = torch.zeros(2, len(NAMES), 16, 16)
    sure[:, 1] = 50.0
    objective = MeanTeacherObjective(consistency_weight=0.3, perturb=None)
    end = objective(network, Fixed(sure), labelled, unlabelled, 1.0, 0)["consistency"]
    for progress in (0.0, 0.25, 0.8):
        term = objective(network, Fixed(sure), labelled, unlabelled, progress, 0)["consistency"]
        assert term.item() / end.item() == pytest.approx(sigmoid_ramp(progress), rel=1e-5)


def test_cross_entropy_joins_the_agreement_when_asked():
    network = any_network(2)
    labelled, unlabelled = batches(2)
    sure = torch.zeros(2, len(NAMES), 16, 16)
    sure[:, 1] = 50.0
    dice = MeanTeacherObjective(perturb=None)(network, Fixed(sure), labelled, unlabelled, 1.0, 0)
    both = MeanTeacherObjective(perturb=None, consistency_cross_entropy=True)(
        network, Fixed(sure), labelled, unlabelled, 1.0, 0
    )
    assert both["consistency"] > dice["consistency"]


@pytest.mark.parametrize(
    ("network", "progress", "options", "expected"),
    [
        (text_network, 0.12, {}, False),
        (text_network, 0.13, {}, True),
        (text_network, 0.5, {"contrast_weight": 0.0}, False),
        (text_network, 0.0, {"contrast_start": 0.0}, True),
        (any_network, 0.5, {}, False),
        (lambda dims: text_network(dims).deploy(), 0.5, {}, False),
    ],
)
def test_there_is_contrast_after_its_start_and_for_networks_with_texts_only(network, progress, options, expected):
    terms, _ = evaluated(MeanTeacherObjective(**options), network(3), 3, progress)
    assert ("contrast" in terms) == expected


def test_contrast_reaches_the_text_path_and_the_encoder():
    network = text_network(3)
    terms, _ = evaluated(MeanTeacherObjective(), network, 3, 0.5)
    terms["contrast"].backward()
    assert network.alignment.texts[0][0].weight.grad.abs().sum() > 0
    assert next(network.backbone.parameters()).grad.abs().sum() > 0


def test_a_step_without_contrast_gives_the_logits_of_a_step_with_it():
    network = text_network(3)
    plain, _ = evaluated(MeanTeacherObjective(contrast_weight=0.0), network, 3, 0.5)
    contrasted, _ = evaluated(MeanTeacherObjective(), network, 3, 0.5)
    for name, term in plain.items():
        torch.testing.assert_close(contrasted[name], term)


@pytest.mark.parametrize("shape", [(3, 1, 12, 12), (2, 2, 6, 7, 8)])
def test_perturbed_intensities_keep_shape_and_stay_near(shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    changed = perturb_intensity(image)
    assert changed.shape == image.shape
    assert not torch.equal(changed, image)
    assert torch.equal(perturb_intensity(image, strength=0.0), image)
    for before, after in zip(image, changed, strict=True):
        correlation = torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1]
        assert correlation > 0.9
