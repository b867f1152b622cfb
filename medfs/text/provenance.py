"""Where the vectors of a text prior come from: names, kinds, encoder and the texts themselves."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from medfs.errors import InputError, UsageError

_FORMAT = "medfs text prior 1"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the rows of a text prior are.

    Attributes:
        names: One name per row.
        kinds: What each text of a name describes, e.g. ``("shape", "location")``.
        encoder: The text encoder. What follows the last ``@`` identifies its weights; without an ``@`` all of it does.
        texts: For every name one text per kind; empty where the vectors were not made from known texts.

    Raises:
        UsageError: A name or a kind is there twice, none is given, or the texts do not fill names x kinds.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    encoder: str
    texts: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        for what, values in (("name", self.names), ("kind", self.kinds)):
            if not values:
                raise UsageError(f"text prior: no {what} given; expected at least one")
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise UsageError(f"text prior: {what} {twice!r} is given twice; expected every {what} once")
        if self.texts and (len(self.texts) != len(self.names) or {len(t) for t in self.texts} != {len(self.kinds)}):
            raise UsageError(f"text prior: expected {len(self.kinds)} texts for each of {len(self.names)} names")

    @property
    def texts_sha256(self) -> str:
        """Hash of the texts in their order; an empty string where there are none."""
        return texts_sha256(self.texts) if self.texts else ""

    def fingerprint(self, width: int) -> str:
        """Hash of what a trained network relies on: encoder, kinds in their order and width; not names nor texts.

        >>> a, b = (Provenance((name,), ("shape",), f"transformers:{name}@1f") for name in ("spleen", "liver"))
        >>> a.fingerprint(512) == b.fingerprint(512) != b.fingerprint(384)
        True
        """
        described = json.dumps([self.encoder.rpartition("@")[2], self.kinds, width])
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    def rows(self, indices: Sequence[int]) -> "Provenance":
        """The same for some of the names, in the given order."""
        texts = tuple(self.texts[i] for i in indices) if self.texts else ()
        return Provenance(tuple(self.names[i] for i in indices), self.kinds, self.encoder, texts)

    def columns(self, indices: Sequence[int]) -> "Provenance":
        """The same for some of the kinds, in the given order."""
        texts = tuple(tuple(row[i] for i in indices) for row in self.texts)
        return Provenance(self.names, tuple(self.kinds[i] for i in indices), self.encoder, texts)

    def to_json(self) -> str:
        """One JSON object; `from_json` gives the same provenance back."""
        return json.dumps(
            {
                "format": _FORMAT,
                "names": self.names,
                "kinds": self.kinds,
                "encoder": self.encoder,
                "texts_sha256": self.texts_sha256,
                "texts": self.texts,
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            InputError: It is no such text, or the hash in it is not that of the texts in it.
        """
        try:
            read = json.loads(text)
            if read["format"] != _FORMAT:
                raise InputError(f"text prior of format {read['format']!r}; expected {_FORMAT!r}")
            texts = tuple(tuple(row) for row in read["texts"])
            provenance = cls(tuple(read["names"]), tuple(read["kinds"]), read["encoder"], texts)
            stored_hash = read["texts_sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                "text prior: its provenance cannot be read; expected what medfs text build wrote"
            ) from error
        if stored_hash != provenance.texts_sha256:
            raise InputError("text prior: its texts were changed after their hash; build it again")
        return provenance


def texts_sha256(texts: Sequence[Sequence[str]]) -> str:
    """Hash of texts in their order.

    >>> texts_sha256([("a", "b")]) == texts_sha256([("ab", "")])
    False
    """
    return hashlib.sha256(json.dumps([list(row) for row in texts], ensure_ascii=False).encode()).hexdigest()
