"""``medfs fewshot``: a folder segmented from one labelled scan, or a few."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from medfs.cli.pictures import are_pictures, segment_pictures
from medfs.cli.progress import parse_part
from medfs.cli.scans import segment_scans


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
    from rich.console import Console

    from medfs.errors import UsageError
    from medfs.io.supports import find_supports

    which = parse_part(part)
    if output.resolve() in {Path(item).resolve() for item in query}:
        raise UsageError(f"{output}: is an input folder; choose another one for the results")
    if checkpoint is not None and checkpoint.is_dir():
        checkpoint /= "models/model.safetensors"
    supports = find_supports(support, support_mask or [])
    shared: dict[str, Any] = {
        "labels": labels,
        "text": text or [],
        "text_encoder": text_encoder,
        "size": size,
        "device": device,
        "checkpoint": checkpoint,
        "part": which,
        "timeout_min": timeout_min,
        "console": Console(stderr=True, soft_wrap=True, highlight=False),
    }
    if not are_pictures(query):
        return segment_scans(
            supports,
            query,
            output,
            head=head,
            organs=organs,
            modality=modality.value,
            calibrate=calibrate,
            agreement=agreement,
            body=body,
            written={"slicer": slicer, "preview": preview, "statistics": stats, "page": html},
            **shared,
        )
    for_scans = {
        "--head": head != "dmap",
        "--organs": bool(organs),
        "--calibrate": calibrate,
        "--body": body is not None,
        "--slicer": slicer,
        "--preview": preview,
        "--stats": stats,
        "--html": html,
    }
    if wrong := [name for name, given in for_scans.items() if given]:
        raise UsageError(f"{', '.join(wrong)}: for scans; expected none of them with pictures")
    return segment_pictures(supports, query, output, **shared)
