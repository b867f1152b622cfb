"""Two streams of random crops, labelled and unlabelled, that any step can be replayed from.

Randomness is counted, not carried: the crop number ``n`` of a stream depends on the seed and ``n`` alone. A resumed run
therefore continues with exactly the crops it would have seen, whatever the number of workers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from medfs.errors import UsageError
from medfs.transforms.loading import ReportingLoader

Item = Mapping[str, Any]


class CropStream(Dataset[Item]):
    """Random crops of a list of cases, addressed by their place in an endless stream.

    Every run of ``len(cases)`` consecutive crops visits each case once, in an order of its own.

    Args:
        cases: prepared cases, e.g. a `monai.data.CacheDataset`; indexing gives a dictionary.
        transform: random dictionary transform with ``set_random_state(seed=...)``, giving **one** dictionary or a
            list of one.
        seed: seed of this stream.
        files: the file of each case, for messages.

    Raises:
        UsageError: there is no case.
    """

    def __init__(
        self, cases: Sequence[Item], transform: Callable[[Item], Any], *, seed: int, files: Sequence[str] = ()
    ) -> None:
        if len(cases) == 0:
            raise UsageError("a stream of crops needs at least one case, none was given")
        self.cases, self.transform, self.seed, self.files = cases, transform, seed, files

    def _case(self, place: int) -> int:
        turn, position = divmod(place, len(self.cases))
        return int(np.random.default_rng([self.seed, 0, turn]).permutation(len(self.cases))[position])

    def describe(self, place: int) -> str:
        """The file of a crop, or the number of its case."""
        case = self._case(place)
        return self.files[case] if self.files else f"case {case}"

    def __getitem__(self, place: int) -> Item:
        crop_seed = int(np.random.default_rng([self.seed, 1, place]).integers(2**32))
        self.transform.set_random_state(seed=crop_seed)  # type: ignore[attr-defined]
        crop = self.transform(dict(self.cases[self._case(place)]))
        crop = crop[0] if isinstance(crop, list) else crop
        return {key: torch.as_tensor(np.asarray(value)) for key, value in crop.items() if key in ("image", "label")}


class TwoStreamBatches:
    """Batches ``{"labelled": ..., "unlabelled": ...}`` for a whole training run.

    Each stream is a dictionary of ``image`` (B, C, *S) and, when labelled, ``label`` (B, 1, *S). Iterating starts
    at ``start`` and yields ``steps - start`` batches; ranks of a distributed run take interleaved crops.

    Args:
        labelled: stream of cases with a label.
        unlabelled: stream of cases without; ``None`` for supervised training, batches then hold no such key.
        batch_size: labelled crops per batch and rank.
        unlabelled_batch_size: unlabelled crops per batch and rank.
        steps: batches of the whole run.
        workers: loader processes.
        rank, ranks: this process and how many there are.
    """

    def __init__(
        self,
        labelled: CropStream,
        unlabelled: CropStream | None = None,
        *,
        steps: int,
        batch_size: int = 2,
        unlabelled_batch_size: int = 2,
        workers: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.streams = {"labelled": (labelled, batch_size)}
        if unlabelled is not None:
            self.streams["unlabelled"] = (unlabelled, unlabelled_batch_size)
        self.steps, self.workers, self.rank, self.ranks = steps, workers, rank, ranks
        self.start = 0
        self._loaders: dict[str, ReportingLoader] = {}

    def __len__(self) -> int:
        return self.steps - self.start

    def _places(self, batch_size: int) -> list[list[int]]:
        """Places in the stream of every batch from ``start`` on."""
        first = [(step * self.ranks + self.rank) * batch_size for step in range(self.start, self.steps)]
        return [list(range(place, place + batch_size)) for place in first]

    @property
    def loaders(self) -> tuple[ReportingLoader, ...]:
        """What loads the streams, as far as iteration has begun."""
        return tuple(self._loaders.values())

    def __iter__(self) -> Iterator[dict[str, dict[str, torch.Tensor]]]:
        self._loaders = {
            name: ReportingLoader(stream, self._places(size), workers=self.workers)
            for name, (stream, size) in self.streams.items()
        }
        for batches in zip(*self._loaders.values(), strict=True):
            yield dict(zip(self._loaders, batches, strict=True))
