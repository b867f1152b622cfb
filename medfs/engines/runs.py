"""A finished training run is a bundle: weights, configuration and metadata that stand alone."""

import errno
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from medfs.anatomy import LabelSet
from medfs.engines.checkpoint import load_checkpoint, save_checkpoint
from medfs.engines.handlers import best_network
from medfs.engines.planning import TrainingPlan
from medfs.errors import InputError, MedfsError, StorageError, UsageError
from medfs.io import atomic_path
from medfs.networks import PlainVNet, TextVNet

VALUES_FILE = "medfs.json"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_NO_LOGGING = "Logging file is set to False"  # what MONAI warns of, on standard output, when told so


def run_bundle(bundle: Path, configs: Sequence[str], overrides: Mapping[str, Any]) -> ConfigWorkflow:
    """Run a bundle as ``python -m monai.bundle run`` does, in this process.

    Args:
        bundle: folder of the bundle.
        configs: files in its ``configs/``, later ones over earlier ones.
        overrides: values by id, e.g. ``{"train::trainer::max_epochs": 3}``.

    Returns:
        The finished workflow, whose parsed objects can be asked for.

    Raises:
        MedfsError: what a part of the bundle raised, without MONAI's wrapping.
    """
    logging.getLogger("monai.bundle.workflows").addFilter(_worth_telling)
    workflow = ConfigWorkflow(
        config_file=[str(bundle / "configs" / name) for name in configs],
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="train" if configs[0].startswith("train") else "infer",
        bundle_root=str(bundle),
        **overrides,
    )
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, MedfsError):
            if isinstance(cause, OSError) and cause.errno in _FULL:  # e.g. of TensorBoard's own writer
                cause = StorageError(f"{overrides.get('output_dir', bundle)}: cannot be written: {cause.strerror}")
                break
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None
    return workflow


def _worth_telling(record: logging.LogRecord) -> bool:
    return _NO_LOGGING not in record.getMessage()


def require_deployable(network: torch.nn.Module) -> None:
    """Refuse, before it is trained, a network that :func:`write_run` cannot make a bundle of.

    Raises:
        UsageError: it is neither a ``TextVNet`` nor a ``PlainVNet``.
    """
    if not isinstance(network, TextVNet | PlainVNet):
        raise UsageError(f"network_def: {type(network).__name__}; expected medfs.networks.TextVNet or PlainVNet")


def write_run(
    output_dir: str | Path,
    bundle_root: str | Path,
    network: TextVNet | PlainVNet,
    label_set: LabelSet,
    plan: TrainingPlan,
    filters: int,
    deployed: str = "teacher",
) -> None:
    """Make a run folder a bundle of its own, with the best weights deployed.

    Writes ``models/model.pt`` (the best weights, class vectors stored, no text path), ``configs/inference.json`` and
    ``metadata.json`` with the values of this run, ``medfs.json``, the plain values alone, and, if the network was
    trained with texts, ``text_prior.safetensors``.

    Args:
        output_dir: folder of the run, with ``checkpoints/best.pt``.
        bundle_root: the bundle that was trained; its other files are copied.
        network: a network built as in training; its weights are replaced.
        label_set: the classes.
        plan: the working grid.
        filters: channels of the first stage.
        deployed: whose weights, ``teacher`` for the moving average or ``student``.
    """
    output, source = Path(output_dir), Path(bundle_root)
    best_network(output / "checkpoints", network, deployed)
    save_checkpoint(output / "models" / "model.pt", network.cpu().eval().deploy().state_dict())
    has_texts = isinstance(network, TextVNet)
    values: dict[str, Any] = {"bundle": source.resolve().name, "labels": list(label_set.names), "filters": filters}
    values |= {"output_layer": "text" if has_texts else "plain", "deployed": deployed, **asdict(plan)}
    if source.resolve() != output.resolve():
        shutil.copytree(source / "configs", output / "configs", dirs_exist_ok=True)
        shutil.copytree(source / "docs", output / "docs", dirs_exist_ok=True)
        shutil.copy2(source / "LICENSE", output / "LICENSE")
    inference = json.loads((source / "configs" / "inference.json").read_text())
    inference |= {key: value for key, value in values.items() if key in inference}
    _write_json(output / "configs" / "inference.json", inference)
    metadata = json.loads((source / "configs" / "metadata.json").read_text())
    _describe(metadata, label_set, plan)
    _write_json(output / "configs" / "metadata.json", metadata)
    _write_json(output / VALUES_FILE, values)
    if has_texts:
        network.head.classes.prior.save(output / "text_prior.safetensors")  # type: ignore[union-attr, operator]


def read_values(folder: Path) -> dict[str, Any]:
    """The plain values of a run.

    Raises:
        InputError: the folder is no finished run, or a value could be taken for code.
    """
    path = folder / VALUES_FILE
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{folder}: not a finished medfs run ({VALUES_FILE} is missing); train one first") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(values, dict) or not all(_is_plain(value) for value in values.values()):
        raise InputError(f"{path}: holds more than plain values; expected names, numbers and lists of them")
    if missing := [name for name in ("bundle", "labels", "filters", *TrainingPlan.__slots__) if name not in values]:
        raise InputError(f"{path}: {', '.join(missing)} missing; expected the file as medfs train wrote it")
    return values


def load_weights(network: torch.nn.Module, checkpoint: str | Path) -> None:
    """Load deployed weights into a network.

    Raises:
        InputError: the file is missing, damaged or was made for another network.
    """
    state = load_checkpoint(Path(checkpoint))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{checkpoint}: weights of another network ({reason}); name the run they belong to") from error
    network.eval()


def _describe(metadata: dict[str, Any], label_set: LabelSet, plan: TrainingPlan) -> None:
    """Enter the classes and the patch of a run into the metadata of the bundle."""
    formats = metadata["network_data_format"]
    for side in ("inputs", "outputs"):
        for tensor in formats[side].values():
            tensor["spatial_shape"] = list(plan.patch_size)
    prediction = formats["outputs"]["pred"]
    prediction["num_channels"] = len(label_set.names)
    prediction["channel_def"] = {str(value): name for value, name in enumerate(label_set.names)}
    formats["inputs"]["image"]["modality"] = plan.modality.upper()


def _is_plain(value: Any) -> bool:
    """Whether MONAI's configuration parser takes the value as it is."""
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    if isinstance(value, str):
        return not value.startswith(("$", "%", "@"))
    return value is None or isinstance(value, bool | int | float)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4) + "\n")
