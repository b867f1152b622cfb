"""``medfs text``: build text priors and look at them."""

from pathlib import Path
from typing import Annotated

import typer

text_app = typer.Typer(
    help="Build text priors (one vector per organ and kind of text) and look at them.", no_args_is_help=True
)


@text_app.command("build")
def build(
    encoder: Annotated[
        str,
        typer.Option(
            help="transformers:FOLDER, open_clip:local-dir:FOLDER, open_clip:hf-hub:OWNER/NAME or open_clip:MODEL/TAG."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The prior to write, *.safetensors.")],
    labels: Annotated[
        str | None,
        typer.Option(
            help="A label set (amos), organs (liver,spleen) or all. With descriptions also datasets (coco,wbc), their "
            "classes (cat,isic/nevus), or all. Default: the names in --texts."
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="Own texts, JSON {name: {kind: text}} or CSV with the columns name and the kinds."),
    ] = None,
    kinds: Annotated[
        str, typer.Option(help="The kinds of text, comma-separated: shape,location, description, name or your own.")
    ] = "shape,location",
) -> None:
    """Encode the texts of organs or classes once, so that training and inference need no text encoder.

    The organ table has shapes and locations. Classes of pictures have a description, and their bare name as a control.
    """
    from rich.console import Console
    from rich.progress import track

    from medfs.text.bank import BANK_KINDS, bank_entries, bank_texts, whole_bank
    from medfs.text.encoders import encode_texts, load_encoder
    from medfs.text.prior import TextPrior
    from medfs.text.prompts import organ_texts, prior_names, read_texts
    from medfs.text.provenance import Provenance

    own = read_texts(texts) if texts else {}
    kind_names = tuple(kind.strip() for kind in kinds.split(",") if kind.strip())
    if labels is not None and kind_names and set(kind_names) <= set(BANK_KINDS):
        entries = whole_bank() if labels == "all" else bank_entries(labels)
        described = bank_texts(entries, kind_names)
        own, labels = {name: {**described.get(name, {}), **own.get(name, {})} for name in [*described, *own]}, None
    names = prior_names(labels, own)
    rows = organ_texts(names, kind_names, own)
    console = Console(stderr=True)
    with console.status(f"Loading {encoder}"):
        model = load_encoder(encoder)
    progress = track(rows, "Encoding", console=console, transient=True, disable=not console.is_terminal)
    prior = TextPrior(encode_texts(model, progress), Provenance(names, kind_names, model.name, rows))
    prior.save(output)
    typer.echo(f"{output}: {prior.extra_repr()}, fingerprint {prior.fingerprint}")


@text_app.command("show")
def show(
    file: Annotated[Path | None, typer.Argument(help="A prior that was built. Default: the one that ships.")] = None,
    neighbours: Annotated[int, typer.Option(min=0, help="Nearest names to print for each name and kind.")] = 2,
) -> None:
    """Print a prior's encoder, fingerprint, names and which names lie nearest to each other."""
    from medfs.text.prior import TextPrior
    from medfs.text.prompts import prior_names

    prior = TextPrior.load(file) if file else TextPrior.embedded(prior_names("all"))
    typer.echo(f"encoder      {prior.provenance.encoder}")
    typer.echo(f"kinds        {', '.join(prior.kinds)}")
    typer.echo(f"size         {len(prior.names)} names, width {prior.width}, mean length {prior.row_norm:.3f}")
    typer.echo(f"fingerprint  {prior.fingerprint}")
    typer.echo(f"texts        {prior.provenance.texts_sha256 or 'not known'}")
    similarity = {kind: prior.similarity(kind) for kind in prior.kinds}
    for row, name in enumerate(prior.names):
        found = []
        for kind, cosines in similarity.items():
            order = [index for index in cosines[row].argsort(descending=True).tolist() if index != row][:neighbours]
            found.append(f"{kind}: " + ", ".join(f"{prior.names[index]} {cosines[row, index]:.2f}" for index in order))
        typer.echo(f"{name:<24} {'   '.join(found)}" if neighbours else name)
