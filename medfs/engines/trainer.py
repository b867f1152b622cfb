"""One step after another, counted: what the trainers of medfs share."""

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.engines import Trainer
from monai.engines.utils import IterationEvents
from torch import Tensor, nn

from medfs.engines.stopping import StopRequest
from medfs.errors import DivergedError, InputError
from medfs.io import atomic
from medfs.transforms.loading import ReportingLoader


class Batches(Protocol):
    """The batches of a whole run; iterating begins at the step ``start``."""

    start: int

    @property
    def loaders(self) -> Sequence[ReportingLoader]:
        """What loads them."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class StepTrainer(Trainer):
    """Minimise a sum of terms over batches that are counted from the first step of the run.

    Each step draws its random numbers from ``(seed, step)``, so a run resumed at a step repeats the uninterrupted one
    bit for bit on a CPU. Gradients are averaged over the ranks of a distributed run by the trainer itself, which
    leaves a method free to call any part of the network any number of times. A step without a finite loss or gradient
    changes nothing.

    Args:
        device: where the networks live.
        max_epochs: epochs; an epoch is a stretch between two checkpoints.
        train_data_loader: the batches of the whole run.
        network: what is trained, on ``device``.
        optimizer: over its parameters.
        epoch_length: steps per epoch.
        seed: seed of the steps' random numbers.
        gradient_norm: larger gradients are scaled down to this norm.
        patience: consecutive steps without a finite loss after which training stops.
        amp: mixed precision, on a GPU.
        train_handlers: MONAI or ignite handlers.

    Raises:
        DivergedError: ``patience`` consecutive steps gave no finite loss.
    """

    def __init__(
        self,
        device: torch.device,
        max_epochs: int,
        train_data_loader: Batches,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        epoch_length: int,
        seed: int,
        gradient_norm: float,
        patience: int,
        amp: bool,
        train_handlers: Sequence[Any] | None,
    ) -> None:
        super().__init__(
            device,
            max_epochs,
            train_data_loader,
            epoch_length=epoch_length,
            amp=amp,
            decollate=False,
            handlers=train_handlers,
        )
        self.logger.addFilter(_told_once)
        self.network, self.optimizer, self.batches = network, optimizer, train_data_loader
        self.seed, self.gradient_norm, self.patience = seed, gradient_norm, patience
        self._failures = 0
        self.stop_request, self.stopping = StopRequest(), False
        self.add_event_handler(Events.ITERATION_COMPLETED, self._stop_within_epoch)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._stop_after_epoch)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])

    @abstractmethod
    def rate(self, step: int) -> float:
        """Factor on the initial learning rate at a step."""

    @abstractmethod
    def terms(self, batch: Any, step: int) -> dict[str, Tensor]:
        """What a batch adds to the loss, by name; the batch is not on the device yet."""

    def observed(self) -> dict[str, Tensor]:
        """Figures of the last step to be shown beside its terms. Default: none."""
        return {}

    def moved(self, step: int) -> None:
        """Called after each step that changed the network. Default: nothing."""

    def networks(self) -> dict[str, nn.Module]:
        """Everything with weights or a memory, by its name in a checkpoint."""
        return {"network": self.network}

    def trained(self) -> list[nn.Parameter]:
        """What the optimiser moves, the same list on every rank."""
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return int(self.state.max_epochs * self.state.epoch_length)

    def run(self) -> None:  # type: ignore[override]
        """Train from the current step to the last; every rank starts from the weights of rank 0.

        On SIGINT or SIGTERM the step is finished, or the epoch if it was its last step, and the handlers may save; the
        signal is obeyed then. A second one is obeyed at once.

        Raises:
            KeyboardInterrupt: SIGINT came.
            SystemExit: SIGTERM came.
            MedfsError: a loader process died; the file it was reading is named.
        """
        if dist.is_initialized():
            for network in self.networks().values():
                for tensor in network.state_dict().values():
                    dist.broadcast(tensor, src=0)
        self.batches.start = self.state.iteration
        if self.state.iteration < self.total_steps:
            with StopRequest() as self.stop_request:
                try:
                    super().run()
                except (RuntimeError, OSError, EOFError) as error:
                    raise self._explained(error) from error
            self.stop_request.obey()

    def state_of_run(self) -> dict[str, Any]:
        """Everything a resumed run needs, as tensors and plain values."""
        return {
            "step": self.state.iteration,
            "epoch_length": self.state.epoch_length,
            **{name: network.state_dict() for name, network in self.networks().items()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else {},
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Continue after the last whole epoch of `state_of_run`.

        Raises:
            InputError: the state is that of other networks.
        """
        try:
            for name, network in self.networks().items():
                network.load_state_dict(state.get(name, {}))
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"checkpoint of step {state.get('step')}: {name} or its optimizer is of another training; resume with "
                "the configuration that the run was started with"
            ) from error
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.state.iteration = int(state["step"])
        self.state.epoch = self.state.iteration // int(self.state.epoch_length)

    def _explained(self, error: Exception) -> Exception:
        """The death of a loader process, which torch reports anywhere in a step, with the file it was reading."""
        deaths = (loader.explain(error) for loader in self.batches.loaders)
        return next((death for death in deaths if death is not None), error)

    def _stop_within_epoch(self) -> None:
        # After its last step an epoch is still to be validated, or a resumed run would not know its best.
        if self.state.iteration % int(self.state.epoch_length):
            self._stop_after_epoch()

    def _stop_after_epoch(self) -> None:
        asked = self.stop_request.number is not None
        if dist.is_initialized():  # the ranks stop at the same step, or those left would wait for the others
            flag = torch.tensor([float(asked)], device=self.state.device)
            dist.all_reduce(flag, dist.ReduceOp.MAX)
            asked = bool(flag.item())
        if asked:
            self.stopping = True
            self.terminate()

    def _iteration(self, engine: Any, batchdata: Any) -> dict[str, Any]:
        step = self.state.iteration - 1  # ignite counts the running iteration from 1
        torch.manual_seed(_mixed(self.seed, step, self.state.rank))
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.rate(step)
        for network in self.networks().values():
            network.train()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.state.device.type, enabled=self.amp):
            terms = self.terms(batchdata, step)
            loss = torch.stack(list(terms.values())).sum()
        if self._step(loss):
            atomic.reached("before_moved")
            self.moved(step)
            atomic.reached("after_step")
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        shown = {**terms, **self.observed()}
        return {"loss": loss.detach(), **{name: value.detach() for name, value in shown.items()}}

    def _step(self, loss: Tensor) -> bool:
        """Move the network one step unless the loss or its gradient is not finite on some rank."""
        scaler = self.scaler if self.amp else None
        (scaler.scale(loss) if scaler else loss).backward()
        _average_over_ranks(self.trained())  # before unscaling, so that all ranks find the same overflow
        if scaler:
            scaler.unscale_(self.optimizer)
        atomic.reached("before_optimizer")
        norm = nn.utils.clip_grad_norm_(self.trained(), self.gradient_norm)
        finite = bool(torch.isfinite(norm))
        if scaler:
            scaler.step(self.optimizer)
            scaler.update()
        elif finite:
            self.optimizer.step()
        self._failures = 0 if finite else self._failures + 1
        if self._failures >= self.patience:
            raise DivergedError(
                f"step {self.state.iteration}: loss or gradient not finite in {self._failures} steps running; "
                "lower the learning rate or look for broken intensities with medfs segment --stats on one case"
            )
        return finite


def _told_once(record: logging.LogRecord) -> bool:
    """Whether a line of ignite says more than the exception that it raises as well."""
    return "is terminating due to exception" not in record.getMessage()


def _average_over_ranks(parameters: list[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the ranks; a parameter without one counts as zero."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, mean in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = mean.view_as(parameter).clone()


def _mixed(seed: int, step: int, rank: int) -> int:
    """One 63-bit seed out of three counters."""
    return (seed * 1_000_003 + step * 10_007 + rank) % (2**63)
