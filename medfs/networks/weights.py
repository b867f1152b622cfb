"""Weights from files of others: what is in them, and a report of names that do not fit."""

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from medfs.errors import InputError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "network")
_SHOWN = 3


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file or of a PyTorch checkpoint; nothing in it is executed.

    A checkpoint may be a ``state_dict`` or hold one under a common name; the ``module.`` that parallel training puts
    in front of names is taken off. Other values are left out.

    Raises:
        InputError: the file is missing, damaged, holds code, or no tensor.
    """
    path = Path(path)
    try:
        content: Any
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected weights, .pth or .safetensors") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError, SafetensorError) as error:
        # torch's own words for a refused pickle are a page of advice
        said = (str(error) or type(error).__name__).splitlines()[0]
        reason = "no weights file, or it holds code" if isinstance(error, pickle.UnpicklingError) else said
        raise InputError(f"{path}: not readable as weights ({reason[:160]}); expected tensors alone") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = {}
    if isinstance(content, dict):
        tensors = {str(name).removeprefix("module."): v for name, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise InputError(f"{path}: no weights in it; expected names with tensors")
    return tensors


def load_exactly(
    module: nn.Module, weights: Mapping[str, Tensor], source: str, rename: Callable[[str], str] = str
) -> None:
    """Load weights that fit a module name by name and shape by shape; a 1x1 kernel may have other axes of length 1.

    Old files do not count the batches that a normalisation has seen; those counts become 0.

    Args:
        module: receives the values.
        weights: by the names that the source uses.
        source: the file, for the message.
        rename: from a name of the module to the name that the source uses for it.

    Raises:
        InputError: names are missing or unexpected, or a shape differs; the first few are given. Nothing is loaded.
    """
    own = module.state_dict()
    theirs = {name: rename(name) for name in own}
    counts = {theirs[name]: torch.zeros_like(own[name]) for name in own if name.endswith(".num_batches_tracked")}
    weights = counts | {**weights}
    missing = [name for name in theirs.values() if name not in weights]
    known = set(theirs.values())
    unexpected = [name for name in weights if name not in known]
    if missing or unexpected:
        told = "; ".join(
            _listed(kind, names) for kind, names in (("missing", missing), ("unexpected", unexpected)) if names
        )
        raise InputError(f"{source}: {told}; expected the {len(own)} names of this network")
    for name, value in own.items():
        given = weights[theirs[name]]
        if [n for n in given.shape if n != 1] != [n for n in value.shape if n != 1]:
            expected = tuple(value.shape)
            raise InputError(f"{source}: {theirs[name]} of shape {tuple(given.shape)}; expected {expected}")
        own[name] = given.reshape(value.shape)
    module.load_state_dict(own)


def _listed(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{kind} {', '.join(names[:_SHOWN])}{more}"
