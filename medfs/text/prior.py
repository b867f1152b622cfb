"""Text priors: one vector per organ and kind of text, carried with the network that is conditioned on them."""

import difflib
import importlib.resources
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from medfs.anatomy import label_set, resolve_label_set
from medfs.errors import InputError, UsageError
from medfs.text import storage
from medfs.text.bank import bank_entries
from medfs.text.prompts import DEFAULT_KINDS
from medfs.text.provenance import Provenance

PUBLISHED_ROW_NORM = 4.8  # mean length of the rows of the published tensor


class TextPrior(nn.Module):
    """Vectors of N names with T kinds of text each, and where they come from.

    The vectors are a buffer: they follow ``.to()`` and are saved in the ``state_dict``, together with the provenance as
    a ``uint8`` tensor, which restricted unpickling accepts. Rows keep the length their encoder gave them.

    **Differs from the paper** (TAK): the vectors there are a plain attribute that no checkpoint holds, read from a
    fixed path; here a checkpoint says which encoder and texts it was trained with.

    Args:
        embedding: (N, T, D), finite.
        provenance: The N names, T kinds, encoder and texts.
        learnable: Makes the vectors a parameter instead of a buffer.

    Raises:
        UsageError: The shape does not match the provenance, or a value is not finite.

    References:
        Gu et al., Leveraging Textual Anatomical Knowledge for Class-Imbalanced Semi-Supervised Multi-Organ
        Segmentation, arXiv 2501.13470.
    """

    embedding: Tensor

    def __init__(self, embedding: Tensor, provenance: Provenance, *, learnable: bool = False) -> None:
        super().__init__()
        rows, kinds = len(provenance.names), len(provenance.kinds)
        if embedding.ndim != 3 or embedding.shape[:2] != (rows, kinds) or embedding.shape[2] == 0:
            raise UsageError(
                f"text prior: vectors of shape {tuple(embedding.shape)}; expected ({rows}, {kinds}, width)"
            )
        if not bool(torch.isfinite(embedding).all()):
            raise UsageError("text prior: a vector has a value that is not finite; build the prior again")
        self.provenance = provenance
        if learnable:
            self.embedding = nn.Parameter(embedding)
        else:
            self.register_buffer("embedding", embedding)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the rows; background is the first of a label set's prior."""
        return self.provenance.names

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the T texts of every name describe."""
        return self.provenance.kinds

    @property
    def width(self) -> int:
        """Length D of a vector."""
        return self.embedding.shape[-1]

    @property
    def row_norm(self) -> float:
        """Mean Euclidean length of the vectors."""
        return float(self.embedding.detach().norm(dim=-1).mean())

    @property
    def fingerprint(self) -> str:
        """Hash of encoder, kinds and width: what a trained network relies on."""
        return self.provenance.fingerprint(self.width)

    def forward(self, names: Sequence[str]) -> Tensor:
        """Vectors of some names, repeated names allowed: (len(names), T, D).

        Raises:
            UsageError: A name is not in the prior; the message has the nearest.
        """
        rows = torch.tensor(_indices("name", names, self.names), dtype=torch.long, device=self.embedding.device)
        return self.embedding[rows]

    def select(self, kinds: Sequence[str]) -> "TextPrior":
        """A prior of some of the kinds, in the given order, as a buffer."""
        columns = _indices("kind", kinds, self.kinds)
        return TextPrior(self.embedding.detach()[:, columns].clone(), self.provenance.columns(columns))

    def subset(self, names: Sequence[str]) -> "TextPrior":
        """A prior of some of the names, in the given order, as a buffer."""
        return self._rows(_indices("name", names, self.names))

    def _rows(self, rows: list[int]) -> "TextPrior":
        return TextPrior(self.embedding.detach()[rows].clone(), self.provenance.rows(rows))

    def similarity(self, kind: str) -> Tensor:
        """Cosine between all names for one kind of text: (N, N); a zero vector has cosine 0 with all."""
        column = _indices("kind", [kind], self.kinds)[0]
        unit = nn.functional.normalize(self.embedding.detach()[:, column], dim=-1)
        return unit @ unit.T

    def check_compatible(self, other: "TextPrior") -> None:
        """Refuse a prior that a network trained with this one cannot use; names and texts may differ.

        Raises:
            UsageError: Its encoder, kinds or width is another.
        """
        if self.fingerprint != other.fingerprint:
            given, trained = other.extra_repr(), self.extra_repr()
            raise UsageError(f"text prior: {given}; the network was trained with {trained}, so build it with the same")

    def extra_repr(self) -> str:
        """What ``print`` shows of it."""
        return f"{len(self.names)} names x {' + '.join(self.kinds)}, width {self.width}, from {self.provenance.encoder}"

    def get_extra_state(self) -> Tensor:
        """The provenance as bytes."""
        return storage.to_state(self.provenance)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the provenance that belongs to the vectors just loaded.

        Raises:
            UsageError: It is that of another number of names or kinds.
        """
        loaded = storage.from_state(state)
        found, expected = ((len(p.names), len(p.kinds)) for p in (loaded, self.provenance))
        if found != expected:
            raise UsageError(
                f"text prior: saved with {found[0]} names x {found[1]} kinds, this network has "
                f"{expected[0]} x {expected[1]}; build it for the names and kinds it was trained with"
            )
        self.provenance = loaded

    def save(self, path: Path | str) -> None:
        """Write vectors and provenance as one safetensors file, whole or not at all.

        Raises:
            StorageError: The file cannot be written.
        """
        storage.write_prior(Path(path), self.embedding, self.provenance)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: The file is missing, damaged or no text prior.
        """
        embedding, provenance = storage.read_prior(Path(path))
        try:
            return cls(embedding, provenance)
        except UsageError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def embedded(cls, names: str | Sequence[str]) -> "TextPrior":
        """The prior that ships with medfs, for a label set by its name or for organs by theirs, background first.

        **Differs from the papers** (TAK, CD-TG): a sentence encoder (all-MiniLM-L6-v2, width 384) has the place of
        CLIP. It was trained on texts alone, never on pictures.

        Raises:
            UsageError: The label set or an organ is unknown; the message has the nearest.
        """
        shipped = importlib.resources.files("medfs.text") / "priors" / "minilm.safetensors"
        with importlib.resources.as_file(shipped) as path:
            return cls.load(path).subset(resolve_label_set(names).names)

    @classmethod
    def described(cls, wanted: str | Sequence[str], kinds: Sequence[str] = ("description",)) -> "TextPrior":
        """The prior of descriptions that ships, for datasets, label sets or classes, background first.

        Args:
            wanted: as :func:`medfs.text.bank.bank_entries` takes it, e.g. ``["pascal_voc", "wbc"]``.
            kinds: ``"description"``, or ``"name"``, the control that has the bare names of the classes.

        **Differs from the paper** (CD-TG): as :meth:`embedded`; the sentences are our own.

        Raises:
            UsageError: A dataset, class or kind is unknown; the message has the nearest.
        """
        entries = bank_entries(wanted)
        shipped = importlib.resources.files("medfs.text") / "priors" / "minilm_descriptions.safetensors"
        with importlib.resources.as_file(shipped) as path:
            whole = cls.load(path).select(kinds)
        chosen = whole.subset([f"{dataset}/{name}" if dataset else name for dataset, name in entries.values()])
        return cls(chosen.embedding, replace(chosen.provenance, names=tuple(entries)))

    @classmethod
    def published(cls, path: Path | str, names: Sequence[str] | None = None) -> Self:
        """The tensor released with TAK, shape rows before location rows, whose texts and encoder are not public.

        Args:
            path: The ``.pth`` file, (2N, D).
            names: Its N names in their order; by default those of the label set ``amos``.

        Raises:
            InputError: The file holds no such tensor.
        """
        return cls(*storage.read_published(Path(path), label_set("amos").names if names is None else tuple(names)))

    @classmethod
    def random(
        cls,
        names: Sequence[str],
        kinds: Sequence[str] = DEFAULT_KINDS,
        width: int = 512,
        seed: int = 0,
        row_norm: float = PUBLISHED_ROW_NORM,
    ) -> Self:
        """Control without language: directions drawn at random, all vectors of one length.

        Give the `row_norm` of the prior it is compared with; equal seeds give equal vectors.
        """
        vectors = _directions((len(names), len(kinds), width), seed) * row_norm
        return cls(vectors, Provenance(tuple(names), tuple(kinds), f"random:{seed}"))

    @classmethod
    def learnable(
        cls,
        names: Sequence[str],
        kinds: Sequence[str] = DEFAULT_KINDS,
        width: int = 512,
        seed: int = 0,
        row_norm: float = PUBLISHED_ROW_NORM,
    ) -> Self:
        """Control without language: as `random`, but a parameter that training changes."""
        vectors = _directions((len(names), len(kinds), width), seed) * row_norm
        return cls(vectors, Provenance(tuple(names), tuple(kinds), f"learnable:{seed}"), learnable=True)

    @classmethod
    def one_hot(cls, names: Sequence[str], kinds: Sequence[str] = DEFAULT_KINDS) -> Self:
        """Control without language: name n is the n-th unit vector, D = N, the same for every kind."""
        vectors = torch.eye(len(names))[:, None].repeat(1, len(kinds), 1)
        return cls(vectors, Provenance(tuple(names), tuple(kinds), "one_hot"))

    @classmethod
    def shuffled(cls, prior: "TextPrior", seed: int = 0) -> "TextPrior":
        """Control with the wrong language: every name gets the texts and vectors of another one.

        Raises:
            UsageError: There is only one name.
        """
        if len(prior.names) < 2:
            raise UsageError("text prior: a single name cannot be shuffled; expected two or more")
        # A single cycle through all names leaves none at its place, as a plain permutation may.
        cycle = torch.randperm(len(prior.names), generator=torch.Generator().manual_seed(seed)).tolist()
        source = dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))
        wrong = prior._rows([source[row] for row in range(len(cycle))])
        origin = wrong.provenance
        return cls(
            wrong.embedding, Provenance(prior.names, origin.kinds, f"{origin.encoder} shuffled:{seed}", origin.texts)
        )


def _directions(shape: tuple[int, int, int], seed: int) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return nn.functional.normalize(drawn, dim=-1)


def _indices(what: str, wanted: Sequence[str], known: tuple[str, ...]) -> list[int]:
    if isinstance(wanted, str):
        raise UsageError(f"text prior: {what}s are a sequence; expected [{wanted!r}] instead of {wanted!r}")
    unknown = next((name for name in wanted if name not in known), None)
    if unknown is not None:
        nearest = difflib.get_close_matches(unknown, known, n=3, cutoff=0.4) or known[:3]
        raise UsageError(f"text prior: no {what} {unknown!r}; the nearest: {', '.join(nearest)}")
    position = {name: index for index, name in enumerate(known)}
    return [position[name] for name in wanted]
