"""Voxels of MetaImage and NRRD: found as ITK finds them, and held to what the header claims before ITK reads them."""

import io
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from medfs.errors import InputError
from medfs.io.names import shown
from medfs.io.stream import open_regular, verified_gzip

_HEADER_BYTES = 1 << 20
_PIECE = 1 << 16
_MOST_OUTPUT = 1 << 24

# As MetaIO reads: the value may be on a later line, and its name ends where a line or the value begins.
_META_FIELD = re.compile(rb"\s*([A-Za-z][^=:\r\n]*?)[ \t]*[=:][\s=:]*([^\n]*)\n")
_YES = (b"T", b"t", b"1")
_NRRD_MAGIC = re.compile(rb"NRRD000[1-5]\r?\n|NRRD00\.01\r?\n")
_NRRD_ENCODINGS = {b"raw": "raw", b"gzip": "gzip", b"gz": "gzip"}
# ITK takes LIST and % for several files, "-" for standard input, "~" and ":" for another folder.
_ONE_FILE = re.compile(r"(?!LIST|[-~])[^%:\\]+")


@dataclass(frozen=True)
class VoxelData:
    """Where and how the voxels of a file are stored.

    Attributes:
        header: the text before them.
        path: the file that holds them: the header's own, or one inside its folder.
        name: of header and data file, for messages.
        start: of the voxels or of the compressed stream, in bytes; -1 if the voxels end the file.
        encoding: ``raw``, ``gzip`` or ``zlib``.
        skipped: bytes before the voxels inside a gzip stream.
        length: of a zlib stream, in bytes; None if it ends the file.
    """

    header: bytes
    path: Path
    name: str
    start: int
    encoding: str
    skipped: int = 0
    length: int | None = None

    def verify(self, size: int) -> tuple[str, ...]:
        """Return a note on what follows the voxels if there are ``size`` bytes of them, sound where compressed.

        Raises:
            InputError: fewer or more, or damaged: ITK would hand out other values or zeros without a word.
        """
        with open_regular(self.path) as file:
            length = os.fstat(file.fileno()).st_size
            if self.encoding == "raw":
                start = max(length - size, 0) if self.start < 0 else self.start
                self._require_bytes(length, start + size)
                return self._note_extra(length - start - size)
            file.seek(self.start)
            if self.encoding == "zlib":
                return self._verify_zlib(file, length, size)
            seen, warnings = verified_gzip(file, self.name, self.skipped + size)
        self._require_equal(seen, self.skipped + size)
        return warnings

    def _verify_zlib(self, file: io.BufferedReader, length: int, size: int) -> tuple[str, ...]:
        left = length - self.start if self.length is None else self.length
        self._require_bytes(length, self.start + left)
        stream, seen = zlib.decompressobj(), 0
        while not stream.eof and seen <= size:
            piece = stream.unconsumed_tail
            if not piece:
                piece = file.read(min(left, _PIECE))
                left -= len(piece)
            try:
                block = stream.decompress(piece, _MOST_OUTPUT)
            except zlib.error as error:
                raise InputError(f"{self.name}: damaged compressed data ({error}); fetch it again") from error
            if not (piece or block):
                raise InputError(f"{self.name}: truncated: the compressed data end early, after {seen} of {size} bytes")
            seen += len(block)
        self._require_equal(seen, size)
        return self._note_extra(length - file.tell() + len(stream.unused_data))

    def _require_bytes(self, length: int, needed: int) -> None:
        if length < needed:
            raise InputError(f"{self.name}: truncated: needs {needed} bytes, has {length}; fetch it again")

    def _require_equal(self, seen: int, expected: int) -> None:
        if seen != expected:
            count = f"more than {expected}" if seen > expected else f"{seen}"
            raise InputError(f"{self.name}: the compressed data hold {count} bytes; expected {expected}")

    def _note_extra(self, count: int) -> tuple[str, ...]:
        return (f"{self.name}: {count} bytes after the voxels ignored",) if count else ()


def locate_voxels(path: Path) -> VoxelData:
    """Read the header of a MetaImage or NRRD file as far as it says where the voxels are, and look at that file.

    Raises:
        InputError: no such header; several data files, one outside the header's folder or no regular file; an
            encoding that cannot be verified.
    """
    with open_regular(path) as file:
        head = file.read(_HEADER_BYTES)
    return _nrrd(path, head) if path.name.lower().endswith((".nrrd", ".nhdr")) else _metaimage(path, head)


