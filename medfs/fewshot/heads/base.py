"""The seam between methods: what is extracted from the supports, and how the query is matched with it."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from medfs.losses import Matches, probability_nll
from medfs.types import Features, Prediction, Prototypes


class EpisodeHead(nn.Module, ABC):
    """A few-shot method between the features of an encoder and the segmentation of a query.

    Support features are (B, K, C, *S) at each level, query features (B, C, *S), support masks (B, K, *S) bool on the
    grid of the images. An empty mask is allowed: prototypes and logits are finite. Every constructor argument is kept
    as an attribute of its name and is a plain value, so that a head can be written to a file and built again.

    Attributes:
        alignment_weight: of the prototype alignment loss; 0 where the paper has none.
        alignment_class_weights: of background and foreground in it.
        in_channels: of the encoder's stages.
    """

    alignment_weight: float = 0.0
    alignment_class_weights: tuple[float, float] = (1.0, 1.0)
    in_channels: tuple[int, ...]

    @property
    def prototype_channels(self) -> tuple[int, ...]:
        """Channels of each entry of the prototypes; by default those of the encoder's stages."""
        return self.in_channels

    def prototype_features(self, support: Features) -> Features:
        """The features (B, K, C, *S) that each entry of the prototypes is made of; by default all that are given.

        Args:
            support: (B, K, C, *S) at each level.
        """
        return support

    @abstractmethod
    def extract(self, support: Features, mask: Tensor) -> tuple[Prototypes, ...]:
        """Prototypes of the supports, one entry for each level in use."""

    @abstractmethod
    def match(self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]) -> Prediction:
        """Segment the query with what was extracted; logits (B, 2, *S) on the grid of the masks.

        The truth of the query is not among the arguments: nothing can leak.
        """

    def swapped(self, prediction: Prediction) -> Matches:
        """What alignment runs with the roles of query and support swapped; by default this head.

        A method that decides there with numbers of the first direction gives itself bound to them.

        Args:
            prediction: of the query in the first direction.
        """
        return self

    def loss(self, prediction: Prediction, target: Tensor) -> Tensor:
        """What training minimises; by default the likelihood with weights 0.1 and 1 of background and foreground.

        Args:
            prediction: of the query.
            target: (B, *S), integers; ``medfs.losses.IGNORED`` voxels do not count.
        """
        return probability_nll(prediction.probability, target, (0.1, 1.0))

    def auxiliary(
        self, prediction: Prediction, query: Features, support: Features, mask: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """Further weighted terms of training by name; what needs the truth of the query lives here. Default: none."""
        return {}

    def adapt(
        self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...] | None = None
    ) -> AbstractContextManager[None]:
        """Tune to one episode at test time, on temporary parameters that are restored on exit. Default: nothing.

        Args:
            query: (B, C, *S) at each level.
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
            prototypes: what will be matched, where plug-ins have changed it; None for what is extracted.
        """
        return nullcontext()


class MatchesWith(Matches, Protocol):
    """A head that can match with numbers that another query gave."""

    def match_with(
        self, numbers: Tensor, /, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]
    ) -> Prediction:
        """As :meth:`EpisodeHead.match`, with given numbers (B, n) in the place of its own."""


@dataclass(frozen=True)
class Bound:
    """A head with the numbers of one direction, for alignment in the other.

    Attributes:
        head: matches with numbers that are given.
        numbers: (B, n); one episode may have become several, one for each shot.
    """

    head: MatchesWith
    numbers: Tensor

    def extract(self, support: Features, mask: Tensor) -> tuple[Prototypes, ...]:
        """As the head."""
        return self.head.extract(support, mask)

    def match(self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]) -> Prediction:
        """As the head, with the numbers of the episode that each query came from."""
        numbers = self.numbers.repeat_interleave(len(mask) // len(self.numbers), dim=0)
        return self.head.match_with(numbers, query, support, mask, prototypes)
