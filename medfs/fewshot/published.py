"""Published checkpoints: their parameter names and ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from medfs.errors import UsageError
from medfs.fewshot.heads import ADNetHead, DMAPHead
from medfs.fewshot.segmentor import FewShotSegmentor
from medfs.networks import ResNetEncoder
from medfs.networks.weights import load_exactly


@dataclass(frozen=True)
class _Published:
    """A published network: how to build it, its names for the beginnings of ours, and its layers without use."""

    build: Callable[[], FewShotSegmentor]
    names: Mapping[str, str]
    unused: tuple[str, ...] = ()


_ADNET = {
    "head.threshold": "t",
    "head.reduce.": "encoder.localconv.",
    "encoder.": "encoder.backbone.",
}
_DMAP = {
    "head.thresholds.shared.": "encoder.backbone.fc.",
    "head.thresholds.scalars.0.": "encoder.reduce1d.",
    "head.thresholds.scalars.1.": "encoder.reduce2d.",
    "head.reduce.0.": "encoder.reduce1.",
    "head.reduce.1.": "encoder.reduce2.",
    "encoder.": "encoder.backbone.",
}


def _adnet() -> FewShotSegmentor:
    encoder = ResNetEncoder(101, dilate=(False, True, True))
    return FewShotSegmentor(encoder, ADNetHead(encoder.out_channels))


def _dmap() -> FewShotSegmentor:
    encoder = ResNetEncoder(101)
    return FewShotSegmentor(encoder, DMAPHead(encoder.out_channels))


_METHODS = {
    "adnet": _Published(_adnet, _ADNET, unused=("encoder.asppconv.", "encoder.aspp_out.")),
    "dmap": _Published(_dmap, _DMAP),
}


def published_methods() -> tuple[str, ...]:
    """Methods whose checkpoints can be loaded.

    >>> published_methods()
    ('adnet', 'dmap')
    """
    return tuple(_METHODS)


def published_segmentor(method: str) -> FewShotSegmentor:
    """The network of a published method, of the published size and with its computation; weights are random.

    Raises:
        UsageError: no such method.
    """
    return _entry(method).build()


def published_name(ours: str, method: str) -> str:
    """The name that a published checkpoint has for a parameter of ours.

    Raises:
        UsageError: no such method.

    >>> published_name("head.reduce.0.weight", "dmap")
    'encoder.reduce1.weight'
    """
    table = _entry(method).names
    prefix = next(prefix for prefix in table if ours.startswith(prefix))
    return table[prefix] + ours.removeprefix(prefix)


def load_published(
    segmentor: FewShotSegmentor, parameters: Mapping[str, Tensor], method: str, source: str | Path = ""
) -> tuple[str, ...]:
    """Load published parameters into a network of the published size.

    Args:
        segmentor: receives the values.
        parameters: published ``state_dict``.
        method: whose names they have.
        source: the file, for the message.

    Returns:
        The names that were left out: layers that the published network holds and never uses.

    Raises:
        InputError: names are missing or unexpected, or a shape differs; nothing is loaded.
        UsageError: no such method.
    """
    said = str(source) or f"published parameters of {method}"
    left_out = tuple(name for name in parameters if name.startswith(_entry(method).unused))
    used = {name: value for name, value in parameters.items() if name not in left_out}
    load_exactly(segmentor, used, said, lambda ours: published_name(ours, method))
    return left_out


def _entry(method: str) -> _Published:
    try:
        return _METHODS[method]
    except KeyError:
        raise UsageError(f"no published method {method!r}; expected one of {', '.join(_METHODS)}") from None
