"""Bytes of a file, decompressed and verified: sizes, checksums and caps, before anything interprets them."""

import io
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

from medfs.errors import InputError
from medfs.io.names import shown

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_MEMBER = 31  # zlib's name for "gzip header and trailer"; it then verifies CRC-32 and length
_CHUNK = 1 << 16
_MOST_OUTPUT = 1 << 24
_LARGEST_RATIO = 1032  # deflate cannot expand a byte to more
_EXTRA_ALLOWED = 1 << 20


def file_head(path: Path, count: int) -> bytes:
    """The first ``count`` decompressed bytes, fewer where the file is shorter.

    Raises:
        InputError: no regular file, not readable, empty, or damaged gzip.
    """
    with open_regular(path) as file:
        return b"".join(_content(file, shown(path), count))


def is_gzip(path: Path) -> bool:
    """Whether the content is gzip, whatever the file is called."""
    with open_regular(path) as file:
        return file.read(2) == _GZIP_MAGIC


def file_payload(path: Path, offset: int, size: int, *, footer: bool = False) -> tuple[bytearray, tuple[str, ...]]:
    """``size`` decompressed bytes from ``offset``, plus one warning for each thing that followed them.

    With ``footer``, the format has something to say after the voxels and only bytes after a gzip stream are noted.

    A gzip stream is read to its end, so that its checksum and length are verified; nothing is allocated before the
    file is known to be able to hold that much.

    Raises:
        InputError: fewer bytes than that, a checksum that does not fit, or more than a mebibyte too many.
    """
    name = shown(path)
    with open_regular(path) as file:
        length = os.fstat(file.fileno()).st_size
        if file.read(2) == _GZIP_MAGIC:
            if offset + size > length * _LARGEST_RATIO:
                raise InputError(f"{name}: truncated: {length} bytes of gzip cannot hold {offset + size}")
            file.seek(0)
            payload, extra, warnings = _inflate(file, name, offset, size)
            return payload, warnings + _note_extra(0 if footer else extra, name)
        if length < offset + size:
            raise InputError(f"{name}: truncated: needs {offset + size} bytes, has {length}")
        file.seek(offset)
        payload = bytearray(size)
        if file.readinto(payload) != size:
            raise InputError(f"{name}: truncated while it was read")
    return payload, _note_extra(0 if footer else length - offset - size, name)


def verified_gzip(file: io.BufferedReader, name: str, most: int) -> tuple[int, tuple[str, ...]]:
    """How many bytes the gzip stream from the file's position on holds, and a warning where something follows it.

    It is read to its end, so that its checksum and length are verified, or until it has given more than ``most``.

    Raises:
        InputError: it is no gzip, damaged or cut.
    """
    warnings: list[str] = []
    return sum(map(len, _members(file, name, most + 1, warnings))), tuple(warnings)


def require_inflated_size(file: io.BufferedReader, name: str, most: int) -> None:
    """Return if the raw deflate stream from the file's position on holds no more than ``most`` bytes.

    Raises:
        InputError: it holds more, or is damaged.
    """
    stream, seen, pending = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
    while not stream.eof and seen <= most:
        pending = stream.unconsumed_tail or file.read(_CHUNK)
        try:
            block = stream.decompress(pending, _MOST_OUTPUT)
        except zlib.error as error:
            raise InputError(f"{name}: damaged compressed data ({_cause(error)}); fetch the file again") from error
        if not (pending or block):
            return  # cut short, which its own reader says better
        seen += len(block)
    if seen > most:
        raise InputError(f"{name}: compressed data that expand to more than {most} bytes; expected one slice")


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file that is not empty for reading; devices, pipes and folders are never opened.

    Raises:
        InputError: it is none, or the operating system refuses.
    """
    name = shown(path)
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{name}: is a folder; expected a file")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{name}: is a device or pipe; expected a regular file")
        if status.st_size == 0:
            raise InputError(f"{name}: empty file")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _note_extra(count: int, name: str) -> tuple[str, ...]:
    return (f"{name}: {count} bytes after the voxels ignored",) if count else ()


def _inflate(file: io.BufferedReader, name: str, offset: int, size: int) -> tuple[bytearray, int, tuple[str, ...]]:
    payload = bytearray(size)
    warnings: list[str] = []
    seen = 0
    for block in _content(file, name, offset + size + _EXTRA_ALLOWED + 1, warnings):
        start, stop = max(seen, offset), min(seen + len(block), offset + size)
        if start < stop:
            payload[start - offset : stop - offset] = memoryview(block)[start - seen : stop - seen]
        seen += len(block)
    extra = seen - offset - size
    if extra < 0:
        raise InputError(f"{name}: truncated: {seen} of {offset + size} bytes")
    if extra > _EXTRA_ALLOWED:
        raise InputError(f"{name}: extra bytes after the voxels, more than {_EXTRA_ALLOWED}; expected none")
    return payload, extra, tuple(warnings)


def _content(file: io.BufferedReader, name: str, limit: int, warnings: list[str] | None = None) -> Iterator[bytes]:
    """Yield decompressed blocks until ``limit`` bytes or the verified end of the last gzip member."""
    start = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    if start != _GZIP_MAGIC:
        yield file.read(limit)
        return
    yield from _members(file, name, limit, warnings)


def _members(file: io.BufferedReader, name: str, limit: int, warnings: list[str] | None) -> Iterator[bytes]:
    member, pending, seen = zlib.decompressobj(_GZIP_MEMBER), b"", 0
    while seen < limit:
        if member.eof:
            pending = member.unused_data
            if len(pending) < len(_GZIP_MAGIC):
                pending += file.read(_CHUNK)
            if not pending.startswith(_GZIP_MAGIC):
                _note_garbage(pending, file, name, warnings)
                return
            member = zlib.decompressobj(_GZIP_MEMBER)
        pending = pending or file.read(_CHUNK)
        try:
            block = member.decompress(pending, min(limit - seen, _MOST_OUTPUT))
        except zlib.error as error:
            raise InputError(f"{name}: damaged gzip data ({_cause(error)}); fetch the file again") from error
        if not (pending or block or member.eof):
            raise InputError(f"{name}: truncated: the gzip stream ends early, after {seen} bytes of content")
        pending = member.unconsumed_tail
        seen += len(block)
        yield block


def _note_garbage(rest: bytes, file: io.BufferedReader, name: str, warnings: list[str] | None) -> None:
    count = len(rest) + os.fstat(file.fileno()).st_size - file.tell()
    if count and warnings is not None:
        warnings.append(f"{name}: {count} bytes after the gzip stream ignored")


def _cause(error: zlib.error) -> str:
    text = str(error)
    return "checksum does not fit" if "incorrect data check" in text else text.rsplit(": ", 1)[-1]
