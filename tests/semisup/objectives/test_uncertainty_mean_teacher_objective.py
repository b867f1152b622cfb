"""Which voxels an uncertain teacher leaves out, and what the others cost."""

import math

import pytest
import torch
from objective_cases import NAMES, SIZE, batches, evaluated, plain_vnet
from torch import nn

from medfs.losses import SoftDiceLoss, entropy_threshold
from medfs.semisup import sigmoid_ramp
from medfs.semisup.objectives import UncertaintyMeanTeacherObjective

COUNT = len(NAMES)


class Passes(nn.Module):
    """A network whose logits at each pass are given."""

    def __init__(self, *logits):
        super().__init__()
        self.logits, self.calls = logits, 0

    def forward(self, image):
        self.calls += 1
        return self.logits[(self.calls - 1) % len(self.logits)]


def certain(label, size=8):
    logits = torch.zeros(1, COUNT, size, size)
    logits[:, label] = 60.0
    return logits


def test_passes_that_contradict_each_other_are_uncertain_though_each_is_sure():
    image = torch.zeros(1, 1, 8, 8)
    objective = UncertaintyMeanTeacherObjective(passes=2)
    _, trusted = objective.target(Passes(certain(0), certain(0), certain(1)), image, 0.0)
    assert not trusted.any()  # half and half: ln 2, above three quarters of it
    _, trusted = objective.target(Passes(certain(0), certain(1), certain(1)), image, 0.0)
    assert trusted.all()


@pytest.mark.parametrize(("progress", "kept"), [(0.0, False), (1.0, True)])
def test_the_threshold_rises_from_three_quarters_to_the_whole_of_ln_2(progress, kept):
    share = 0.25  # entropy 0.5623, between 0.5216 and 0.6931
    logits = torch.tensor([1 - share, share, 1e-30]).log().view(1, COUNT, 1, 1).expand(1, COUNT, 8, 8)
    entropy = -(share * math.log(share) + (1 - share) * math.log(1 - share))
    assert entropy_threshold(0.0) < entropy < entropy_threshold(1.0)
    image = torch.zeros(1, 1, 8, 8)
    _, trusted = UncertaintyMeanTeacherObjective().target(Passes(logits), image, progress)
    assert trusted.all() if kept else not trusted.any()


def test_the_threshold_may_refer_to_the_classes_of_the_task():
    logits = torch.tensor([0.5, 0.5, 1e-30]).log().view(1, COUNT, 1, 1).expand(1, COUNT, 8, 8)
    image = torch.zeros(1, 1, 8, 8)
    assert not UncertaintyMeanTeacherObjective().target(Passes(logits), image, 1.0)[1].any()
    assert UncertaintyMeanTeacherObjective(entropy_classes=None).target(Passes(logits), image, 1.0)[1].all()


@pytest.mark.parametrize("passes", [1, 8])
def test_the_teacher_is_asked_once_more_than_there_are_passes(passes):
    teacher = Passes(certain(1))
    UncertaintyMeanTeacherObjective(passes=passes).target(teacher, torch.zeros(1, 1, 8, 8), 0.5)
    assert teacher.calls == passes + 1


def test_terms_are_those_of_the_formula():
    student, (labelled, unlabelled) = plain_vnet(), batches()
    mixed = torch.cat([certain(1, SIZE), torch.zeros(1, COUNT, SIZE, SIZE)])  # the second crop is uncertain everywhere
    objective = UncertaintyMeanTeacherObjective(consistency_weight=0.4, consistency_ramp=0.8)
    terms = objective(student, Passes(mixed), labelled, unlabelled, 0.4, 0)
    image = torch.cat([labelled["image"], unlabelled["image"]])
    logits = student(image)
    distance = (logits[2].softmax(0) - certain(1, SIZE)[0].softmax(0)).square().mean()
    torch.testing.assert_close(terms["consistency"], 0.4 * sigmoid_ramp(0.5) * distance)
    torch.testing.assert_close(terms["dice"], 0.5 * SoftDiceLoss()(logits[:2], labelled["label"]))
    expected = 0.5 * nn.functional.cross_entropy(logits[:2], labelled["label"][:, 0])
    torch.testing.assert_close(terms["cross_entropy"], expected)
    assert objective.observed["kept"] == 0.5


def test_where_nothing_is_trusted_nothing_is_learnt():
    student, (labelled, unlabelled) = plain_vnet(), batches()
    unsure = Passes(torch.zeros(2, COUNT, SIZE, SIZE))
    terms = UncertaintyMeanTeacherObjective()(student, unsure, labelled, unlabelled, 1.0, 0)
    terms["consistency"].backward()
    assert terms["consistency"] == 0
    assert all(not p.grad.any() for p in student.parameters() if p.grad is not None)


def test_the_teacher_sees_noise_of_its_own_in_each_pass():
    seen = []

    class Watching(nn.Module):
        def forward(self, image):
            seen.append(image)
            return torch.zeros(len(image), COUNT, *image.shape[2:])

    image = torch.zeros(2, 1, SIZE, SIZE)
    UncertaintyMeanTeacherObjective(passes=3, noise=0.2).target(Watching(), image, 0.5)
    assert all(0 < view.abs().max() <= 0.4 for view in seen)
    assert len({view.sum().item() for view in seen}) == 4


def test_without_unlabelled_crops_it_is_supervised_training():
    student = plain_vnet()
    terms, _ = evaluated(UncertaintyMeanTeacherObjective(), student, unlabelled=0)
    assert list(terms) == ["dice", "cross_entropy"]
