"""What a file holds, as one number to recognise it by."""

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medfs.errors import InputError
from medfs.io.names import shown
from medfs.io.stream import open_regular

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))  # odd, so that no voxel is lost


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        InputError: it cannot be read, is no regular file or is empty.
    """
    try:
        with open_regular(Path(path)) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error


class HashedWriter:
    """A binary file, open for writing, that knows the SHA-256 of what went through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._total = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        """Write all of ``data`` and return its length in bytes."""
        self._total.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Hand on what is buffered."""
        self._file.flush()

    def hexdigest(self) -> str:
        """The hash so far, in hexadecimal."""
        return self._total.hexdigest()


def voxel_digest(array: np.ndarray) -> str:
    """SHA-256 of the voxels in their order, in hexadecimal; the type they are stored in does not matter.

    Args:
        array: ``(X, Y, Z)``, floats or integers.
    """
    wide = np.float32 if array.dtype.kind == "f" else np.int64
    total = hashlib.sha256()
    for z in range(array.shape[2]):
        total.update(np.ascontiguousarray(array[..., z], dtype=wide).data)
    return total.hexdigest()


def unordered_digest(array: np.ndarray) -> str:
    """A number in hexadecimal that all orders of the same voxels share: the sum of their mixed float32 bits.

    It costs one pass where sorting them would cost many.

    Args:
        array: ``(X, Y, Z)``.

    >>> array = np.arange(24).reshape(2, 3, 4)
    >>> unordered_digest(array) == unordered_digest(array[::-1].T) != unordered_digest(array + 1)
    True
    """
    total = 0
    for z in range(array.shape[2]):
        bits = np.ascontiguousarray(array[..., z], dtype=np.float32).view(np.uint32).astype(np.uint64)
        bits += np.uint64(1)
        for factor in _MIX:
            bits *= factor
            bits ^= bits >> np.uint64(29)
        total += int(bits.sum(dtype=np.uint64))
    return f"{total % (1 << 64):016x}"
