"""Episodes of a folder: made ready, counted, and drawn on a page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from medfs.errors import InputError, UsageError
from medfs.export.tiles import Tile, hung_tile, write_tiles
from medfs.fewshot import EpisodeCase, EpisodeDataset, prepare_case
from medfs.fewshot.modes import View
from medfs.io import Case

_TILES_ACROSS = 4


@dataclass(frozen=True, slots=True)
class PreparedFolder:
    """What became of the cases of a folder.

    Attributes:
        cases: those that are ready.
        failures: one line for each of the others.
    """

    cases: tuple[EpisodeCase, ...]
    failures: tuple[str, ...]


def supervoxel_folder(dataset: str | Path) -> Path:
    """The folder beside ``images/`` that holds supervoxels: ``supervoxels``, or the only one whose name begins so.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = sorted(path for path in Path(dataset).glob("supervoxels*") if path.is_dir())
    plain = [path for path in found if path.name == "supervoxels"] or found
    if len(plain) != 1:
        several = ", ".join(path.name for path in found) or "none"
        raise UsageError(
            f"{dataset}: folders of supervoxels: {several}; name one with --supervoxels, "
            f"or make one with `medfs supervoxels {Path(dataset) / 'images'} -o {Path(dataset) / 'supervoxels'}`"
        )
    return plain[0]


def prepare_folder(
    cases: Iterable[Case], objects: Mapping[str, Path] | None, cache_dir: str | Path, *, needs_labels: bool = False
) -> PreparedFolder:
    """Make every case ready that can be; the others are reported and do not stop the rest.

    Args:
        cases: of the folder; asked for one after the other, so that an iterator can show progress.
        objects: supervoxel map by case name; None draws from the label maps.
        cache_dir: for the arrays.
        needs_labels: whether a case without a label map is of no use.

    Raises:
        StorageError: the cache cannot be written.
    """
    ready, failures = [], []
    for case in cases:
        found = case.label if objects is None else objects.get(case.name)
        if case.label is None and (needs_labels or objects is None):
            failures.append(f"{case.name}: has no label map")
        elif found is None:
            failures.append(f"{case.name}: has no supervoxels")
        else:
            try:
                ready.append(prepare_case(case, found, cache_dir))
            except InputError as error:
                failures.append(str(error))
    return PreparedFolder(tuple(ready), tuple(failures))


def write_episode_page(path: str | Path, dataset: EpisodeDataset, count: int) -> None:
    """Write a PNG of the first episodes of a dataset, supports and query side by side with their outlines.

    Of a volume, the slice that shows most of the object is drawn; the caption numbers it, and the block it is from.

    Args:
        path: the file, ``*.png``; its folder must exist.
        dataset: the episodes, drawn as training sees them, augmentation included.
        count: how many.

    Raises:
        UsageError: the name has another suffix, or ``count`` is below 1.
        StorageError: the file cannot be written.
    """
    episodes = [_tiles(dataset, place) for place in range(count)]
    together = max(1, _TILES_ACROSS // max(map(len, episodes), default=1))
    rows = [list(chain(*episodes[first : first + together])) for first in range(0, count, together)]
    sampler = dataset.sampler
    facts = (
        f"seed {sampler.seed}, {sum(table.count for table in sampler.tables)} windows in {len(sampler.tables)} cases"
    )
    if sampler.exclusion.organs:
        excluded = ", ".join(map(str, sampler.exclusion.organs))
        facts += f"; slices with {sampler.exclusion.policy} of the labels {excluded} left out"
    write_tiles(path, rows, (f"{count} episodes: {sampler.mode}", facts))


def _tiles(dataset: EpisodeDataset, place: int) -> list[Tile]:
    draw, episode = dataset.sampler.draw(*divmod(place, dataset.length)), dataset[place]
    assert episode.query_mask is not None
    what = episode.class_name[0] if episode.class_name else f"supervoxel {draw.object_id}"
    images = [*episode.support_image[0, :, 0].numpy(), episode.query_image[0, 0].numpy()]
    masks = [*episode.support_mask[0].numpy(), episode.query_mask[0].numpy()]
    roles = ["support"] * len(draw.supports) + ["query"]
    views = (*draw.supports, draw.query)
    return [
        _tile(dataset.sampler.cases[view.case], view, image, mask, f"{place + 1} {role}: {what}", place)
        for view, image, mask, role in zip(views, images, masks, roles, strict=True)
    ]


def _tile(case: EpisodeCase, view: View, image: np.ndarray, mask: np.ndarray, title: str, group: int) -> Tile:
    if image.ndim == 3:
        best = int(mask.sum(axis=(1, 2)).argmax())
        image, mask = image[best], mask[best]
        shown, block = view.start + best, f" ({view.start + 1} to {view.stop})"
    else:
        shown, block = view.start, ""
    rows, columns = (axis for axis in (2, 1, 0) if axis != case.index.axis)
    caption = (title, f"{case.name}, slice {shown + 1} of {case.index.length}{block}")
    return hung_tile(image, mask, case.affine, (rows, columns), caption, group)
