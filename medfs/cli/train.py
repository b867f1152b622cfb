"""``medfs train``: a friendly door to ``train.json`` of a bundle."""

from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    data: Annotated[Path, typer.Argument(help="Folder with images/ and labels/, or a MONAI datalist JSON.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run; it becomes a bundle.")],
    labels: Annotated[
        str,
        typer.Option(help="Label set, e.g. amos or head_neck, or the names of the values from 1 on."),
    ] = "amos",
    labelled: Annotated[
        int | None, typer.Option(help="Use only so many labels; other cases count as unlabelled.")
    ] = None,
    validation: Annotated[int, typer.Option(help="Labelled cases held out to choose the checkpoint.")] = 2,
    test: Annotated[int, typer.Option(help="Labelled cases held out altogether.")] = 0,
    objective: Annotated[
        str | None,
        typer.Option(help="What is minimised: supervised, mean-teacher, ga, cps, tak, ...; mean-teacher if not given."),
    ] = None,
    prior: Annotated[
        str,
        typer.Option(
            help="Texts of the classes: embedded, random, learnable, one-hot, or a file; none for an ordinary output "
            "convolution."
        ),
    ] = "embedded",
    modality: Annotated[str | None, typer.Option(help="ct or mr; told from the scans if not given.")] = None,
    spacing_mm: Annotated[str | None, typer.Option(help="Working grid, e.g. 1.5,1.5,2; median if not given.")] = None,
    patch: Annotated[str | None, typer.Option(help="Crop in voxels, e.g. 96,96,64; planned if not given.")] = None,
    cubes: Annotated[int | None, typer.Option(help="Cubes of a crop along each axis, for magicnet and tak.")] = None,
    filters: Annotated[int, typer.Option(help="Channels of the first stage.")] = 16,
    epochs: Annotated[int, typer.Option(help="Stretches between validations.")] = 40,
    epoch_length: Annotated[int, typer.Option(help="Steps of one epoch.")] = 250,
    seed: Annotated[int, typer.Option(help="Of the split, the weights and the crops.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    workers: Annotated[int, typer.Option(help="Loader processes.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in this folder.")] = False,
    bundle: Annotated[str, typer.Option(help="Which bundle to train.")] = "multi_organ_tak_segmentation",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Any other value of train.json, e.g. --set learning_rate=0.002.")
    ] = None,
) -> None:
    """Train on few labels; the run folder then serves medfs segment, medfs evaluate and MONAI.

    The same as `python -m monai.bundle run --config_file configs/train.json --dataset_dir DATA --output_dir RUN` in
    the bundle's folder.
    """
    from medfs.errors import UsageError
    from medfs.io.bundles import find_bundle

    folder = find_bundle(bundle)
    if not data.exists():
        raise UsageError(f"{data}: no such dataset; expected a folder with images/ and labels/, or a datalist JSON")
    if (output / "checkpoints").exists() and not resume:
        raise UsageError(f"{output}: holds a run already; continue it with --resume or choose another folder")
    values: dict[str, Any] = {
        "dataset_dir": str(data.resolve()),
        "output_dir": str(output.resolve()),
        "labels": labels,
        "labelled": labelled,
        "validation": validation,
        "test": test,
        "modality": modality,
        "spacing_mm": _numbers(spacing_mm, float, "--spacing-mm"),
        "patch_size": _numbers(patch, int, "--patch"),
        "filters": filters,
        "epochs": epochs,
        "epoch_length": epoch_length,
        "seed": seed,
        "workers": workers,
        "resume": resume,
        **({} if cubes is None else {"cubes": cubes}),
        **_text_prior(prior, seed),
        **assignments(overrides or [], folder / "configs" / "train.json"),
    }
    configs = ["train.json", *([] if objective is None else [_overlay(folder, objective)])]
    configs += ["plain_output.json"] * (prior == "none")
    from medfs.engines.runs import run_bundle
    from medfs.inference.segmenter import pick_device

    if device != "auto":
        values["device"] = str(pick_device(device))

    run_bundle(folder, configs, values)
    typer.echo(f"{output}: trained; segment with: medfs segment SCANS -o OUT --bundle {output}")


def _overlay(bundle: Path, objective: str) -> str:
    """The file that states an objective."""
    import json

    from medfs.errors import UsageError

    files = {path.stem: path for path in sorted((bundle / "configs").glob("*.json")) if path.stem != "train"}
    known = [name for name, path in files.items() if "objective" in json.loads(path.read_text())]
    if objective.replace("-", "_") not in known:
        raise UsageError(f"--objective {objective}: expected one of {', '.join(known).replace('_', '-')}")
    return f"{objective.replace('-', '_')}.json"


def _text_prior(prior: str, seed: int) -> dict[str, Any]:
    """Configuration of the prior where it is not the bundle's own."""
    chosen: dict[str, Any] = {}
    names, embedded = "@label_set.names", "TextPrior.embedded(@label_set.names)"
    if prior in ("random", "learnable"):  # of the size and length of the embedded one, so that only meaning differs
        same = f"width={embedded}.width, row_norm={embedded}.row_norm"
        chosen["text_prior"] = f"$TextPrior.{prior}({names}, seed={seed}, {same})"
    elif prior == "one-hot":
        chosen["text_prior"] = f"$TextPrior.one_hot({names})"
    elif prior not in ("embedded", "none"):
        chosen["text_prior"] = {"_target_": "medfs.text.TextPrior.load", "path": str(Path(prior).resolve())}
    return chosen


def _numbers(text: str | None, kind: type, option: str) -> list[Any] | None:
    """Three comma-separated numbers."""
    from medfs.errors import UsageError

    if text is None:
        return None
    try:
        numbers = [kind(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(0 < number < float("inf") for number in numbers):
        raise UsageError(f"{option} {text}: expected three positive numbers, e.g. 96,96,64")
    return numbers


def assignments(texts: list[str], config: Path) -> dict[str, Any]:
    """``id=value`` each, with a JSON value or a bare word; ids, e.g. ``train::trainer::power``, are those of a file."""
    import difflib
    import json

    from medfs.errors import UsageError

    known, values = json.loads(config.read_text()), {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise UsageError(f"--set {text}: expected NAME=VALUE")
        *outer, last = name.lstrip("+~").split("::")
        place = known
        for part in outer or [last]:  # the last part of a nested id may be new
            if isinstance(place, dict) and part not in place:
                nearest = ", ".join(difflib.get_close_matches(part, place, cutoff=0.5)) or f"one of {', '.join(place)}"
                raise UsageError(f"--set {text}: {config.name} has no {part!r}; expected {nearest}")
            place = place[part] if isinstance(place, dict) else None
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return values