def _metaimage(path: Path, head: bytes) -> VoxelData:
    name, end = shown(path), 0
    fields: dict[bytes, bytes] = {}
    while b"ElementDataFile" not in fields:
        field = _META_FIELD.match(head, end)
        if field is None:
            raise InputError(
                f"{name}: cannot be read: no MetaImage header with lines 'name = value' to ElementDataFile"
            )
        fields[field[1]], end = field[2].strip(), field.end()
    if fields.get(b"BinaryData", b"True")[:1] not in _YES:
        raise InputError(f"{name}: voxels as text (BinaryData = False); save it as binary")
    local = fields[b"ElementDataFile"] in (b"LOCAL", b"Local", b"local")
    source, where = (path, name) if local else _data_file(path, fields[b"ElementDataFile"])
    skipped = _number(fields.get(b"HeaderSize", b"0"), f"{name}: HeaderSize", -1)
    if local and skipped and skipped < end:
        raise InputError(f"{name}: HeaderSize {skipped} does not lead behind the header of {end} bytes; remove it")
    if fields.get(b"CompressedData", b"False")[:1] not in _YES:
        return VoxelData(head[:end], source, where, skipped or end * local, "raw")
    length = _number(fields.get(b"CompressedDataSize", b"0"), f"{name}: CompressedDataSize", 0)
    if skipped or (local and not length):
        raise InputError(f"{name}: compressed with HeaderSize or without CompressedDataSize; save it again with ITK")
    return VoxelData(head[:end], source, where, end * local, "zlib", length=length or None)


def _nrrd(path: Path, head: bytes) -> VoxelData:
    name = shown(path)
    blank = re.search(rb"\n\r?\n", head)
    header = head[: blank.start() + 1] if blank else head
    if not _NRRD_MAGIC.match(header) or re.search(rb"\r(?!\n)", header):
        raise InputError(f"{name}: cannot be read: no NRRD header; expected lines 'field: value' after NRRD0001 to 5")
    fields = {}
    for line in header.splitlines()[1:]:
        field, _, value = line.partition(b": ")
        fields[field.lower()] = value.strip(b" \t")
    file = fields.get(b"data file", fields.get(b"datafile"))
    if blank is None and (file is None or len(head) == _HEADER_BYTES):
        raise InputError(f"{name}: truncated: the header has no end in {len(head)} bytes; fetch it again")
    encoding = fields.get(b"encoding", b"none").lower()
    if encoding not in _NRRD_ENCODINGS:
        said = shown(encoding.decode("ascii", "replace"))
        raise InputError(f"{name}: encoding {said} cannot be verified; save it with encoding raw or gzip")
    if _number(fields.get(b"line skip", fields.get(b"lineskip", b"0")), f"{name}: line skip", 0):
        raise InputError(f"{name}: line skip is not supported; save it with byte skip or without")
    packed = _NRRD_ENCODINGS[encoding] == "gzip"
    lowest = 0 if packed or file is None else -1
    skipped = _number(fields.get(b"byte skip", fields.get(b"byteskip", b"0")), f"{name}: byte skip", lowest)
    source, where = (path, name) if file is None else _data_file(path, file)
    start = blank.end() if blank and file is None else 0
    if packed:
        return VoxelData(header, source, where, start, "gzip", skipped)
    return VoxelData(header, source, where, -1 if skipped < 0 else start + skipped, "raw")


def _number(text: bytes, what: str, lowest: int) -> int:
    if not re.fullmatch(rb"-?\d{1,15}", text) or int(text) < lowest:
        raise InputError(f"{what} is {shown(text.decode('ascii', 'replace'))}; expected a whole number >= {lowest}")
    return int(text)


def _data_file(path: Path, text: bytes) -> tuple[Path, str]:
    """The one file in the header's folder that ``text`` names, and what messages call it."""
    name, said = shown(path), os.fsdecode(text)
    if not _ONE_FILE.fullmatch(said) or not said.isprintable() or "\\" in path.name:
        raise InputError(f"{name}: data file {shown(said)}; expected the plain name of one file beside the header")
    folder, source = os.path.realpath(path.parent), path.parent / said
    if not Path(os.path.realpath(source)).is_relative_to(folder):
        raise InputError(f"{name}: data file {shown(said)} lies outside the header's folder; put it beside the header")
    try:
        open_regular(source).close()
    except InputError as error:
        raise InputError(f"{name}: data file {error}; put the whole one beside the header") from error
    return source, f"{name}: data file {shown(source)}"
