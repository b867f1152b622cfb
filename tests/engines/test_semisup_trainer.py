"""Rate, deployment and resumption of the semi-supervised trainer."""

import pytest
import torch
from torch import nn

from medfs.engines import SemiSupervisedTrainer, deployed_network
from medfs.errors import InputError, UsageError
from medfs.semisup import CropStream, MeanTeacher, TwoStreamBatches
from medfs.semisup.objectives import SupervisedObjective


def trainer_of(steps, network=None, **options):
    network = network or nn.Conv2d(1, 2, 3)
    batches = TwoStreamBatches(CropStream([{}], dict, seed=0), steps=steps)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    device, teacher = torch.device("cpu"), MeanTeacher(network)
    return SemiSupervisedTrainer(
        device, 1, batches, network, teacher, optimizer, SupervisedObjective(), epoch_length=steps, **options
    )


@pytest.mark.parametrize(("steps", "last"), [(34_132, 0.0055), (33_166, 0.0056), (31_395, 0.0059)])
def test_fault_5_the_published_rate_is_one_of_70_000_steps(steps, last):
    trainer = trainer_of(steps, warm_up=0.0, horizon=70_000 / steps)
    assert 0.01 * trainer.rate(steps) == pytest.approx(last, abs=5e-5)
    assert trainer.rate(20_000) == pytest.approx((1 - 20_000 / 70_000) ** 0.9)
    assert trainer_of(steps).rate(steps) == 0


def test_fault_8_student_or_teacher_is_deployed_by_name():
    student = nn.Linear(2, 2)
    teacher = MeanTeacher(student)
    assert deployed_network(student, teacher, "student") is student
    assert deployed_network(student, teacher, "teacher") is teacher
    with pytest.raises(UsageError, match="expected teacher or student"):
        deployed_network(student, teacher, "ema")


def test_a_state_of_another_training_is_one_line():
    state = trainer_of(4).state_of_run()
    with pytest.raises(InputError, match="of another training") as caught:
        trainer_of(4, nn.Conv2d(1, 3, 3)).resume(state)
    assert "\n" not in str(caught.value)


def test_a_state_from_before_objectives_had_one_is_resumed():
    state = trainer_of(4).state_of_run()
    del state["objective"]
    trainer = trainer_of(4)
    with torch.no_grad():
        for parameter in trainer.network.parameters():
            parameter.add_(1.0)
    trainer.resume(state)
    for name, value in trainer.network.state_dict().items():
        torch.testing.assert_close(value, state["network"][name])
