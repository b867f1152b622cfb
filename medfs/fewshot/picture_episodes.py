"""2D episodes: a class, a query picture and K support pictures of other patients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from medfs.errors import UsageError
from medfs.fewshot.pictures import PictureItem, PictureSet
from medfs.fewshot.sampling import counted_random
from medfs.types import Episode

_STREAM = 2  # of random numbers, besides those of the episodes of volumes


@dataclass(frozen=True, slots=True)
class PictureDraw:
    """What an episode shows."""

    class_name: str
    query: PictureItem
    supports: tuple[PictureItem, ...]


class PictureEpisodes(Dataset[Episode]):
    """Episodes of pictures, addressed by their place in an endless stream as those of `EpisodeDataset`.

    Place ``p`` asks for class ``p % classes``. Its query is any picture of the class, its supports are of other
    patients than the query's and of one another's; a picture is a patient of its own. All chances are equal.

    Args:
        pictures: the dataset.
        shots: supports of an episode.
        length: episodes of an epoch.
        classes: names; None for all that enough patients show.
        seed: another seed, other episodes.

    Raises:
        UsageError: a number is too small, a class is unknown, or no class is shown by more patients than there are
            shots.

    **Differs from the paper**: PATNet draws supports with replacement, so that five shots may show one picture twice,
    and takes the pictures of the source one after the other, so that frequent classes count more in training.
    """

    def __init__(
        self,
        pictures: PictureSet,
        *,
        shots: int = 1,
        length: int = 1000,
        classes: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        if min(shots, length) < 1 or seed < 0:
            raise UsageError(f"{length} episodes of {shots} shots, seed {seed}; expected at least 1, 1 and 0")
        if unknown := sorted(set(classes or ()) - set(pictures.items)):
            raise UsageError(f"{unknown[0]}: no class of {pictures.folder}; it has {', '.join(pictures.items)}")
        self.pictures, self.shots, self.length, self.seed = pictures, shots, length, seed
        self.by_patient = {name: self._patients(name) for name in classes or pictures.items}
        self.classes = tuple(name for name, found in self.by_patient.items() if len(found) > shots)
        lacking = [name for name in self.by_patient if name not in self.classes]
        if not self.classes or (classes and lacking):
            raise UsageError(
                f"{pictures.folder}: {', '.join(lacking)} shown by at most {shots} patients; "
                f"{shots} supports and a query of different patients are needed"
            )

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Episode]:
        """The first epoch."""
        return (self[place] for place in range(self.length))

    def draw(self, place: int) -> PictureDraw:
        """The episode at a place, the same whatever was drawn before.

        Raises:
            IndexError: the place is negative.
        """
        if place < 0:
            raise IndexError(f"episode {place}; places count from 0")
        name = self.classes[place % len(self.classes)]
        random = counted_random(self.seed, _STREAM, *divmod(place, self.length))
        items = self.pictures.items[name]
        query = items[random.integers(len(items))]
        others = [found for patient, found in self.by_patient[name].items() if patient != self.pictures.patient(query)]
        chosen = [others[number] for number in random.choice(len(others), self.shots, replace=False)]
        return PictureDraw(name, query, tuple(found[random.integers(len(found))] for found in chosen))

    def __getitem__(self, place: int) -> Episode:
        """One episode (B = 1), images (1, K, 3, *S) and (1, 3, *S); pixels that are not annotated are not valid."""
        draw = self.draw(place)
        shown = [(self.pictures.image(item), *self.pictures.masks(item, draw.class_name)) for item in draw.supports]
        query, valid = self.pictures.masks(draw.query, draw.class_name)
        return Episode(
            support_image=torch.stack([image for image, _, _ in shown])[None],
            support_mask=torch.stack([mask for _, mask, _ in shown])[None],
            query_image=self.pictures.image(draw.query)[None],
            query_mask=query[None],
            class_name=(draw.class_name,),
            query_valid=None if valid.all() else valid[None],
        )

    def _patients(self, name: str) -> dict[str, list[PictureItem]]:
        found: dict[str, list[PictureItem]] = {}
        for item in self.pictures.items[name]:
            found.setdefault(self.pictures.patient(item), []).append(item)
        return found
