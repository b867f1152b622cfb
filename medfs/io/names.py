"""Case names: what a file is called in reports, splits and outputs, safe whatever its name holds."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from medfs.errors import InputError

_NIFTI = (".nii.gz", ".nii", ".hdr.gz", ".hdr", ".img.gz", ".img")
_SUFFIXES = (*_NIFTI, ".mha", ".mhd", ".seg.nrrd", ".nrrd", ".nhdr", ".mgh.gz", ".mgz", ".mgh")
_FIRST_CHANNEL = "_0000"
_KEPT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_LONGEST = 200


def volume_suffix(path: str | Path) -> str:
    """The file's suffix as written if it is one that the readers know, else an empty string.

    >>> volume_suffix("a.b.NII.gz"), volume_suffix("notes.txt")
    ('.NII.gz', '')
    """
    name = os.path.basename(path)
    suffix = next((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), "")
    return name[len(name) - len(suffix) :]


def shown(path: str | Path) -> str:
    r"""The file's own name for a message, with control and direction characters escaped.

    >>> print(shown("scans/a\nmedfs: all is well.nii"))
    a\x0amedfs: all is well.nii
    """
    name = os.path.basename(os.path.normpath(path))
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)


def safe_name(text: str) -> str:
    """``text`` percent-encoded outside ``[A-Za-z0-9._-]``, never hidden by a leading dot nor an option by a dash.

    >>> safe_name("../liver 7")
    '%2E.%2Fliver%207'

    Raises:
        InputError: it is empty or all dots, no file could be called so, or the result is longer than 200 bytes.
    """
    if not text.strip("."):
        raise InputError(f"{shown(text) or 'unnamed file'}: gives no case name; expected more than dots")
    try:
        safe = "".join(chr(b) if b in _KEPT else f"%{b:02X}" for b in os.fsencode(text))
    except UnicodeEncodeError as error:
        raise InputError(f"{shown(text)}: no file can have this name; expected valid Unicode") from error
    if safe.startswith((".", "-")):
        safe = f"%{ord(safe[0]):02X}{safe[1:]}"
    if len(safe) > _LONGEST:
        raise InputError(f"{shown(text)[:40]}...: a case name of {len(safe)} bytes; at most {_LONGEST} are allowed")
    return safe


def is_safe(name: str) -> bool:
    """Whether ``name`` is one that :func:`safe_name` can give."""
    return len(name) <= _LONGEST and re.fullmatch(r"(?![.-])(?:[A-Za-z0-9._-]|%[0-9A-F]{2})+", name) is not None


def stem(path: str | Path) -> str:
    """The file's name without its volume suffix, made safe by :func:`safe_name`.

    Raises:
        InputError: as :func:`safe_name`.
    """
    name = os.path.basename(path)
    return safe_name(name[: len(name) - len(volume_suffix(path))])


def case_name(path: str | Path) -> str:
    """The case that a file holds: its stem without the first-channel mark of nnU-Net.

    >>> case_name("imagesTr/liver_012_0000.nii.gz"), case_name("=a b;$(x).mha")
    ('liver_012', '%3Da%20b%3B%24%28x%29')

    Raises:
        InputError: the name is empty, made of dots, or longer than 200 bytes.
    """
    name = stem(path)
    return name.removesuffix(_FIRST_CHANNEL) or name


def pairing_key(name: str) -> str:
    """What an image and its label have in common when the files are called ``image_7`` and ``label_7``.

    >>> pairing_key("image_7") == pairing_key("label_7") == "7"
    True
    """
    return re.sub(r"^(image|label)_(?=.)", "", name)


def unique_case_names(paths: Iterable[str | Path]) -> dict[str, Path]:
    """Case name -> path, in the given order.

    Names that differ only in case count as equal: one of two outputs would be lost on a file system that folds case.

    Raises:
        InputError: two files have the same case name; every such pair is listed.
    """
    found: dict[str, Path] = {}
    folded: dict[str, Path] = {}
    clashes = []
    for path in map(Path, paths):
        name = case_name(path)
        first = folded.setdefault(name.casefold(), path)
        if first is not path:
            clashes.append(f"{shown(first)} and {shown(path)}")
        found[name] = path
    if clashes:
        raise InputError(f"{', '.join(clashes)}: equal case names; rename one of each pair")
    return found
