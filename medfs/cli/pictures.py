"""What ``medfs fewshot`` does where its queries are pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medfs.cli.progress import case_reporter, in_part
from medfs.cli.scans import hashes
from medfs.cli.supervision import supervise

if TYPE_CHECKING:
    from rich.console import Console

    from medfs.io import Case

_PUBLISHED_SIZE = 400
_UNTRAINED = (
    "no --checkpoint: the network is untrained, and its random features follow colours and edges alone. "
    "Train one with the bundle cross_domain_text_segmentation."
)


def are_pictures(query: Sequence[str]) -> bool:
    """Whether queries are pictures or folders of them; a folder that also holds scans is one of scans."""
    from medfs.io.names import volume_suffix
    from medfs.io.picture_sets import is_picture

    def holds_pictures(path: Path) -> bool:
        inside = list(path.iterdir()) if path.is_dir() else [path]
        return any(map(is_picture, inside)) and not any(map(volume_suffix, inside))

    return bool(query) and all(holds_pictures(Path(item)) for item in query)


def segment_pictures(
    supports: Sequence["Case"],
    query: Sequence[str],
    output: Path,
    *,
    labels: str,
    text: Sequence[str],
    text_encoder: str | None,
    size: int | None,
    device: str,
    checkpoint: Path | None,
    part: tuple[int, int],
    timeout_min: float | None,
    console: "Console",
) -> int:
    """Write a mask and an overlay for each picture; see :class:`medfs.inference.picture_folder.PictureFolderRun`.

    Args:
        supports: pictures and their masks.
        query: pictures and folders of them.
        output: folder of the results.
        labels: names of the label values from 1 on, separated by commas; empty for class_1, class_2, ...
        text: as for scans.
        text_encoder: as for scans.
        size: rows and columns for the network; None for those of its training, if the checkpoint lies in its run.
        device: as for scans.
        checkpoint: file of the network; None for one that has learned nothing.
        part: as for scans.
        timeout_min: as for scans.
        console: for messages.

    Raises:
        UsageError: supports do not fit.
        InputError: a support is damaged.
    """
    from medfs.io.picture_sets import find_pictures, read_label_slices

    cases = find_pictures(query)
    since = supervise(output, timeout_min)

    from medfs.engines.picture_runs import supported_on_pictures, untrained_on_pictures
    from medfs.fewshot import load_segmentor
    from medfs.inference.organ_texts import tell_organs
    from medfs.inference.picture_folder import PictureFolderRun, PictureLabeller
    from medfs.inference.segmenter import pick_device
    from medfs.text.encoders.base import weights_digest

    pairs = [(case.image, case.label) for case in supports if case.label]
    names = [name.strip() for name in labels.split(",") if name.strip()]
    if not names:
        shown = sorted({int(value) for _, mask in pairs for value in set(read_label_slices(mask).flat)} - {0})
        names = [f"class_{number}" for number in range(1, (shown[-1] if len(shown) > 1 else len(shown)) + 1)]
    if checkpoint is None:
        console.print(_UNTRAINED, markup=False)
    segmentor = untrained_on_pictures() if checkpoint is None else load_segmentor(checkpoint)
    size = size or _trained_size(checkpoint) or _PUBLISHED_SIZE
    prior = tell_organs(segmentor, names, text, text_encoder)
    network = supported_on_pictures(segmentor, pairs, names, size)
    told = {} if prior is None else {"texts": weights_digest({"": prior.embedding})}
    parameters = {"size": size, "labels": names, **told, **hashes(supports, checkpoint, "ifa")}
    console.print(f"{len(cases)} pictures to segment, {', '.join(names)}, seen at {size} x {size} pixels")
    labeller = PictureLabeller(network, size, pick_device(device))
    run = PictureFolderRun(labeller, output, names, parameters, part=part, since=since)
    return int(run.run(cases, case_reporter(in_part(len(cases), part), console)))


def _trained_size(checkpoint: Path | None) -> int | None:
    """The size that the configuration beside a checkpoint states."""
    from medfs.io.datasets import read_json

    configuration = None if checkpoint is None else checkpoint.parent.parent / "configs" / "inference.json"
    stated = read_json(configuration).get("size") if configuration is not None and configuration.is_file() else None
    return stated if isinstance(stated, int) else None
