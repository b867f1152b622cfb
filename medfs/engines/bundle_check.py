"""What a MONAI bundle must hold to be taken by MONAI's commands and by MONAI Label, checked without network access."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow, verify_net_in_out
from monai.utils import BundlePropertyConfig

from medfs.errors import InputError

REQUIRED_FILES = ("LICENSE", "configs/metadata.json", "configs/inference.json", "docs/README.md")
REQUIRED_METADATA = (
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
)
# MONAI Label reads configs/inference.json alone, and of it these; either name of a pair will do.
MONAI_LABEL_IDS = (
    ("bundle_root",),
    ("device",),
    ("network_def",),
    ("preprocessing", "pre_transforms"),
    ("postprocessing", "post_transforms"),
    ("inferer",),
)


def check_bundle(folder: str | Path) -> list[str]:
    """Name every fault of a bundle in a line of its own; a good bundle gives an empty list.

    Checked are the required files, the metadata against the keys of the bundle specification, the ids that MONAI's
    workflows (``inference.json``, and ``train.json`` if there is one) and MONAI Label look for, and that the network
    gives as many channels as the metadata name. Data and weights are not needed.

    The configuration is code: the network it names is built and run. Check bundles you trust only.

    Args:
        folder: the bundle.

    Raises:
        InputError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected a bundle with configs/metadata.json")
    faults = [f"{name}: missing" for name in REQUIRED_FILES if not (root / name).is_file()]
    contents: dict[str, dict[str, Any]] = {}
    for path in sorted((root / "configs").glob("*.json")):
        try:
            contents[path.name] = _read_object(path)
        except ValueError as error:
            faults.append(f"configs/{path.name}: {error}")
    metadata, inference = contents.get("metadata.json"), contents.get("inference.json")
    if metadata is not None:
        faults += _metadata_faults(metadata)
    if inference is not None:
        faults += _monai_label_faults(inference)
    if metadata is not None:
        for name, kind in (("inference.json", "infer"), ("train.json", "train")):
            if name in contents:
                faults += _property_faults(root / "configs", name, kind)
    if not faults:
        faults += _network_faults(root / "configs")
    return faults


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"not readable as JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}; expected an object")
    return content


def _metadata_faults(metadata: dict[str, Any]) -> Iterator[str]:
    where = "configs/metadata.json"
    for key in REQUIRED_METADATA:
        if key not in metadata:
            yield f"{where}: {key} missing"
    if metadata.get("version") not in metadata.get("changelog", {}):
        yield f"{where}: changelog has no entry for version {metadata.get('version')}"
    formats = metadata.get("network_data_format", {})
    for side, name in (("inputs", "image"), ("outputs", "pred")):  # MONAI looks for these two names
        tensors = formats.get(side, {})
        if next(iter(tensors), None) != name:
            yield f"{where}: network_data_format::{side} begins with {next(iter(tensors), 'nothing')}; expected {name}"
            continue
        tensor = tensors[name]
        channels, named = tensor.get("num_channels"), len(tensor.get("channel_def", {}))
        if channels != named:
            yield f"{where}: {name} has num_channels {channels}, but channel_def names {named}"


def _monai_label_faults(inference: dict[str, Any]) -> Iterator[str]:
    for names in MONAI_LABEL_IDS:
        if not any(name in inference for name in names):
            yield f"configs/inference.json: {' or '.join(names)} missing; MONAI Label reads it"


class _LookedUp(ConfigWorkflow):
    """A workflow whose properties are looked up and not built, as building them takes data."""

    def _get_property(self, name: str, property: dict) -> Any:
        identifier = property[BundlePropertyConfig.ID]
        if identifier not in self.parser:
            raise AttributeError(f"no {identifier}")  # what MONAI's check takes for a missing property
        return self.parser[identifier]


def _property_faults(configs: Path, name: str, kind: str) -> Iterator[str]:
    workflow = _LookedUp(
        config_file=str(configs / name),
        meta_file=str(configs / "metadata.json"),
        workflow_type=kind,
        logging_file=False,
    )
    try:
        wrong = workflow.check_properties() or []
    except (AttributeError, KeyError, TypeError) as error:
        yield f"configs/{name}: MONAI cannot check it ({error}); expected every handler as an object with _target_"
        return
    for title in wrong:
        identifier = workflow.properties[title][BundlePropertyConfig.ID]
        where = "configs/metadata.json" if identifier.startswith("_meta_") else f"configs/{name}"
        if identifier in workflow.parser:
            yield f"{where}: {identifier} is not what its place in the workflow refers to; write @{identifier} there"
        elif where == f"configs/{name}":  # missing metadata are named already
            yield f"{where}: {identifier} missing"


def _network_faults(configs: Path) -> Iterator[str]:
    try:
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(configs / "metadata.json"),
            config_file=str(configs / "inference.json"),
            device="cpu",
        )
    except Exception as error:  # whatever the code of the configuration raises is a fault of the bundle
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        yield f"configs/inference.json: network_def does not do what the metadata say ({' '.join(str(cause).split())})"
