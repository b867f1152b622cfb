"""The moving average in closed form, and the ramp as published."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from medfs.semisup import MeanTeacher, sigmoid_ramp


class Scalar(nn.Module):
    """A weight, a floating and an integer buffer."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value], dtype=torch.float64))
        self.register_buffer("mean", torch.tensor([value], dtype=torch.float64))
        self.register_buffer("count", torch.tensor(int(value)))

    def forward(self, image):
        return image * self.weight


def averaged(values, decay=0.99):
    """The weights of the moving average, written out: the weight of value s in the average after the last step."""
    alphas = [min(1 - 1 / (step + 1), decay) for step in range(len(values))]
    shares = [(1 - alphas[s]) * math.prod(alphas[s + 1 :]) for s in range(len(values))]
    return float(np.dot(shares, values))


@pytest.mark.parametrize("decay", [0.99, 0.5])
def test_the_average_has_its_closed_form(decay):
    values = np.random.default_rng(0).normal(size=150).tolist()
    teacher = MeanTeacher(Scalar(7.0), decay)
    for step, value in enumerate(values):
        teacher.update(Scalar(value), step)
        assert float(teacher.network.weight) == pytest.approx(averaged(values[: step + 1], decay), abs=1e-12)
        assert float(teacher.network.mean) == pytest.approx(float(teacher.network.weight), abs=1e-15)


def test_the_first_update_copies_the_student():
    teacher = MeanTeacher(Scalar(7.0))
    teacher.update(Scalar(-2.5), 0)
    assert float(teacher.network.weight) == -2.5


def test_early_updates_are_the_plain_mean():
    teacher = MeanTeacher(Scalar(0.0))
    for step in range(50):
        teacher.update(Scalar(float(step)), step)
    assert float(teacher.network.weight) == pytest.approx(24.5)


def test_integer_buffers_are_copied():
    teacher = MeanTeacher(Scalar(1.0))
    teacher.update(Scalar(9.0), 30)
    assert int(teacher.network.count) == 9


def test_the_teacher_is_a_copy_without_gradients():
    student = Scalar(2.0)
    teacher = MeanTeacher(student)
    assert student.weight.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    with torch.no_grad():
        student.weight.fill_(5.0)
    assert float(teacher.network.weight) == 2.0
    assert float(teacher(torch.ones(1, dtype=torch.float64))) == 2.0


def test_a_student_of_another_type_is_followed_in_the_teacher_s_own():
    student = nn.Linear(3, 2)
    teacher = MeanTeacher(student)
    teacher.update(student.to(torch.bfloat16), 4)
    assert {parameter.dtype for parameter in teacher.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("epoch", "weight"), [(0, 0.00067), (20, 0.0022), (40, 0.0060), (80, 0.0287), (120, 0.073), (160, 0.1)]
)
def test_the_ramp_gives_the_published_weights_of_160_epochs(epoch, weight):
    assert 0.1 * sigmoid_ramp(epoch / 160) == pytest.approx(weight, rel=0.02)


def test_the_ramp_rises_and_stays_within_its_ends():
    values = [sigmoid_ramp(progress) for progress in np.linspace(-0.5, 1.5, 41)]
    assert values == sorted(values)
    assert values[0] == math.exp(-5)
    assert values[-1] == 1.0
