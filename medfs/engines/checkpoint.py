"""Checkpoints that are whole or absent, and read without unpickling code."""

import pickle
from pathlib import Path
from typing import Any

import torch

from medfs.errors import InputError, StorageError
from medfs.io import atomic_path, make_folder


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and strings under the final name only when complete.

    Raises:
        StorageError: the file cannot be written.
    """
    make_folder(path.parent)
    try:
        with atomic_path(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise StorageError(f"{path}: checkpoint not written ({error}); free space or choose another folder") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in it is executed.

    Raises:
        InputError: the file is missing, damaged or holds more than tensors and plain values.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such checkpoint; train first or name another with --bundle") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable checkpoint ({reason}); train again or take an older one") from error
    if not isinstance(state, dict):
        raise InputError(f"{path}: holds a {type(state).__name__}; expected a checkpoint of medfs")
    return state
