"""Cross-domain runs: networks that learned on pictures of one kind and are tested on those of another."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfs.engines.episodic_runs import episode_batches as episode_batches
from medfs.engines.episodic_runs import write_episodic_run as write_episodic_run
from medfs.errors import InputError, UsageError
from medfs.fewshot import FewShotSegmentor, PictureEpisodes, PictureSet, SupportedSegmentor, load_segmentor
from medfs.fewshot.heads import IFAHead
from medfs.fewshot.picture_scores import PictureScore, score_pictures
from medfs.fewshot.plugins import CDTGPlugin, EpisodePlugin
from medfs.io import atomic_path, make_folder
from medfs.io.names import shown
from medfs.io.picture_sets import read_label_slices, read_pictures
from medfs.losses import IGNORED
from medfs.metrics import over_seeds
from medfs.networks import ResNetStagesEncoder
from medfs.text import TextPrior
from medfs.text.prompts import BACKGROUND
from medfs.transforms.pictures import normalised, stretched, stretched_labels

_FIRST_GREY = 128  # edges of masks of 0 and 255 reach beyond, label values do not


def text_plugins(head: Any, prior: TextPrior | None, **options: Any) -> list[EpisodePlugin]:
    """The CD-TG plug-in for a head and the vectors that it reads; none without vectors.

    Args:
        head: gives the widths of its prototypes.
        prior: vectors of the background and the classes.
        options: of :class:`~medfs.fewshot.plugins.CDTGPlugin`.
    """
    return [] if prior is None else [CDTGPlugin(head.prototype_channels, prior.width, **options)]


def with_texts(segmentor: FewShotSegmentor, prior: TextPrior | None) -> FewShotSegmentor:
    """The same network with the texts of other classes; one that reads none stays as it is.

    Raises:
        UsageError: the network reads texts and there are none, or they are of another encoder.
    """
    if segmentor.text_prior is None:
        return segmentor
    if prior is None:
        raise UsageError("the network reads texts; give text_prior, vectors of the classes from the same encoder")
    segmentor.text_prior.check_compatible(prior)
    segmentor.text_prior = prior
    return segmentor


def stored_or_untrained(checkpoint: str | Path) -> FewShotSegmentor:
    """The network of a file, or without the file one that has learned nothing, to check a bundle with."""
    return load_segmentor(checkpoint) if Path(checkpoint).is_file() else untrained_on_pictures()


def untrained_on_pictures(seed: int = 0) -> FewShotSegmentor:
    """IFA on a small network with random weights, the same for one seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = ResNetStagesEncoder(18, dilate=(True, True))
        return FewShotSegmentor(encoder, IFAHead(encoder.out_channels)).eval()


def require_weights(checkpoint: str | Path) -> None:
    """Return if there is a file of weights.

    Raises:
        InputError: there is none.
    """
    if not Path(checkpoint).is_file():
        raise InputError(f"{checkpoint}: no weights; train the bundle first, or give checkpoint")


