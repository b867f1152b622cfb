"""``medfs fewshot``: a folder segmented from one labelled scan, or a few."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfs.cli.pictures import are_pictures, segment_pictures
from medfs.cli.progress import case_reporter, parse_part, print_memory
from medfs.cli.supervision import supervise

if TYPE_CHECKING:
    from rich.console import Console

    from medfs.anatomy import LabelSet
    from medfs.fewshot import FewShotSegmentor
    from medfs.inference.working_grid import LabelledScan
    from medfs.io import Case
    from medfs.metrics import OrganScore


_MOST_LABELS = 255


class Modality(StrEnum):
    """How intensities are brought to the network."""

    mr = "mr"
    ct = "ct"


def fewshot(
    support: Annotated[
        list[Path], typer.Option(help="A labelled scan; repeat it for more. Or a folder of them, or a dataset.")
    ],
    query: Annotated[
        list[str], typer.Option(help="Scans to segment, a folder of them or a pattern; or pictures (PNG, JPEG, ...).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; made if missing.")],
    support_mask: Annotated[
        list[Path] | None,
        typer.Option(help="Its label map, as many as scans in the same order; or a folder; none for a dataset."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A trained network of medfs convert-checkpoint, or a run of few-shot training."),
    ] = None,
    head: Annotated[
        str, typer.Option(help="Method, where there is no checkpoint: adnet, alp, dmap, hcpm, qnet, pmm, ...")
    ] = "dmap",
    labels: Annotated[
        str, typer.Option(help="What the label values mean: a label set, or the organs from value 1 on.")
    ] = "",
    organs: Annotated[str, typer.Option(help="Look for these organs only, e.g. liver,spleen.")] = "",
    text: Annotated[
        list[str] | None,
        typer.Option(
            help="What an organ looks like, for a network that reads texts: a sentence, NAME=sentence, the name of a "
            "described class, or a file of medfs text build; repeat it for more."
        ),
    ] = None,
    text_encoder: Annotated[
        str | None, typer.Option(help="Where the encoder of the network's texts is, as for medfs text build.")
    ] = None,
    modality: Annotated[Modality, typer.Option(help="MR, or CT in Hounsfield units.")] = Modality.mr,
    size: Annotated[
        int | None,
        typer.Option(
            help="Pixels along the longer side of the first support's slices; if not given 256, "
            "and for a network of volumes the spacing that it was trained at.",
            show_default=False,
        ),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Set each organ's threshold on the supports; always without checkpoint.")
    ] = False,
    agreement: Annotated[
        bool,
        typer.Option(
            "--agreement/--no-agreement",
            help="With several supports, also write how far each of them alone agrees with the result.",
        ),
    ] = True,
    body: Annotated[
        bool | None,
        typer.Option("--body/--no-body", help="Look within the body only; told from the supports if not given."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    slicer: Annotated[bool, typer.Option("--slicer", help="Also write .seg.nrrd for 3D Slicer.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Also write a PNG of three planes.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Also write statistics.csv with volumes.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Also write report.html: outcomes, volumes, previews.")] = False,
    part: Annotated[
        str, typer.Option(help="Do one part of the cases only, e.g. 2/8 on the second of 8 machines.")
    ] = "1/1",
    timeout_min: Annotated[float | None, typer.Option(help="End a case that takes longer, in minutes.")] = None,
) -> int:
    """Segment scans from one labelled scan, or a few; each result lies on the grid of its scan.

    With several supports each is first segmented from the others and the Dice is printed: that much can be expected.
    Without --labels the organs are called organ_1, organ_2, ... Files and exit codes are those of `medfs segment`;
    called again, the command goes on where it was stopped; called several times at once, the calls share the work.

    Pictures in the place of scans, with a picture and its mask as support, give NAME_seg.png with the label values and
    NAME_overlay.png to look at; --labels then takes any names.
    """
    from medfs.errors import UsageError

    which = parse_part(part)
    if output.resolve() in {Path(item).resolve() for item in query}:
        raise UsageError(f"{output}: is an input folder; choose another one for the results")
    from rich.console import Console

    from medfs.io import find_images
    from medfs.io.supports import find_supports

    if checkpoint is not None and checkpoint.is_dir():
        checkpoint /= "models/model.safetensors"
    supports = find_supports(support, support_mask or [])
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if are_pictures(query):
        return segment_pictures(
            [(case.image, case.label) for case in supports if case.label],
            query,
            output,
            labels=labels,
            text=text or [],
            text_encoder=text_encoder,
            size=size,
            device=device,
            hashes=_hashes(supports, checkpoint, "ifa"),
            unwanted={
                "--head": head != "dmap",
                "--organs": bool(organs),
                "--calibrate": calibrate,
                "--body": body is not None,
                "--slicer": slicer,
                "--preview": preview,
                "--stats": stats,
                "--html": html,
                "--part": which != (1, 1),
                "--timeout-min": timeout_min is not None,
            },
            checkpoint=checkpoint,
            console=console,
        )
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
        "modality": modality.value,
        "calibrate": calibrate or checkpoint is None,
        "body": body,
    }
    segmentor = _segmentor(checkpoint, head, console)
    told = _told(segmentor, options["organs"], label_set, list(scans.values()), text or [], text_encoder)
    parameters = options | {"labels": list(label_set.names)} | _hashes(supports, checkpoint, head) | told
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
        slicer=slicer,
        preview=preview,
        statistics=stats,
        page=html,
        agreement=segmenter.with_agreement if agree else None,
        sought=segmenter.values,
        parameters=parameters,
        rung=lambda: segmenter.ladder.rung,
        part=which,
        since=since,
    )
    return int(run.run(cases, case_reporter(len(cases), console)))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _hashes(supports: list["Case"], checkpoint: Path | None, head: str) -> dict[str, Any]:
    """What the result depends on besides options and query."""
    import medfs
    from medfs.io import file_sha256

    return {
        "supports": [[file_sha256(path) for path in (case.image, case.label) if path] for case in supports],
        "network": head if checkpoint is None else file_sha256(checkpoint),
        "medfs": medfs.__version__,
    }


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
    text: list[str],
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
    typer.echo("Dice of each support segmented from the others:")
    for organ in dict.fromkeys(row.organ for row in rows):
        scores = {row.case: row.dice for row in rows if row.organ == organ}
        each = ", ".join(f"{case} {dice:.3f}" for case, dice in scores.items())
        typer.echo(f"  {organ}: mean {sum(scores.values()) / len(scores):.3f} ({each})")
