"""The episodic trainer: a few-shot network learns from one episode after another."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medfs.engines.trainer import StepTrainer
from medfs.fewshot import EpisodeBatches, FewShotSegmentor
from medfs.types import Episode


class EpisodicTrainer(StepTrainer):
    """Minimise the losses of a few-shot network over counted episodes, by steps as `StepTrainer` takes them.

    The statistics of batch normalisation are those of each rank's own episodes; those of rank 0 are kept.

    Args:
        device: where the network lives.
        max_epochs: epochs; an epoch is a stretch between two checkpoints.
        train_data_loader: the episodes of the whole run.
        epoch_length: steps per epoch.
        network: encoder, plug-ins and head, on ``device``.
        optimizer: over its parameters; published: SGD, rate 1e-3, momentum 0.9, weight decay 5e-4.
        decay: factor on the learning rate after every ``decay_steps``.
        decay_steps: steps between two decays.
        seed: seed of the steps' random numbers.
        gradient_norm: larger gradients are scaled down to this norm; published: never.
        patience: consecutive steps without a finite loss after which training stops.
        amp: mixed precision, on a GPU.
        train_handlers: MONAI or ignite handlers.

    Raises:
        DivergedError: ``patience`` consecutive steps gave no finite loss.

    >>> 0.98 ** (32999 // 3000)  # the last factor of DMAP's 33000 steps
    0.8170728068875467
    """

    def __init__(
        self,
        device: torch.device,
        max_epochs: int,
        train_data_loader: EpisodeBatches,
        network: FewShotSegmentor,
        optimizer: torch.optim.Optimizer,
        *,
        epoch_length: int,
        decay: float = 0.98,
        decay_steps: int = 1000,
        seed: int = 0,
        gradient_norm: float = math.inf,
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
        self.segmentor, self.decay, self.decay_steps = network, decay, decay_steps

    def rate(self, step: int) -> float:
        """Stairs: ``decay`` to the number of whole ``decay_steps`` done."""
        return float(self.decay ** (step // self.decay_steps))

    def terms(self, batch: Episode, step: int) -> dict[str, Tensor]:
        """The losses of the network."""
        return self.segmentor.losses(batch.to(self.state.device))
