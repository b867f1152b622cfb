"""``medfs segment``: a folder in, a folder out."""

from pathlib import Path
from typing import Annotated

import typer

from medfs.cli.progress import case_reporter, in_part, parse_part, print_memory
from medfs.cli.supervision import supervise


def segment(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="Scans, folders of scans or patterns.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; made if missing.")],
    bundle: Annotated[
        Path | None, typer.Option("--bundle", "-b", help="Folder of a finished run, as medfs train makes it.")
    ] = None,
    organs: Annotated[str, typer.Option(help="Keep only these organs, e.g. liver,spleen.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    text_prior: Annotated[
        Path | None, typer.Option(help="Other texts for the classes, made with the encoder of the run.")
    ] = None,
    slicer: Annotated[bool, typer.Option("--slicer", help="Also write .seg.nrrd for 3D Slicer.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Also write a PNG of three planes.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Also write statistics.csv with volumes.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Also write report.html: outcomes, volumes, previews.")] = False,
    largest: Annotated[bool, typer.Option("--largest", help="Keep only the largest piece of each organ.")] = False,
    assume_orientation: Annotated[
        bool, typer.Option("--assume-orientation", help="Read NIfTI without orientation as left-anterior-superior.")
    ] = False,
    replace_nan: Annotated[
        bool, typer.Option("--replace-nan", help="Put the lowest value of a scan where it is NaN, instead of refusing.")
    ] = False,
    part: Annotated[
        str, typer.Option(help="Do one part of the cases only, e.g. 2/8 on the second of 8 machines.")
    ] = "1/1",
    timeout_min: Annotated[float | None, typer.Option(help="End a case that takes longer, in minutes.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code of a bundle that is not medfs' own.")] = False,
) -> int:
    """Segment scans with a trained run; each result lies on the grid of its scan.

    Writes <case>_seg.nii.gz with a colour table beside it, and report.jsonl, .json and .csv. A case that fails is
    reported and the others go on: exit code 0 all done, 1 some failed, 3 none could be done, 4 the output cannot be
    written. Called again, the command goes on where it was stopped; called several times at once, the calls share the
    work.
    """
    from medfs.errors import UsageError

    if bundle is None:
        raise UsageError(
            "no trained model given, and medfs ships none: train one with `medfs train DATA -o RUN`, "
            "then name it with --bundle RUN (`medfs demo` makes one to try)"
        )
    network = bundle / "models" / "model.safetensors"
    if network.is_file() and not (bundle / "medfs.json").exists():
        raise UsageError(
            f"{bundle}: a run of few-shot training, which needs a labelled scan; "
            f"use `medfs fewshot --checkpoint {network} --support SCAN --support-mask MASK`"
        )
    which = parse_part(part)
    if output.resolve() in {Path(item).resolve() for item in inputs}:
        raise UsageError(f"{output}: is an input folder; choose another one for the results")
    from rich.console import Console

    from medfs.io import find_images, read_image

    cases = find_images(inputs)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    since = supervise(output, timeout_min)
    console.print(f"{len(cases)} {'case' if len(cases) == 1 else 'cases'}; loading the network ...")

    from functools import partial

    from medfs.engines.trust import INFERENCE_FILES, foreign_code
    from medfs.inference import FolderRun, Segmenter
    from medfs.inference.components import LargestComponents
    from medfs.inference.memory import segmenting_bytes
    from medfs.inference.segmenter import Restricted

    for code in foreign_code(bundle, files=INFERENCE_FILES) if trust else []:
        console.print(f"medfs: warning: --trust: {bundle} runs its own {code}", markup=False)
    segmenter = Segmenter(bundle, device=device, text_prior=text_prior, trust=trust)
    wanted = Restricted(segmenter, [name.strip() for name in organs.split(",")]) if organs else segmenter
    print_memory(console, segmenting_bytes(cases.values(), segmenter))
    reading = {"assume_orientation": assume_orientation, "replace_nan": replace_nan}
    run = FolderRun(
        LargestComponents(wanted) if largest else wanted,
        output,
        slicer=slicer,
        preview=preview,
        statistics=stats,
        page=html,
        read=partial(read_image, assume_orientation=assume_orientation, replace_nan=replace_nan),
        parameters=segmenter.parameters | reading | {"organs": organs, "largest": largest},
        rung=lambda: segmenter.ladder.rung,
        part=which,
        since=since,
    )
    return int(run.run(cases, case_reporter(in_part(len(cases), which), console)))
