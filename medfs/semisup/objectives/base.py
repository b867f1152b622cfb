"""The seam between what is minimised and who minimises it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

Batch = Mapping[str, Tensor]


class SemiSupervisedObjective(nn.Module, ABC):
    """A sum of named losses over a labelled and an unlabelled batch.

    The trainer minimises the sum of the returned terms and logs each one; it updates the teacher itself.
    """

    @abstractmethod
    def forward(
        self, student: nn.Module, teacher: nn.Module, labelled: Batch, unlabelled: Batch | None, progress: float
    ) -> dict[str, Tensor]:
        """Give the weighted terms, scalars whose sum is minimised.

        Args:
            student: the network in training.
            teacher: its moving average, without gradient.
            labelled: ``image`` (B, C, *S) and ``label`` (B, 1, *S), integers.
            unlabelled: ``image`` (U, C, *S); ``None`` when there is no unlabelled case.
            progress: share of the training run that is done, in [0, 1].
        """
