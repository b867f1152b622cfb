"""Rounds of self-training: who labels, when, and what."""

import copy

import pytest
import torch
from objective_cases import batches, plain_vnet
from torch import nn

from medfs.errors import UsageError
from medfs.losses import SoftLabelLoss
from medfs.semisup import MeanTeacher, sigmoid_ramp
from medfs.semisup.objectives import SelfTrainingObjective

STEPS = 10


def changed(network, by):
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += by * torch.randn_like(parameter)
    return other


def test_before_the_first_start_labelled_crops_count_alone():
    student = plain_vnet()
    terms = SelfTrainingObjective(student, (0.4,))(student, MeanTeacher(student), *batches(), 0.39, 3)
    assert list(terms) == ["dice", "cross_entropy"]


def test_the_teacher_is_copied_at_the_start_of_each_round_and_only_then():
    torch.manual_seed(0)
    student = plain_vnet()
    objective = SelfTrainingObjective(student, (0.3, 0.7))
    teacher = MeanTeacher(student)
    copies, used = [], []
    for step in range(STEPS):
        teacher.network = changed(teacher.network, 0.05)
        objective(student, teacher, *batches(), step / STEPS, step)
        before = copy.deepcopy(teacher.network.state_dict())
        objective.after_step(student, step)
        copies.append(copy.deepcopy(objective.labeller.network.state_dict()))
        used.append(all(torch.equal(copies[-1][name], before[name]) for name in before))
    assert [step for step, same in enumerate(used) if same] == [3, 7]
    for start, stop in ((3, 7), (7, STEPS)):
        assert all(torch.equal(copies[start][k], copies[step][k]) for step in range(start, stop) for k in copies[0])
    assert int(objective.round) == 2


def test_a_step_that_is_not_taken_leaves_the_round_to_the_next_one():
    student = plain_vnet()
    objective, teacher = SelfTrainingObjective(student, (0.3,)), MeanTeacher(changed(student, 0.1))
    objective(student, teacher, *batches(), 0.3, 3)
    assert int(objective.round) == 0
    objective(student, teacher, *batches(), 0.4, 4)
    objective.after_step(student, 4)
    assert int(objective.round) == 1
    assert torch.equal(next(objective.labeller.parameters()), next(teacher.parameters()))


def test_labels_are_made_for_the_very_crop_that_the_student_sees_perturbed():
    seen = {"teacher": [], "student": []}

    class Watched(nn.Module):
        def __init__(self, network, name):
            super().__init__()
            self.network, self.name = network, name

        def forward(self, image):
            seen[self.name].append(image)
            return self.network(image)

    student, (labelled, unlabelled) = plain_vnet(), batches()
    objective = SelfTrainingObjective(student, (0.3,), perturb=lambda image: 2 * image)
    objective(Watched(student, "student"), Watched(student, "teacher"), labelled, unlabelled, 0.5, 5)
    assert torch.equal(seen["teacher"][0], unlabelled["image"])
    assert torch.equal(seen["student"][0], torch.cat([labelled["image"], 2 * unlabelled["image"]]))


@pytest.mark.parametrize(("progress", "risen"), [(0.3, 0.0), (0.4, 0.5), (0.5, 1.0), (0.9, 1.0)])
def test_the_term_is_weighted_and_rises_after_the_start(progress, risen):
    student, (labelled, unlabelled) = plain_vnet(), batches()
    options = {"pseudo_weight": 0.7, "pseudo_ramp": 0.2, "temperature": 0.5, "perturb": None}
    objective = SelfTrainingObjective(student, (0.3,), **options)
    terms = objective(student, MeanTeacher(student), labelled, unlabelled, progress, 5)
    logits = student(unlabelled["image"])
    expected = SoftLabelLoss()(logits, (2 * logits).softmax(1))
    torch.testing.assert_close(terms["pseudo"], 0.7 * sigmoid_ramp(risen) * expected)


@pytest.mark.parametrize("starts", [(), (0.5, 0.5), (0.7, 0.3), (1.0,), (-0.1, 0.5)])
def test_starts_that_are_no_rising_shares_are_refused(starts):
    with pytest.raises(UsageError, match="expected shares in"):
        SelfTrainingObjective(plain_vnet(), starts)
