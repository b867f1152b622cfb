"""Published checkpoints: their parameter names and ours.

The names of ADNet, DMAP, DMTNet, HCPMNet, IFA, PATNet and Q-Net are those of stored lists of their parameters. There is
no such list of PMMs, which cannot be loaded for that reason. Nor is there one of SSL-ALPNet: the names accepted for it
are those of ADNet, which has the same encoder, without ADNet's threshold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.fewshot.heads import (
    ADNetHead,
    ALPHead,
    DMAPHead,
    DMTNetHead,
    EpisodeHead,
    HCPMHead,
    IFAHead,
    PATNetHead,
    QNetHead,
)
from medfs.fewshot.segmentor import FewShotSegmentor
from medfs.networks import DeepStemEncoder, ResNetBlocksEncoder, ResNetEncoder
from medfs.networks.weights import load_exactly

_RESNET = partial(ResNetEncoder, 101)
_DEEPLAB = partial(ResNetEncoder, 101, dilate=(False, True, True))


@dataclass(frozen=True)
class _Published:
    """A published network: its head, its names for the beginnings of ours, its encoder, its layers without use."""

    head: Callable[[Sequence[int]], EpisodeHead]
    names: Mapping[str, str]
    encoder: Callable[[], nn.Module] = _RESNET
    unused: tuple[str, ...] = ()


_ALPNET = {"head.reduce.": "encoder.localconv.", "encoder.": "encoder.backbone."}
_ADNET = {"head.threshold": "t"} | _ALPNET
_DEEPLAB_UNUSED = ("encoder.asppconv.", "encoder.aspp_out.")
_QNET = {
    "head.thresholds.shared.": "encoder.backbone.fc.",
    "head.thresholds.scalars.0.": "encoder.reduce1d.",
    "head.reduce.0.": "encoder.reduce1.",
    "head.reduce.1.": "encoder.reduce2.",
    "encoder.": "encoder.backbone.",
}
_DMAP = _QNET | {"head.thresholds.scalars.1.": "encoder.reduce2d."}
_HCPMNET = {
    "head.closeness": "a",
    "head.background_expansion.": "fc.",
    "head.scalars.0.": "encoder.backbone.fc.",
    "head.scalars.1.": "encoder.reduce1d.",
    "head.reduce.": "encoder.reduce1.",
    **{
        f"head.{ours}.{part}": f"{theirs}.{name}"
        for ours, theirs in (("mine_query", "IA1"), ("mine_support", "IA2"))
        for part, name in (("mu", "mu"), ("to_query.", "wq."), ("to_key.", "wk."), ("to_value.", "wv."))
    },
    "head.foreground.support_weight": "beta1",
    "head.background.support_weight": "beta2",
    **{
        f"head.{ours}.decoder.{part}.": f"{theirs}.{name}."
        for ours, theirs in (("foreground", "decoder1"), ("background", "decoder2"))
        for part, name in (("merge", "merge"), ("lift", "res1"), ("residual", "res2"), ("decide", "cls"))
    },
    "encoder.": "encoder.backbone.",
}
_CORRELATION_BLOCKS = {"squeeze.0": "4", "squeeze.1": "3", "squeeze.2": "2", "mix.0": "4to3", "mix.1": "3to2"}
_HYPERCORRELATION = {
    **{
        f"head.decoder.{ours}.{place}.{part}.": f"hpn_learner.encoder_layer{theirs}.{place}.{name}."
        for ours, theirs in _CORRELATION_BLOCKS.items()
        for place in (0, 3, 6)
        for part, name in (("over_query", "conv1"), ("over_support", "conv2"))
    },
    **{f"head.decoder.{ours}.": f"hpn_learner.encoder_layer{theirs}." for ours, theirs in _CORRELATION_BLOCKS.items()},
    "head.decoder.decode.": "hpn_learner.decoder1.",
    "head.decoder.decide.": "hpn_learner.decoder2.",
    "encoder.": "backbone.",
}
_PATNET = {f"head.anchors.{n}": f"reference_layer{n + 1}.weight" for n in range(3)} | _HYPERCORRELATION
_DMTNET = {f"head.query_anchors.{n}": f"reference_layer{n + 4}.weight" for n in range(3)} | _PATNET
_IFA = {"encoder.conv1.": "layer0.0.", "encoder.bn1.": "layer0.1.", "encoder.": ""}
_ANCHOR_BIASES = tuple(f"reference_layer{n}.bias" for n in range(1, 7))


_METHODS = {
    "adnet": _Published(ADNetHead, _ADNET, _DEEPLAB, _DEEPLAB_UNUSED),
    "alpnet": _Published(ALPHead, _ALPNET, _DEEPLAB, _DEEPLAB_UNUSED),
    "dmap": _Published(DMAPHead, _DMAP),
    "dmtnet": _Published(DMTNetHead, _DMTNET, ResNetBlocksEncoder, ("backbone.fc.", *_ANCHOR_BIASES)),
    "hcpmnet": _Published(HCPMHead, _HCPMNET),
    "ifa": _Published(IFAHead, _IFA, DeepStemEncoder),
    "patnet": _Published(PATNetHead, _PATNET, ResNetBlocksEncoder, ("backbone.fc.", *_ANCHOR_BIASES)),
    "qnet": _Published(QNetHead, _QNET),
}


def published_methods() -> tuple[str, ...]:
    """Methods whose checkpoints can be loaded.

    >>> published_methods()
    ('adnet', 'alpnet', 'dmap', 'dmtnet', 'hcpmnet', 'ifa', 'patnet', 'qnet')
    """
    return tuple(_METHODS)


def published_segmentor(method: str) -> FewShotSegmentor:
    """The network of a published method, of the published size and with its computation; weights are random.

    Raises:
        UsageError: no such method.
    """
    entry = _entry(method)
    encoder = entry.encoder()
    return FewShotSegmentor(encoder, entry.head(encoder.out_channels))  # type: ignore[arg-type]


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
