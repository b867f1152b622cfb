"""Weights of rarity and of difficulty, by hand, and where they stand."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from objective_cases import NAMES, batches, plain_vnet

from medfs.losses import weighted_cross_entropy, weighted_dice
from medfs.semisup import MeanTeacher, sigmoid_ramp
from medfs.semisup.objectives import DHCObjective
from medfs.semisup.objectives.dhc import DifficultyWeights, DistributionWeights

ALL = torch.ones(3, dtype=torch.bool)


def test_rarity_by_hand():
    counts = torch.tensor([800, 100, 50])
    expected = [0.0, 3 * math.log(8) / math.log(16), 3.0]
    torch.testing.assert_close(DistributionWeights.of_counts(counts), torch.tensor(expected))


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=20))
def test_rarity_is_finite_and_falls_with_the_count(counts):
    weights = DistributionWeights.of_counts(torch.tensor(counts))
    assert torch.isfinite(weights).all()
    assert weights.min() >= 0
    assert weights.max().item() == pytest.approx(len(counts) if len({max(c, 1) for c in counts}) > 1 else 1)
    order = sorted(range(len(counts)), key=counts.__getitem__)
    assert all(weights[a] >= weights[b] for a, b in itertools.pairwise(order))


def test_rarity_starts_from_the_annotated_labels_and_follows_the_predicted_ones():
    rarity = DistributionWeights(3, decay=0.9)
    known, predicted = torch.tensor([100, 10, 1]), torch.tensor([1, 10, 100])
    rarity.add(known, predicted)
    torch.testing.assert_close(rarity.weights, torch.tensor([0.3, 1.5, 2.7]))  # 0.9 (0, 1.5, 3) + 0.1 (3, 1.5, 0)
    rarity.add(known, predicted)
    torch.testing.assert_close(rarity.weights, torch.tensor([0.57, 1.5, 2.43]))


def test_difficulty_by_hand():
    difficulty = DifficultyWeights(3, steps=50, exponent=0.2)
    torch.testing.assert_close(difficulty.weights, torch.full((3,), 3.0))
    difficulty.add(torch.tensor([0.5, 0.5, 0.2]), ALL)
    assert not difficulty.learnt.any()
    difficulty.add(torch.tensor([0.8, 0.4, 0.2]), ALL)
    learnt = torch.tensor([0.3 * math.log(0.8 / 0.5) / 50, 0.0, 0.0])
    unlearnt = torch.tensor([0.0, 0.1 * math.log(0.5 / 0.4) / 50, 0.0])
    torch.testing.assert_close(difficulty.learnt, learnt)
    torch.testing.assert_close(difficulty.unlearnt, unlearnt)
    missed = torch.tensor([[0.5, 0.2], [0.5, 0.6], [0.8, 0.8]])
    missed = (0.98 + missed[:, 0] / 50) * 0.98 + missed[:, 1] / 50
    torch.testing.assert_close(difficulty.missed, missed)
    expected = ((unlearnt + 1e-8) / (learnt + 1e-8)) ** 0.2 * missed
    torch.testing.assert_close(difficulty.weights, 3 * expected / expected.max())


def test_a_class_that_falls_back_weighs_more_than_one_that_gets_better():
    difficulty = DifficultyWeights(3)
    for step in range(10):
        difficulty.add(torch.tensor([0.3 + 0.04 * step, 0.7 - 0.04 * step, 0.5]), ALL)
    rising, falling, steady = difficulty.weights.tolist()
    assert rising < steady < falling == 3


def test_a_class_that_a_step_does_not_show_keeps_its_difficulty():
    difficulty = DifficultyWeights(3)
    difficulty.add(torch.tensor([0.5, 0.5, 0.5]), ALL)
    before = {name: value.clone() for name, value in difficulty.state_dict().items()}
    difficulty.add(torch.tensor([0.6, 0.4, 0.0]), torch.tensor([True, True, False]))
    after = difficulty.state_dict()
    assert all(before[name][2] == after[name][2] for name in before)
    assert all(before[name][0] != after[name][0] for name in ("previous", "learnt", "missed"))


def test_weights_stand_in_all_terms_of_the_student_they_belong_to():
    student, (labelled, unlabelled) = plain_vnet(), batches()
    objective = DHCObjective(student, consistency_weight=0.4)
    objective.distribution.add(torch.tensor([100, 10, 1]), torch.tensor([100, 10, 1]))
    for dice in (0.5, 0.3):
        objective.difficulty.add(torch.tensor([0.9, dice, 0.5]), ALL)
    terms = objective(student, MeanTeacher(student), labelled, unlabelled, 0.4, 7)
    image, label = torch.cat([labelled["image"], unlabelled["image"]]), labelled["label"][:, 0]
    first, second = student(image), objective.partner(image)
    for name, own, other, weights in (
        ("", first, second, objective.difficulty.weights),
        ("partner_", second, first, objective.distribution.weights),
    ):
        both = [f(own, other.argmax(1), weights) for f in (weighted_dice, weighted_cross_entropy)]
        torch.testing.assert_close(terms[f"{name}dice"], weighted_dice(own[:2], label, weights))
        torch.testing.assert_close(terms[f"{name}cross_entropy"], weighted_cross_entropy(own[:2], label, weights))
        torch.testing.assert_close(terms[f"{name}consistency"], 0.4 * sigmoid_ramp(0.4) * sum(both))


def test_a_step_teaches_the_weights_what_it_showed():
    student, (labelled, unlabelled) = plain_vnet(), batches()
    objective = DHCObjective(student)
    image, label = torch.cat([labelled["image"], unlabelled["image"]]), labelled["label"][:, 0]
    objective(student, MeanTeacher(student), labelled, unlabelled, 0.4, 0)
    assert torch.equal(objective.distribution.weights, torch.ones(3)), "a step that is not taken teaches nothing"
    objective.after_step(student, 0)
    truth = torch.nn.functional.one_hot(label).movedim(-1, 1)
    probability = student(labelled["image"]).softmax(1)
    power = probability.square().sum((0, 2, 3)) + truth.sum((0, 2, 3))
    torch.testing.assert_close(objective.difficulty.previous, 2 * (probability * truth).sum((0, 2, 3)) / power)
    known = DistributionWeights.of_counts(torch.bincount(label.flatten(), minlength=len(NAMES)))
    predicted = torch.bincount(objective.partner(image).argmax(1).flatten(), minlength=len(NAMES))
    expected = 0.99 * known + 0.01 * DistributionWeights.of_counts(predicted)
    torch.testing.assert_close(objective.distribution.weights, expected)