def evaluate_pictures(
    segmentor: FewShotSegmentor,
    pictures: PictureSet,
    *,
    shots: Sequence[int] = (1, 5),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    episodes: int = 600,
    output_dir: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> list[PictureScore]:
    """Score a network on a target, and write ``scores.json`` and ``summary.md``.

    Args:
        segmentor: the network, with the texts of the target's classes if it reads any.
        pictures: the target.
        shots: supports of an episode; a run for each.
        seeds: of the episodes; a run for each. The summary has mean and deviation over them.
        episodes: of a run; published 600.
        output_dir: folder of the results; None writes none.
        device: where to compute.

    Raises:
        UsageError: too few patients show a class, or a text is missing.
        StorageError: a file cannot be written.
    """
    runs = [PictureEpisodes(pictures, shots=each, seed=seed, length=episodes) for each in shots for seed in seeds]
    scores = score_pictures(segmentor, runs, device)
    if output_dir is not None:
        output = Path(output_dir)
        make_folder(output)
        for name, text in (("scores.json", json.dumps([s.row() for s in scores])), ("summary.md", summary(scores))):
            with atomic_path(output / name) as temporary:
                temporary.write_text(text + "\n", "utf-8")
        print(summary(scores))
    return scores


def summary(scores: Sequence[PictureScore]) -> str:
    """A Markdown table: mean and deviation over the seeds of every number, in percent, a line for each number of shots.

    Raises:
        UsageError: there is no score.
    """
    rows = [score.iou.row() for score in scores]
    names = list(rows[0]) if rows else []
    lines = ["| shots | seeds | episodes | " + " | ".join(names) + " |", "|" + "---|" * (3 + len(names))]
    for shots in dict.fromkeys(score.shots for score in scores):
        found = [score for score in scores if score.shots == shots]
        means = over_seeds([score.iou.row() for score in found])
        cells = [f"{100 * means[name].mean:.1f} ± {100 * means[name].sd:.1f}" for name in names]
        lines.append(f"| {shots} | {len(found)} | {found[0].episodes} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def supported_on_pictures(
    segmentor: FewShotSegmentor,
    supports: Sequence[tuple[str | Path, str | Path]],
    classes: Sequence[str],
    size: int,
) -> SupportedSegmentor:
    """A network with labelled pictures as supports of each class; of a scan, for each class its middle slice.

    Args:
        segmentor: the network, with the texts of the classes if it reads any.
        supports: file of a picture or scan, and file of its label values, class n as n + 1. With a single class the
            only value whatever it is, such as 255, or of several 1, if all are below 128 but for 255, not annotated.
        classes: their names.
        size: rows and columns at which the network sees pictures.

    Raises:
        UsageError: no support or class is given, or a support lacks a class.
        InputError: a file is damaged, picture and labels differ in size, or the values of a single class are neither.
    """
    if not classes or not supports or not all(all(pair) for pair in supports):
        raise UsageError("support_image, support_labels, classes: not given; expected a picture, its labels and names")
    shown_each = [_support(Path(image), Path(labels), classes, size) for image, labels in supports]
    images, masks = (torch.stack(each, dim=1) for each in zip(*shown_each, strict=True))
    return segmentor.eval().for_supports(images, masks, classes if len(segmentor.plugins) else ())


def class_prior(names: Sequence[str], path: str | Path | None = None) -> TextPrior:
    """Vectors of the background and some classes, from a file or from the descriptions that ship.

    Raises:
        UsageError: a class is not there; the message has the nearest.
        InputError: the file is damaged.
    """
    return TextPrior.load(path).subset([BACKGROUND, *names]) if path else TextPrior.described(names)


def _support(image: Path, labels: Path, classes: Sequence[str], size: int) -> tuple[Tensor, Tensor]:
    """For each class the middle slice that shows it: images (N, 3, *S) and masks (N, *S)."""
    pictures, values = read_pictures([image]), read_label_slices(labels)
    if pictures.shape[:3] != values.shape:
        raise InputError(
            f"{shown(labels)}: {values.shape} pixels, {shown(image)} has {pictures.shape[:3]}; expected equal sizes"
        )
    if len(classes) == 1:
        values = (values == _only_value(values, labels)).astype(np.uint8)
    values = stretched_labels(values, size)
    places = [(values == value).any(axis=(1, 2)).nonzero()[0] for value in range(1, len(classes) + 1)]
    if missing := [classes[number] for number, found in enumerate(places) if not len(found)]:
        raise UsageError(f"{shown(labels)}: does not show {', '.join(missing)}; expected values 1 to {len(classes)}")
    middle = [int(found[len(found) // 2]) for found in places]
    masks = [torch.from_numpy(values[place] == value) for value, place in enumerate(middle, start=1)]
    return normalised(stretched(pictures[middle], size)), torch.stack(masks)


def _only_value(values: NDArray[np.uint8], labels: Path) -> int:
    """Which value of a mask is its single class; compressed and smoothed masks hold grey edges and are refused."""
    found = np.setdiff1d(values, 0)
    if len(found) < 2:
        return int(found[0]) if len(found) else 1
    if found[0] == 1 and (found[found != IGNORED] < _FIRST_GREY).all():
        return 1
    raise InputError(
        f"{shown(labels)}: holds {len(found)} values besides 0; "
        f"expected 0 and 255, or label values below {_FIRST_GREY} with 1 as the class; save the mask so, as PNG"
    )
