"""The episodes of a training run as batches that any step can be replayed from."""

from collections.abc import Iterator
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from medfs.errors import UsageError
from medfs.fewshot.episodes import EpisodeDataset
from medfs.networks.functional import mask_on_grid
from medfs.transforms.loading import ReportingLoader
from medfs.types import Episode


class EpisodeBatches:
    """Batches of episodes for a whole training run.

    Iterating starts at step ``start`` and yields ``steps - start`` batches. Step ``s`` holds the same episodes whatever
    came before it and however many workers load them; ranks of a distributed run take interleaved ones.

    Args:
        dataset: the episodes.
        steps: batches of the whole run.
        batch_size: episodes per batch and rank.
        size: slices that are longer are shrunk so that their longer side has this many pixels; None keeps them.
        workers: loader processes.
        rank: this process.
        ranks: how many there are.

    Raises:
        UsageError: a number is too small.
    """

    def __init__(
        self,
        dataset: EpisodeDataset,
        *,
        steps: int,
        batch_size: int = 1,
        size: int | None = None,
        workers: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if min(steps, batch_size) < 1 or workers < 0 or (size is not None and size < 16):
            raise UsageError(
                f"{steps} steps of {batch_size} episodes, {workers} workers, slices of {size} pixels; "
                "expected at least 1 step, 1 episode and 16 pixels"
            )
        self.dataset, self.steps, self.batch_size, self.size = dataset, steps, batch_size, size
        self.workers, self.rank, self.ranks = workers, rank, ranks
        self.start = 0
        self._loader: ReportingLoader | None = None

    def __len__(self) -> int:
        return self.steps - self.start

    @property
    def loaders(self) -> tuple[ReportingLoader, ...]:
        """What loads the episodes, once iteration has begun."""
        return () if self._loader is None else (self._loader,)

    def __iter__(self) -> Iterator[Episode]:
        first = [(step * self.ranks + self.rank) * self.batch_size for step in range(self.start, self.steps)]
        places = [list(range(place, place + self.batch_size)) for place in first]
        self._loader = ReportingLoader(self.dataset, places, workers=self.workers, collate=Episode.collate)
        for episode in self._loader:
            yield episode if self.size is None else shrink_episode(episode, self.size)


def shrink_episode(episode: Episode, size: int) -> Episode:
    """The same episodes with slices of at most ``size`` pixels along the longer side, as :func:`shrink_images` does.

    An object of a mask never vanishes altogether, as :func:`~medfs.networks.functional.mask_on_grid` has it.
    """
    if max(episode.query_image.shape[-2:]) <= size:
        return episode
    shrunk: dict[str, Tensor] = {
        "support_image": shrink_images(episode.support_image, size),
        "query_image": shrink_images(episode.query_image, size),
    }
    for name in ("support_mask", "query_mask", "support_valid", "query_valid"):
        mask = getattr(episode, name)
        if mask is not None:
            shrunk[name] = shrink_masks(mask, size)
    return replace(episode, **shrunk)  # type: ignore[arg-type]


def shrink_images(images: Tensor, size: int) -> Tensor:
    """Images (..., rows, columns) whose longer side in the plane has at most ``size`` pixels; not smoothed if it has.

    >>> shrink_images(Tensor(2, 1, 40, 30), 20).shape
    torch.Size([2, 1, 20, 15])
    """
    wanted = shrunk_size(images.shape[-2:], size)
    if wanted == tuple(images.shape[-2:]):
        return images
    flat = images.reshape(-1, 1, *images.shape[-2:])
    return F.interpolate(flat, wanted, mode="bilinear", antialias=True).reshape(*images.shape[:-2], *wanted)


def shrink_masks(masks: Tensor, size: int) -> Tensor:
    """Masks (..., rows, columns), bool, on the grid of :func:`shrink_images`."""
    wanted = shrunk_size(masks.shape[-2:], size)
    if wanted == tuple(masks.shape[-2:]):
        return masks
    return mask_on_grid(masks.reshape(-1, *masks.shape[-2:]), wanted).reshape(*masks.shape[:-2], *wanted)


def shrunk_size(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """Rows and columns with at most ``size`` along the longer side, in the same proportion.

    >>> shrunk_size((40, 30), 20), shrunk_size((40, 30), 64)
    ((20, 15), (40, 30))
    """
    scale = min(1.0, size / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
