"""Whether a bundle folder holds code that medfs does not ship: a configuration is a program."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medfs.errors import UsageError
from medfs.io.bundles import bundle_names, find_bundle

_REFERENCES = ("$", "%", "@")
_SHOWN = 3


def foreign_code(folder: Path, bundle: str | None = None, files: str = "*") -> list[str]:
    """What the configuration of a bundle folder would run that the shipped bundle does not.

    A folder that ``medfs train`` wrote, or ``medfs bundle export``, has none: in each file of ``configs/`` every
    expression (``$``), reference (``@``), macro (``%``) and special key (``_target_``, ``_requires_``, ...) is that of
    the same place in the shipped file of this name. Plain values may differ. Files of another kind must be equal.

    Args:
        folder: the bundle folder; nothing in it is executed.
        bundle: name of the shipped bundle it claims to come from; None takes the one that fits best.
        files: pattern of the files in ``configs/`` to look at.

    Returns:
        A line each: file, place and code; empty if there is none.
    """
    names = [bundle] if bundle in bundle_names() else list(bundle_names())
    return min((list(_differences(folder, find_bundle(name), files)) for name in names), key=len)


def require_trusted(folder: Path, bundle: str | None = None, files: str = "*") -> None:
    """Return if a bundle folder holds no foreign code, see :func:`foreign_code`.

    Raises:
        UsageError: it does; the message says what would be run.
    """
    if found := foreign_code(folder, bundle, files):
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise UsageError(
            f"{folder}: holds code that this version of medfs does not ship: {'; '.join(found[:_SHOWN])}{more}; "
            "--trust runs it, if you trust whoever wrote it"
        )


INFERENCE_FILES = "inference.*"
"""What segmenting would run of a bundle."""


def _differences(folder: Path, shipped: Path, files: str) -> Iterator[str]:
    configs = folder / "configs"
    if configs.is_symlink() or not configs.is_dir():
        if configs.is_symlink():
            yield "configs: a symbolic link"
        return
    for path in sorted(configs.rglob(files)):
        name, peer = path.relative_to(folder).as_posix(), shipped / path.relative_to(folder)
        if path.is_dir() and not path.is_symlink():
            continue
        if path.is_symlink() or not path.is_file():
            yield f"{name}: no plain file"
        elif path.suffix == ".json":
            yield from _json_differences(path, peer, name)
        elif not peer.is_file() or path.read_bytes() != peer.read_bytes():
            yield f"{name}: not one of the files of {shipped.name}"


def _json_differences(path: Path, peer: Path, name: str) -> Iterator[str]:
    try:
        content = json.loads(path.read_text("utf-8-sig"))
        original = json.loads(peer.read_text()) if peer.is_file() else None
        yield from (f"{name}: {place}" for place in _code(content, original, ""))
    except (OSError, ValueError, RecursionError) as error:
        yield f"{name}: not readable as JSON ({type(error).__name__})"


def _code(value: Any, original: Any, place: str) -> Iterator[str]:
    """Places of code that differ from the original; below what has no counterpart all code differs."""
    if isinstance(value, dict):
        peers = original if isinstance(original, dict) else {}
        for key, each in value.items():
            where = f"{place}::{key}" if place else str(key)
            if _is_special(key) and (key not in peers or each != peers[key]):
                yield f"{where} = {_short(each)}"
            elif not _is_plain_key(key) and key not in peers:
                yield f"{where} (a key with a meaning)"
            else:
                yield from _code(each, peers.get(key), where)
    elif isinstance(value, list):
        aligned = original if isinstance(original, list) and len(original) == len(value) else [None] * len(value)
        for number, (each, peer) in enumerate(zip(value, aligned, strict=True)):
            yield from _code(each, peer, f"{place}::{number}")
    elif isinstance(value, str) and _is_code(value) and value != original:
        yield f"{place} = {_short(value)}"


def _is_special(key: str) -> bool:
    return key.startswith("_") and key.endswith("_") and key not in ("_desc_",)


def _is_plain_key(key: str) -> bool:
    """Whether the key is a mere name: ``a::b`` and ``a#b`` reach into other entries, ``+a`` and ``~a`` change them."""
    return not key.startswith(("+", "~", *_REFERENCES)) and "::" not in key and "#" not in key


def _is_code(text: str) -> bool:
    return any(sign in text for sign in ("$", "@")) or text.lstrip().startswith("%") or "__" in text


def _short(value: Any) -> str:
    text = " ".join((value if isinstance(value, str) else json.dumps(value)).split())
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 60 else f"{text[:57]}..."
