"""What every text encoder does, whatever package its network comes from."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medfs.errors import InputError
from medfs.text.prompts import split_text


class TextEncoder(ABC):
    """A frozen text encoder that takes texts of any length.

    Attributes:
        name: Goes into the provenance of a prior; what follows ``@`` is a hash of the weights.
        token_limit: Longest text it takes whole, in tokens, with the special ones.
    """

    name: str
    token_limit: int

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Length of a text in tokens, with the special ones, before any truncation."""

    @abstractmethod
    def embed(self, text: str) -> Tensor:
        """Vector (D,) of a text that fits, not normalised."""

    def encode(self, text: str) -> Tensor:
        """Vector (D,) of a text: of the whole if it fits, otherwise the mean over its sentences.

        Texts go through the network one by one, so that a vector does not depend on what else is encoded.
        """
        pieces = split_text(text, lambda piece: self.count_tokens(piece) <= self.token_limit)
        with torch.no_grad():
            return torch.stack([self.embed(piece) for piece in pieces]).mean(dim=0)


def encode_texts(encoder: TextEncoder, texts: Iterable[Sequence[str]]) -> Tensor:
    """Vectors (N, T, D) of N names with T texts each."""
    return torch.stack([torch.stack([encoder.encode(text) for text in row]) for row in texts])


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Hash of the values of a network: the same for every file format and for every naming of its parameters.

    >>> one, zero = torch.ones(2), torch.zeros(2)
    >>> weights_digest({"a": one}) == weights_digest({"b": one}) != weights_digest({"a": zero})
    True
    """
    each = (
        hashlib.sha256(repr(tuple(v.shape)).encode() + v.detach().cpu().contiguous().numpy().tobytes())
        for v in state.values()
    )
    return hashlib.sha256("".join(sorted(h.hexdigest() for h in each)).encode()).hexdigest()[:16]


def read_json(path: Path) -> Any:
    """Content of a JSON file of a model folder; an empty dictionary where there is none.

    Raises:
        InputError: The file is no JSON.
    """
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: no valid JSON ({error}); copy the file again") from error


def first_line(error: Exception) -> str:
    """What another package's error says first, without its full stop."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
