"""The semi-supervised trainer: one student, its moving average, one objective."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medfs.engines.trainer import StepTrainer
from medfs.errors import UsageError
from medfs.semisup import MeanTeacher, TwoStreamBatches
from medfs.semisup.objectives import SemiSupervisedObjective


class SemiSupervisedTrainer(StepTrainer):
    """Minimise a `SemiSupervisedObjective` over two-stream batches, by counted steps as `StepTrainer` takes them.

    Args:
        device: where the networks live.
        max_epochs: epochs; an epoch is a stretch between two validations.
        train_data_loader: the batches of the whole run.
        epoch_length: steps per epoch.
        network: the student, on ``device``.
        teacher: its moving average, on ``device``.
        optimizer: over the parameters of the student and, if it has any, of the objective.
        objective: what is minimised, on ``device``.
        seed: seed of the steps' random numbers.
        warm_up: share of the run over which the learning rate rises linearly to its value.
        power: the rate then falls as ``(1 - progress / horizon) ** power``.
        horizon: runs after which it would reach 0; published schedules that end early have more than 1.
        gradient_norm: larger gradients are scaled down to this norm.
        patience: consecutive steps without a finite loss after which training stops.
        amp: mixed precision, on a GPU.
        train_handlers: MONAI or ignite handlers.

    Raises:
        DivergedError: ``patience`` consecutive steps gave no finite loss.
        UsageError: a parameter is left out of the optimizer.
    """

    def __init__(
        self,
        device: torch.device,
        max_epochs: int,
        train_data_loader: TwoStreamBatches,
        network: nn.Module,
        teacher: MeanTeacher,
        optimizer: torch.optim.Optimizer,
        objective: SemiSupervisedObjective,
        *,
        epoch_length: int,
        seed: int = 0,
        warm_up: float = 0.02,
        power: float = 0.9,
        horizon: float = 1.0,
        gradient_norm: float = 10.0,
        patience: int = 20,
        amp: bool = False,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            device,
            max_epochs,
            train_data_loader,
            network,
            optimizer,
            epoch_length=epoch_length,
            seed=seed,
            gradient_norm=gradient_norm,
            patience=patience,
            amp=amp,
            train_handlers=train_handlers,
        )
        self.teacher, self.objective = teacher, objective
        self.warm_up, self.power, self.horizon = warm_up, power, horizon
        optimised = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        if left_out := sum(id(parameter) not in optimised for parameter in self.trained()):
            raise UsageError(
                f"optimizer: {left_out} parameters of network or {type(objective).__name__} are left out; expected "
                "those of torch.nn.ModuleList([network, objective])"
            )

    def networks(self) -> dict[str, nn.Module]:
        """The student as ``network``, the teacher and the objective."""
        return {**super().networks(), "teacher": self.teacher, "objective": self.objective}

    def trained(self) -> list[nn.Parameter]:
        """The parameters of the student and of the objective."""
        return super().trained() + [p for p in self.objective.parameters() if p.requires_grad]

    def rate(self, step: int) -> float:
        """Rising over the first ``warm_up`` of the run, then falling towards 0."""
        progress = step / max(1, self.horizon * self.total_steps)
        rising = min(1.0, (step + 1) / max(1.0, self.warm_up * self.total_steps))
        return float(rising * (1 - progress) ** self.power)

    def terms(self, batch: dict[str, Any], step: int) -> dict[str, Tensor]:
        """The terms of the objective."""
        device = self.state.device
        there = {name: {key: value.to(device) for key, value in part.items()} for name, part in batch.items()}
        progress = step / self.total_steps
        return self.objective(self.network, self.teacher, there["labelled"], there.get("unlabelled"), progress, step)

    def observed(self) -> dict[str, Tensor]:
        """What the objective observed."""
        return self.objective.observed

    def moved(self, step: int) -> None:
        """The objective remembers, the teacher follows."""
        self.objective.after_step(self.network, step)
        self.teacher.update(self.network, step)


def deployed_network(student: nn.Module, teacher: MeanTeacher, which: str) -> nn.Module:
    """The network whose weights are validated and kept.

    Args:
        student: the network in training.
        teacher: its moving average.
        which: ``teacher`` or ``student``; published TAK validates and tests the student.

    Raises:
        UsageError: another ``which``.
    """
    if which not in ("teacher", "student"):
        raise UsageError(f"deployed: {which!r}; expected teacher or student")
    return teacher if which == "teacher" else student
