"""Loading by worker processes whose failures say which file and why, in one line."""

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from medfs.errors import InputError, MedfsError, root_cause

_LOOKS, _BETWEEN_LOOKS_S = 50, 0.1


class DescribedItems(Protocol):
    """A dataset that can say what it reads."""

    def __getitem__(self, place: int) -> Any: ...

    def describe(self, place: int) -> str:
        """What ``__getitem__`` reads at a place, without reading it."""
        ...


class ReportingLoader:
    """Batches of a dataset at stated places, by worker processes started with ``forkserver`` where there are any.

    Args:
        dataset: what is loaded.
        places: the places of each batch.
        workers: loader processes; with 0 this process loads.
        collate: makes a batch of the items.

    Raises:
        MedfsError: while iterating: an item cannot be loaded, in one line with what :meth:`DescribedItems.describe`
            says of it.
    """

    def __init__(
        self,
        dataset: DescribedItems,
        places: Sequence[list[int]],
        *,
        workers: int = 0,
        collate: Callable[[list[Any]], Any] = default_collate,
    ) -> None:
        self.dataset, self.places, self.workers, self.collate = dataset, places, workers, collate
        self._reading = torch.full((workers, 2), -1, dtype=torch.int64)  # process and place of each worker
        if workers:
            self._reading.share_memory_()

    def __iter__(self) -> Iterator[Any]:
        loader: DataLoader[Any] = DataLoader(
            _Guarded(self.dataset, self._reading),
            batch_sampler=self.places,
            collate_fn=partial(_collated, collate=self.collate),
            num_workers=self.workers,
            multiprocessing_context="forkserver" if self.workers else None,
            worker_init_fn=_leave_interrupts_to_the_trainer,
            generator=torch.Generator().manual_seed(0),  # leaves the global generator alone
        )
        for batch in loader:
            if isinstance(batch, MedfsError):
                raise batch
            yield batch

    def explain(self, error: Exception) -> MedfsError | None:
        """The death of a worker with what it was reading, if that is why iterating ended in ``error``.

        Torch names the dead process, or a batch that it had ready can no longer be fetched from it. Its socket closes a
        moment before it is over, so a lost connection is given time to prove to be a death.
        """
        if self.workers and isinstance(error, ConnectionError | EOFError):
            error = self._after_a_death(error)
        found = re.match(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)", str(error), re.DOTALL)
        how = found[2].splitlines()[0].strip(" .") if found else "died"
        named = {int(number) for number in found[1].split(",")} if found else set()
        known = {int(process): int(place) for process, place in self._reading.tolist() if process > 0}
        dead = [process for process in known if process in named or (found is None and not _lives(process))]
        if not dead:
            return None
        files = ", ".join(self.dataset.describe(known[process]) for process in dead)
        return MedfsError(f"{files}: the worker that loaded it {how}; out of memory? take fewer workers or more memory")

    def _after_a_death(self, error: Exception) -> Exception:
        """The error to explain once a worker is over, or after a while without."""
        try:
            for _ in range(_LOOKS):
                if not all(_lives(process) for process in self._reading[:, 0].tolist() if process > 0):
                    break
                time.sleep(_BETWEEN_LOOKS_S)
        except RuntimeError as named:  # torch raises its own wherever the end of a child is noticed
            return named
        return error


def _lives(process: int) -> bool:
    multiprocessing.active_children()  # lets the system forget those that have ended
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


class _Guarded(Dataset[Any]):
    """Items, or the errors that kept them from being loaded: an exception would travel as a page of text."""

    def __init__(self, dataset: DescribedItems, reading: Tensor) -> None:
        self.dataset, self.reading = dataset, reading

    def __getitem__(self, place: int) -> Any:
        worker = get_worker_info()
        if worker is not None:
            self.reading[worker.id] = torch.tensor([os.getpid(), place])
        try:
            return self.dataset[place]
        except MedfsError as error:
            return error
        except Exception as error:
            return InputError(f"{self.dataset.describe(place)}: {root_cause(error)}")


def _collated(items: list[Any], collate: Callable[[list[Any]], Any]) -> Any:
    return next((item for item in items if isinstance(item, MedfsError)), None) or collate(items)


def _leave_interrupts_to_the_trainer(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the trainer finishes its step and ends the workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
