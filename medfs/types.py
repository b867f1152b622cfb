"""What the parts of few-shot segmentation hand to each other, checked at construction.

Shape legend, used throughout: ``B`` episodes, ``K`` shots, ``C`` channels, ``P`` prototypes, ``*S`` spatial, 2 axes
(rows, columns) or 3 (slices, rows, columns).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medfs.errors import UsageError

Features = tuple[Tensor, ...]
"""Stages of an encoder, fine to coarse, each (B, C, *S) with its own C and S; those of supports are (B, K, C, *S)."""


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """One class to find in a query, shown in K supports; B of them.

    Episodes are binary by construction: N organs are N episodes that share the query. All images of a batch lie on
    grids of one size; where they were made so by padding, the validity masks say which voxels are the scan's own.

    Attributes:
        support_image: (B, K, C, *S) floating point.
        support_mask: (B, K, *S) bool.
        query_image: (B, C, *S).
        query_mask: (B, *S) bool; None at inference.
        class_name: one name for each of the B episodes; empty where the class has none, as with supervoxels.
        support_valid: (B, K, *S) bool, false where padded; None if nothing is.
        query_valid: (B, *S) bool, likewise.

    Raises:
        UsageError: the shapes do not fit together, a mask is not boolean or an image not of floating point.
    """

    support_image: Tensor
    support_mask: Tensor
    query_image: Tensor
    query_mask: Tensor | None = None
    class_name: tuple[str, ...] = ()
    support_valid: Tensor | None = None
    query_valid: Tensor | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.support_image.shape)
        if len(shape) not in (5, 6):
            raise UsageError(f"episode: support images of shape {shape}; expected (B, K, C, *S) with 2 or 3 axes of S")
        batch, shots, channels, size = shape[0], shape[1], shape[2], shape[3:]
        expected = {
            "support_mask": (batch, shots, *size),
            "query_image": (batch, channels, *size),
            "query_mask": (batch, *size),
            "support_valid": (batch, shots, *size),
            "query_valid": (batch, *size),
        }
        for name, wanted in expected.items():
            tensor = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != wanted:
                raise UsageError(
                    f"episode: {name} of shape {tuple(tensor.shape)}; support images of {shape} need {wanted}"
                )
            if tensor is not None and name != "query_image" and tensor.dtype != torch.bool:
                raise UsageError(f"episode: {name} of type {tensor.dtype}; expected bool")
        if not (self.support_image.is_floating_point() and self.query_image.is_floating_point()):
            raise UsageError(f"episode: images of {self.support_image.dtype}; expected floating point")
        if len(self.class_name) not in (0, batch):
            raise UsageError(f"episode: {len(self.class_name)} class names for {batch} episodes; expected one each")

    @classmethod
    def of(
        cls,
        supports: Sequence[tuple[Tensor, Tensor]],
        query: tuple[Tensor, Tensor | None],
        class_name: str | None = None,
    ) -> "Episode":
        """One episode (B = 1) from K supports and a query of any sizes, all of one voxel size.

        Args:
            supports: image (C, *S) and mask (*S) of each; S may differ. What is smaller than the largest is padded at
                the end of each axis, images with their lowest value.
            query: the same; its mask may be None.
            class_name: name of the class, None if it has none.

        Raises:
            UsageError: there is no support, or channels or numbers of axes differ.
        """
        if not supports:
            raise UsageError("episode: no support; expected at least one")
        size = _common_size([*(image.shape[1:] for image, _ in supports), query[0].shape[1:]])
        valid = torch.stack([_padded(torch.ones_like(mask), size) for _, mask in supports])[None]
        query_valid = _padded(_valid(None, query[0][0]), size)[None]
        _require_equal("channels", [image.shape[0] for image, _ in (*supports, query)])
        return cls(
            support_image=torch.stack([_padded(image, size) for image, _ in supports])[None],
            support_mask=torch.stack([_padded(mask, size) for _, mask in supports])[None],
            query_image=_padded(query[0], size)[None],
            query_mask=None if query[1] is None else _padded(query[1], size)[None],
            class_name=() if class_name is None else (class_name,),
            support_valid=None if valid.all() else valid,
            query_valid=None if query_valid.all() else query_valid,
        )

    @classmethod
    def collate(cls, episodes: Sequence["Episode"]) -> "Episode":
        """One batch from several; the ``collate_fn`` of a data loader.

        Sizes are brought to the largest of each axis as in :meth:`of`.

        Raises:
            UsageError: there is none, or they differ in shots, channels, number of axes, or in whether they have a
                query mask or names.
        """
        if not episodes:
            raise UsageError("episode: nothing to collate; expected at least one")
        _require_equal("shots and channels", [tuple(e.support_image.shape[1:3]) for e in episodes])
        _require_equal(
            "presence of query masks and names", [(e.query_mask is None, not e.class_name) for e in episodes]
        )
        size = _common_size([e.query_image.shape[2:] for e in episodes])
        support_valid = torch.cat([_padded(_valid(e.support_valid, e.support_mask), size) for e in episodes])
        query_valid = torch.cat([_padded(_valid(e.query_valid, e.query_image[:, 0]), size) for e in episodes])
        queries = [_padded(e.query_mask, size) for e in episodes if e.query_mask is not None]
        return cls(
            support_image=torch.cat([_padded(e.support_image, size) for e in episodes]),
            support_mask=torch.cat([_padded(e.support_mask, size) for e in episodes]),
            query_image=torch.cat([_padded(e.query_image, size) for e in episodes]),
            query_mask=torch.cat(queries) if queries else None,
            class_name=tuple(name for e in episodes for name in e.class_name),
            support_valid=None if support_valid.all() else support_valid,
            query_valid=None if query_valid.all() else query_valid,
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Episode":
        """The same episodes on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Episode":
        """The same episodes in page-locked memory; a data loader with ``pin_memory`` calls it."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Episode":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {name: change(v) for name, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **changed)


@dataclass(frozen=True, slots=True, eq=False)
class Prototypes:
    """What a head extracts from the supports at one level of features.

    Attributes:
        foreground: (B, P, C).
        background: (B, P', C); None for heads that do without.
        side: what else is worth knowing, by name, e.g. the share of foreground that was kept, (B,).
        directions: whether they have length 1, or 0 where there is nothing; who changes them keeps that.
    """

    foreground: Tensor
    background: Tensor | None = None
    side: Mapping[str, Tensor] = field(default_factory=dict)
    directions: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a head says of the query.

    Attributes:
        logits: (B, 2, *S), background and foreground.
        side: side outputs by name.
        found: (B, *s) bool, the foreground on the grid on which the head decided; None where that is the logits' own.

    Raises:
        UsageError: there are not two classes.
    """

    logits: Tensor
    side: Mapping[str, Tensor] = field(default_factory=dict)
    found: Tensor | None = None

    def __post_init__(self) -> None:
        if self.logits.ndim < 3 or self.logits.shape[1] != 2:
            raise UsageError(f"prediction: logits of shape {tuple(self.logits.shape)}; expected (B, 2, *S)")

    @classmethod
    def of_foreground(
        cls, probability: Tensor, side: Mapping[str, Tensor] | None = None, found: Tensor | None = None
    ) -> "Prediction":
        """From the probability of foreground (B, *S): the logits are the logs of the pair, clamped to stay finite."""
        precision = torch.finfo(torch.float32).eps
        probability = probability.float().clamp(precision, 1 - precision)
        return cls(torch.stack([1 - probability, probability], dim=1).log(), side or {}, found)

    @property
    def probability(self) -> Tensor:
        """(B, 2, *S), sums to 1 over the classes."""
        return self.logits.softmax(dim=1)


def _padded(tensor: Tensor, size: tuple[int, ...]) -> Tensor:
    """Grow the last axes to ``size`` at their ends, with False or the lowest value of all."""
    missing = [(0, wanted - length) for wanted, length in zip(size, tensor.shape[-len(size) :], strict=True)]
    if not any(after for _, after in missing):
        return tensor
    value = 0.0 if tensor.dtype == torch.bool else float(tensor.min())
    return F.pad(tensor, [n for pair in reversed(missing) for n in pair], value=value)


def _valid(valid: Tensor | None, like: Tensor) -> Tensor:
    return torch.ones_like(like, dtype=torch.bool) if valid is None else valid


def _common_size(sizes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    _require_equal("numbers of axes", [len(size) for size in sizes])
    return tuple(max(lengths) for lengths in zip(*sizes, strict=True))


def _require_equal(what: str, found: Sequence[object]) -> None:
    other = next((value for value in found if value != found[0]), None)
    if other is not None:
        raise UsageError(f"episode: different {what}, {found[0]} and {other}; expected equal ones")
