"""Checkpoints that are whole or absent, know their own hash, and are read without unpickling code."""

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from medfs.errors import InputError, StorageError
from medfs.io import atomic_path, make_folder
from medfs.io.hashes import HashedWriter

_SEAL = b"medfs sha256 "  # the comment of the zip archive that a checkpoint is; other readers pass over it
_SEAL_BYTES = len(_SEAL) + 64
_END, _END_BYTES = b"PK\x05\x06", 22  # of a zip archive: its last two bytes are the length of the comment
_BLOCK = 1 << 20


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and strings under the final name only when complete and read back as written.

    The same state gives the same bytes, whatever the file is called.

    Raises:
        StorageError: the file cannot be written.
    """
    make_folder(path.parent)
    try:
        with atomic_path(path) as temporary:
            with temporary.open("r+b") as file:
                hashed = HashedWriter(file)
                torch.save(state, cast(BinaryIO, hashed))
                _seal(file, hashed.hexdigest())
            if not _is_intact(temporary):
                raise StorageError(f"{path}: reads back otherwise than written; choose a folder on another disk")
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        reason = _refusal(error)
        raise StorageError(f"{path}: checkpoint not written ({reason}); free space or choose another folder") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in it is executed.

    The hash of a file of :func:`save_checkpoint` is verified; one without a hash, written by others, is taken as it is.

    Raises:
        InputError: the file is missing, damaged or holds more than tensors and plain values.
    """
    try:
        if not _is_intact(path):
            raise ValueError("its content does not fit its hash")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such checkpoint; train first or name another with --bundle") from error
    except pickle.UnpicklingError as error:
        reason = "no weights file, or it holds code"
        raise InputError(f"{path}: not a readable checkpoint ({reason}); expected tensors and plain values") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable checkpoint ({reason}); train again or take an older one") from error
    if not isinstance(state, dict):
        raise InputError(f"{path}: holds a {type(state).__name__}; expected a checkpoint of medfs")
    return state


def _seal(file: BinaryIO, digest: str) -> None:
    """Add the hash as the comment of the archive, whose length is in the last two bytes."""
    file.seek(-2, os.SEEK_END)
    file.write(_SEAL_BYTES.to_bytes(2, "little") + _SEAL + digest.encode())


def _is_intact(path: Path) -> bool:
    """Whether the content has the hash it states; true where it states none."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END_BYTES - _SEAL_BYTES))
        tail, left = file.read(), size - _SEAL_BYTES - 2
        length, seal = tail[-_SEAL_BYTES - 2 : -_SEAL_BYTES], tail[-_SEAL_BYTES:]
        if left < 0 or not seal.startswith(_SEAL):
            end = tail.rfind(_END)
            return end < 0 or int.from_bytes(tail[end + _END_BYTES - 2 :][:2], "little") != _SEAL_BYTES  # cut within it
        file.seek(0)
        total = hashlib.sha256()
        while block := file.read(min(_BLOCK, left)):
            total.update(block)
            left -= len(block)
        total.update(bytes(2))
    return length == _SEAL_BYTES.to_bytes(2, "little") and seal == _SEAL + total.hexdigest().encode()


def _refusal(error: BaseException) -> str:
    """What the operating system said; torch reports its own confusion after it."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    return str(error).splitlines()[0]
