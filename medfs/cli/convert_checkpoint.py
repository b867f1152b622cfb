"""``medfs convert-checkpoint``: weights that authors released become a file of medfs."""

from pathlib import Path
from typing import Annotated

import typer


def convert_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(metavar="FILE", help="Released weights: .pth, .pt or .safetensors.")],
    method: Annotated[
        str,
        typer.Option(
            "--from", help="Whose names they have: adnet, alpnet, dmap, dmtnet, hcpmnet, ifa, patnet or qnet."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, *.safetensors.")],
) -> int:
    """Bring the released weights of a few-shot method under the names of medfs.

    The file can then be given to `medfs fewshot --checkpoint`. Every name has to fit: what is missing or unexpected is
    told and nothing is written. Nothing in the checkpoint is executed.
    """
    from medfs.errors import UsageError

    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: expected a name ending in .safetensors")
    if output.resolve() == checkpoint.resolve():
        raise UsageError(f"{output}: is the checkpoint itself; choose another name for the result")
    from medfs.fewshot import save_segmentor
    from medfs.fewshot.published import load_published, published_segmentor
    from medfs.networks.weights import read_weights

    segmentor = published_segmentor(method)
    weights = read_weights(checkpoint)
    unused = load_published(segmentor, weights, method, checkpoint)
    save_segmentor(output, segmentor)
    left_out = f"; {len(unused)} that the method never uses are left out" if unused else ""
    typer.echo(f"{output}: {len(weights) - len(unused)} tensors of {method}, all names fit{left_out}")
    return 0
