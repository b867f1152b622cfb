"""The seam between what is minimised and who minimises it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from medfs.semisup.teacher import MeanTeacher

Batch = Mapping[str, Tensor]


class SemiSupervisedObjective(nn.Module, ABC):
    """A sum of named losses over a labelled and an unlabelled batch.

    The trainer minimises the sum of the returned terms and logs each one; it updates the teacher itself.

    An objective that trains more than the student, e.g. a second student or a classifier, builds it in its constructor
    and owns it as a submodule: the constructor then takes the student as ``network``, to copy it or to read its sizes,
    and keeps no reference to it. What it remembers, e.g. class frequencies, are buffers. The trainer puts all of it
    into the optimiser's steps, the checkpoints and the exchange between ranks. Only the student, or the teacher that
    follows it, is deployed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.observed: dict[str, Tensor] = {}
        """Figures of the last step to be shown beside its terms, e.g. the share of trusted voxels; not minimised."""

    @abstractmethod
    def forward(
        self,
        student: nn.Module,
        teacher: MeanTeacher,
        labelled: Batch,
        unlabelled: Batch | None,
        progress: float,
        step: int,
    ) -> dict[str, Tensor]:
        """Give the weighted terms, scalars whose sum is minimised.

        Buffers stay as they are: what a step taught belongs into `after_step`, for the step may turn out not finite.

        Args:
            student: the network in training.
            teacher: its moving average, without gradient.
            labelled: ``image`` (B, C, *S) and ``label`` (B, 1, *S), integers.
            unlabelled: ``image`` (U, C, *S); ``None`` when there is no unlabelled case.
            progress: share of the training run that is done, in [0, 1]; schedules refer to it.
            step: number of the step, from 0.
        """

    def after_step(self, student: nn.Module, step: int) -> None:
        """Called after each step that changed the weights, before the teacher follows. Default: nothing.

        Args:
            student: the network in training.
            step: number of the step, from 0.
        """
