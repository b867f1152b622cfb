"""What ``medfs fewshot`` does where its queries are scans."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from medfs.cli.progress import case_reporter, in_part, print_memory
from medfs.cli.supervision import supervise

if TYPE_CHECKING:
    from rich.console import Console

    from medfs.anatomy import LabelSet
    from medfs.fewshot import FewShotSegmentor
    from medfs.inference.working_grid import LabelledScan
    from medfs.io import Case
    from medfs.metrics import OrganScore


_MOST_LABELS = 255


def segment_scans(
    supports: Sequence["Case"],
    query: Sequence[str],
    output: Path,
    *,
    labels: str,
    head: str,
    organs: str,
    text: Sequence[str],
    text_encoder: str | None,
    modality: str,
    size: int | None,
    calibrate: bool,
    agreement: bool,
    body: bool | None,
    device: str,
    checkpoint: Path | None,
    written: Mapping[str, Any],
    part: tuple[int, int],
    timeout_min: float | None,
    console: "Console",
) -> int:
    """Write labels for each scan; see :class:`medfs.inference.FolderRun`.

    Args:
        supports: labelled scans.
        query: scans, folders of them and patterns.
        output: folder of the results.
        labels: what the label values mean; empty for organ_1, organ_2, ...
        head: method, where there is no checkpoint.
        organs: those to look for, separated by commas; empty for all.
        text: what organs look like.
        text_encoder: where the encoder of the network's texts is.
        modality: ``mr`` or ``ct``.
        size: pixels along the longer side of a slice; None for that of the network.
        calibrate: set thresholds on the supports although there is a checkpoint.
        agreement: also write how far several supports agree.
        body: look within the body only; None to be told by the supports.
        device: ``auto``, ``cpu``, ``cuda``, ...
        checkpoint: file of the network; None for one that has learned nothing.
        written: which of ``slicer``, ``preview``, ``statistics`` and ``page`` to write.
        part: see :class:`medfs.inference.FolderRun`.
        timeout_min: minutes that a case may take.
        console: for messages.

    Raises:
        UsageError: an option does not fit the supports or the network.
        InputError: a support is damaged.
    """
    from medfs.io import find_images

    cases = find_images(query)
    since = supervise(output, timeout_min)
    console.print(
        f"{_counted(len(cases), 'case')} to segment from {_counted(len(supports), 'support')}; reading them ..."
    )

    from medfs.inference import FolderRun
    from medfs.inference.expected import expected_scores
    from medfs.inference.fewshot import FewShotSegmenter, leave_one_out
    from medfs.inference.memory import few_shot_bytes
    from medfs.inference.segmenter import pick_device
    from medfs.inference.working_grid import LabelledScan

    scans = {case.name: LabelledScan.read(case.image, case.label) for case in supports if case.label}
    label_set = _label_set(labels, list(scans.values()))
    options: dict[str, Any] = {
        "organs": _organs(organs),
        "size": size,
        "modality": modality,
        "calibrate": calibrate or checkpoint is None,
        "body": body,
    }
    segmentor = _segmentor(checkpoint, head, console)
    told = _told(segmentor, options["organs"], label_set, list(scans.values()), text, text_encoder)
    parameters = options | {"labels": list(label_set.names)} | hashes(supports, checkpoint, head) | told
    options["device"] = pick_device(device)
    agree = agreement and len(scans) > 1
    segmenter = FewShotSegmenter(segmentor, list(scans.values()), label_set, alone=agree, **options)
    if len(scans) > 1:
        console.print("segmenting each support from the others ...")
        compute = partial(leave_one_out, segmentor, scans, label_set, **options)
        _print_expected(expected_scores(output, parameters, compute))
    print_memory(console, few_shot_bytes(cases.values(), segmenter))
    run = FolderRun(
        segmenter,
        output,
        agreement=segmenter.with_agreement if agree else None,
        sought=segmenter.values,
        parameters=parameters,
        rung=lambda: segmenter.ladder.rung,
        part=part,
        since=since,
        **written,
    )
    return int(run.run(cases, case_reporter(in_part(len(cases), part), console)))


def hashes(supports: Sequence["Case"], checkpoint: Path | None, head: str) -> dict[str, Any]:
    """What the result depends on besides options and query.

    Args:
        supports: labelled scans or pictures.
        checkpoint: file of the network.
        head: method, where there is no checkpoint.
    """
    import medfs
    from medfs.io import file_sha256

    return {
        "supports": [[file_sha256(path) for path in (case.image, case.label) if path] for case in supports],
        "network": head if checkpoint is None else file_sha256(checkpoint),
        "medfs": medfs.__version__,
    }


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _segmentor(checkpoint: Path | None, head: str, console: "Console") -> "FewShotSegmentor":
    from medfs.fewshot import load_segmentor
    from medfs.inference.fewshot import UNTRAINED, untrained_segmentor

    if checkpoint is not None:
        return load_segmentor(checkpoint)
    console.print(UNTRAINED, markup=False)
    return untrained_segmentor(head)


def _told(
    segmentor: "FewShotSegmentor",
    organs: list[str] | None,
    label_set: "LabelSet",
    scans: list["LabelledScan"],
    text: Sequence[str],
    encoder: str | None,
) -> dict[str, Any]:
    """What results depend on where the network reads texts; it has got those of the organs."""
    import numpy as np

    from medfs.inference.organ_texts import tell_organs
    from medfs.text.encoders.base import weights_digest

    shown = {int(value) for scan in scans for value in np.unique(scan.labels.array)} - {0}
    named = [label_set.names[value] for value in sorted(shown) if value < len(label_set)]
    prior = tell_organs(segmentor, organs or named, text, encoder)
    return {} if prior is None else {"texts": weights_digest({"": prior.embedding})}


def _label_set(labels: str, scans: list["LabelledScan"]) -> "LabelSet":
    from medfs.anatomy import nameless_label_set, resolve_label_set
    from medfs.errors import UsageError

    if labels:
        return resolve_label_set(labels)
    highest, path = max((int(scan.labels.array.max()), scan.labels.path) for scan in scans)
    if highest > _MOST_LABELS:
        raise UsageError(f"{path}: label value {highest}; expected a label map with values up to {_MOST_LABELS}")
    return nameless_label_set(highest)


def _organs(names: str) -> list[str] | None:
    from medfs.anatomy import find_organ

    wanted = [name.strip() for name in names.split(",")] if names else []
    return [name if name.startswith("organ_") else find_organ(name).name for name in wanted] or None


def _print_expected(rows: list["OrganScore"]) -> None:
    """The leave-one-out Dice, a line for each organ."""
    if not rows:
        typer.echo("no organ is shown by two supports: none could be segmented from the others")
        return
    typer.echo("Dice of each support segmented from the others:")
    for organ in dict.fromkeys(row.organ for row in rows):
        scores = {row.case: row.dice for row in rows if row.organ == organ}
        each = ", ".join(f"{case} {dice:.3f}" for case, dice in scores.items())
        typer.echo(f"  {organ}: mean {sum(scores.values()) / len(scores):.3f} ({each})")
