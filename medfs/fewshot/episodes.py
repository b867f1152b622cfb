"""Episodes as a torch dataset: the same ones for any number of workers, from any place on."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medfs.errors import UsageError
from medfs.fewshot.modes import View
from medfs.fewshot.sampling import EpisodeSampler, counted_random
from medfs.networks.encoders import relative_positions
from medfs.transforms.episodes import EpisodeAugmentation
from medfs.types import Episode

_MOST_OPEN = 100  # cases; each keeps two files open, and a process may have 1024

Side = tuple[NDArray[np.float32], NDArray[np.bool_]]


class EpisodeDataset(Dataset[Episode]):
    """Episodes of one image channel, addressed by their place in an endless stream.

    Episode ``place`` is number ``place % length`` of epoch ``place // length``: a run that resumes asks for the places
    it has not seen. Use :meth:`Episode.collate` as ``collate_fn`` of a data loader.

    Args:
        sampler: what to draw.
        augmentation: of one side of the pair, coins deciding for contrast and warp; of both in modes that want so.
            None leaves the images as they are.
        length: episodes of an epoch.
        names: class name by label value, for objects that are organs.
        positions: give images where each place lies in the scan, as further channels, for encoders with positions.

    Raises:
        UsageError: the length is below 1, or an organ has no name in ``names``.
    """

    def __init__(
        self,
        sampler: EpisodeSampler,
        augmentation: EpisodeAugmentation | None,
        *,
        length: int = 1000,
        names: Mapping[int, str] | None = None,
        positions: bool = False,
    ) -> None:
        if length < 1:
            raise UsageError(f"an epoch of {length} episodes; expected at least 1")
        nameless = {int(i) for table in sampler.tables for i in table.ids} - set(names) if names is not None else ()
        if nameless:
            raise UsageError(f"label values {sorted(nameless)[:5]} have no name; name every organ that is drawn")
        self.sampler, self.augmentation, self.length, self.names = sampler, augmentation, length, names
        self.positions = positions
        self._opened: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Episode]:
        """The first epoch."""
        return (self[place] for place in range(self.length))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}  # a worker opens the files itself

    def describe(self, place: int) -> str:
        """The cases and cached files that an episode is cut from."""
        draw = self.sampler.draw(*divmod(place, self.length))
        cases = {view.case: self.sampler.cases[view.case] for view in (*draw.supports, draw.query)}
        return ", ".join(f"{case.name} ({case.image_file})" for case in cases.values())

    def __getitem__(self, place: int) -> Episode:
        """One episode (B = 1); images (1, K, C, *S) and (1, C, *S), C being 1, with positions 1 + axes."""
        if place < 0:
            raise IndexError(f"episode {place}; places count from 0")
        epoch, index = divmod(place, self.length)
        draw = self.sampler.draw(epoch, index)
        random = counted_random(self.sampler.seed, 1, epoch, index)
        cut = [self._side(view, draw.object_id, random) for view in (*draw.supports, draw.query)]
        sides = [side for side, _ in cut]
        if self.augmentation is not None:
            sides = self._augmented(sides, self.augmentation, random)
        images = [torch.from_numpy(image)[None] for image, _ in sides]
        if self.positions:
            images = [torch.cat([image, places]) for image, (_, places) in zip(images, cut, strict=True)]
        *supports, query = zip(images, (torch.from_numpy(mask) for _, mask in sides), strict=True)
        return Episode.of(supports, query, None if self.names is None else self.names[draw.object_id])

    def _side(self, view: View, object_id: int, random: np.random.Generator) -> tuple[Side, Tensor]:
        """Image and mask of a view, and where in the scan it lies."""
        image, objects = self._arrays(view.case)
        mask = objects[view.start : view.stop] == object_id
        window: tuple[slice, ...] = (slice(None), slice(None))
        if self.sampler.mode.in_plane is not None:
            window = place_crop(mask, self.sampler.mode.in_plane, random)
        side = image[(slice(view.start, view.stop), *window)].copy(), mask[(slice(None), *window)]
        if self.sampler.mode.flat:
            return (side[0][0], side[1][0]), relative_positions(image.shape[1:])[(slice(None), *window)]
        return side, relative_positions(image.shape)[(slice(None), slice(view.start, view.stop), *window)]

    def _augmented(
        self, sides: list[Side], augmentation: EpisodeAugmentation, random: np.random.Generator
    ) -> list[Side]:
        every = range(len(sides))
        halves = (every[:-1], every[-1:])
        bent, warped = (every if self.sampler.mode.augments_all else halves[random.integers(2)] for _ in range(2))
        result = []
        for number, (image, mask) in enumerate(sides):
            if number in bent:
                image = augmentation.change_contrast(image, random)
            if number in warped:
                image, mask = augmentation.warp(image, mask, random)
            result.append((image, mask))
        return result

    def _arrays(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        if case not in self._opened:
            if len(self._opened) >= _MOST_OPEN:
                del self._opened[next(iter(self._opened))]
            image, objects = self.sampler.cases[case].open()
            self._opened[case] = np.asarray(image), np.asarray(objects)  # plain arrays slice faster than memmaps
        return self._opened[case]


def place_crop(mask: NDArray[np.bool_], size: tuple[int, int], random: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a crop that shows the object: all of it where it fits, else a part.

    Args:
        mask: (slices, rows, columns), not empty.
        size: rows and columns; an axis that is shorter is taken whole.
        random: decides where between the possible places.
    """
    pixels = np.argwhere(mask.any(axis=0))
    anchor, low, high = pixels[random.integers(len(pixels))], pixels.min(axis=0), pixels.max(axis=0) + 1
    window = []
    for axis, wanted in enumerate(size):
        length = mask.shape[axis + 1]
        wanted = min(wanted, length)
        first = max(min(low[axis], high[axis] - wanted), anchor[axis] - wanted + 1, 0)
        last = min(max(low[axis], high[axis] - wanted), anchor[axis], length - wanted)
        start = int(random.integers(first, last + 1))
        window.append(slice(start, start + wanted))
    return window[0], window[1]
