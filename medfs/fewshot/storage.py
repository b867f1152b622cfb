"""Few-shot networks as files: one safetensors file says what to build and holds the weights."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from medfs.errors import InputError, MedfsError, UsageError, root_cause
from medfs.fewshot import heads, plugins
from medfs.fewshot.segmentor import FewShotSegmentor
from medfs.io import atomic_path, make_folder
from medfs.networks import DeepStemEncoder, ResNetBlocksEncoder, ResNetEncoder, ResNetStagesEncoder, VGG16Encoder
from medfs.networks.weights import load_exactly, read_weights
from medfs.text import TextPrior
from medfs.text.storage import from_state

_METADATA_KEY = "medfs_fewshot"
_KNOWN = (ResNetEncoder, ResNetBlocksEncoder, ResNetStagesEncoder, DeepStemEncoder, VGG16Encoder)
_ENCODERS = {encoder.__name__: encoder for encoder in _KNOWN}


def head_classes() -> dict[str, type[heads.EpisodeHead]]:
    """Every method of ``medfs.fewshot.heads`` by class name.

    >>> "DMAPHead" in head_classes()
    True
    """
    found = {name: value for name, value in vars(heads).items() if inspect.isclass(value)}
    return {k: v for k, v in found.items() if issubclass(v, heads.EpisodeHead) and not inspect.isabstract(v)}


def plugin_classes() -> dict[str, type[plugins.EpisodePlugin]]:
    """Every plug-in of ``medfs.fewshot.plugins`` by class name.

    >>> "CDTGPlugin" in plugin_classes()
    True
    """
    found = {name: value for name, value in vars(plugins).items() if inspect.isclass(value)}
    return {name: value for name, value in found.items() if issubclass(value, plugins.EpisodePlugin)}


def save_segmentor(path: str | Path, segmentor: FewShotSegmentor) -> None:
    """Write a network: names and plain arguments of encoder, head and plug-ins, and all weights and texts.

    Raises:
        UsageError: it has an encoder, head or plug-in that medfs does not have.
        StorageError: the file cannot be written; nothing half-written is left.
    """
    parts: dict[str, Any] = {"encoder": described_part(segmentor.encoder), "head": described_part(segmentor.head)}
    if len(segmentor.plugins):
        parts["plugins"] = [described_part(plugin) for plugin in segmentor.plugins]
    if segmentor.text_prior is not None:
        parts["text_prior"] = {"learnable": isinstance(segmentor.text_prior.embedding, nn.Parameter)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in segmentor.state_dict().items()}
    make_folder(Path(path).parent)
    with atomic_path(Path(path)) as part:
        part.write_bytes(save(tensors, metadata={_METADATA_KEY: json.dumps(parts)}))


def load_segmentor(path: str | Path) -> FewShotSegmentor:
    """Build the network that a file describes, with its weights, on the CPU and in evaluation mode.

    Raises:
        InputError: the file is missing, damaged or none of :func:`save_segmentor`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = (file.metadata() or {}).get(_METADATA_KEY)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as a few-shot network ({error}); {_REMEDY}") from error
    if described is None:
        raise InputError(f"{path}: does not say which network it belongs to; {_REMEDY}")
    weights = read_weights(path)
    try:
        parts = json.loads(described)
        encoder, head = _built(parts["encoder"], _ENCODERS), _built(parts["head"], head_classes())
        built = [_built(part, plugin_classes()) for part in parts.get("plugins", ())]
        prior = _text_prior(weights, parts["text_prior"]) if "text_prior" in parts else None
        segmentor = FewShotSegmentor(encoder, head, built, prior)
    except (KeyError, TypeError, ValueError, MedfsError) as error:
        raise InputError(f"{path}: describes no network of this medfs ({root_cause(error)}); {_REMEDY}") from error
    load_exactly(segmentor, weights, str(path))
    return segmentor.eval()


_REMEDY = "expected what `medfs convert-checkpoint` writes"


def described_part(module: nn.Module) -> dict[str, Any]:
    """Class name and constructor arguments of an encoder, head or plug-in; these are attributes of the same names.

    Raises:
        UsageError: the part is none of medfs.
    """
    name = type(module).__name__
    if {**_ENCODERS, **head_classes(), **plugin_classes()}.get(name) is not type(module):
        raise UsageError(f"{name}: not a part of medfs; a file cannot name it")
    arguments = {key: getattr(module, key) for key in inspect.signature(type(module)).parameters}
    return {"name": name, "arguments": arguments}


def _built(part: dict[str, Any], known: dict[str, Any]) -> Any:
    return known[part["name"]](**part["arguments"])


def _text_prior(weights: Mapping[str, Tensor], described: dict[str, Any]) -> TextPrior:
    """The prior among the weights of a network, whose state says where its vectors come from."""
    provenance = from_state(weights["text_prior._extra_state"])
    return TextPrior(weights["text_prior.embedding"], provenance, learnable=bool(described["learnable"]))
