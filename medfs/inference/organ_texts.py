"""The texts of the organs that are looked for: those that the network knows, that ship, or that a user writes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medfs.anatomy import find_organ
from medfs.errors import MedfsError, UsageError, root_cause
from medfs.fewshot import FewShotSegmentor
from medfs.text import Provenance, TextPrior
from medfs.text.bank import BANK_KINDS
from medfs.text.prompts import BACKGROUND

_BUILD = "or encode it elsewhere with `medfs text build` and give the file: --text FILE.safetensors"


def tell_organs(
    segmentor: FewShotSegmentor, organs: Sequence[str], given: Sequence[str] = (), encoder: str | None = None
) -> TextPrior | None:
    """Give a network that reads texts those of the organs that are looked for.

    Args:
        segmentor: its prior is replaced by one of the background and the organs.
        organs: their names.
        given: texts of a user: ``NAME=TEXT``; ``TEXT`` alone, if there is one organ; or a file of ``medfs text build``
            whose names then count as known. A text is a sentence, or the name of a class that is known. An organ
            without one is known by its own name: to the file, to the network, or to the descriptions that ship.
        encoder: where the encoder of the network's texts is, to encode a sentence; None for where it was in training.

    Returns:
        The prior; None if the network reads no texts.

    Raises:
        UsageError: the network reads no texts and some are given; an organ has no text; or a sentence cannot be
            encoded.
    """
    trained = segmentor.text_prior if len(segmentor.plugins) else None
    if trained is None:
        if given:
            raise UsageError(
                "--text: the network reads no texts; expected a --checkpoint that was trained with the plug-in CD-TG"
            )
        return None
    files = [TextPrior.load(text) for text in given if text.endswith(".safetensors")]
    for file in files:
        trained.check_compatible(file)
    told = _by_organ([text for text in given if not text.endswith(".safetensors")], organs)
    if BACKGROUND in organs:
        raise UsageError("--text: the background is no organ; expected organs alone")
    known = [*files, trained]
    rows = [(trained([BACKGROUND])[0].detach().cpu(), BACKGROUND)]
    rows += [_row(trained, known, organ, told.get(organ), encoder) for organ in organs]
    vectors, texts = zip(*rows, strict=True)
    same = tuple((text,) * len(trained.kinds) for text in texts)
    names = (BACKGROUND, *organs)
    prior = TextPrior(torch.stack(vectors), Provenance(names, trained.kinds, trained.provenance.encoder, same))
    segmentor.text_prior = prior.to(trained.embedding.device)
    return prior


def _by_organ(given: Sequence[str], organs: Sequence[str]) -> dict[str, str]:
    told = {}
    for text in given:
        name, separator, rest = text.partition("=")
        organ = _organ(name.strip(), organs) if separator else None
        if separator and organ is None and " " not in name.strip():
            raise UsageError(f"--text {text!r}: {name.strip()} is not looked for; expected {', '.join(organs)}")
        if organ is None and len(organs) != 1:
            raise UsageError(f"--text {text!r}: of which organ? expected NAME={text}, one of {', '.join(organs)}")
        told[organ or organs[0]] = (rest if organ else text).strip()
    if empty := [organ for organ, text in told.items() if not text]:
        raise UsageError(f"--text: nothing said of {', '.join(empty)}; expected a sentence or the name of a class")
    return told


def _organ(name: str, organs: Sequence[str]) -> str | None:
    """The one of some organs that a name or synonym stands for."""
    if name in organs:
        return name
    try:
        known = find_organ(name).name
    except UsageError:
        return None
    return known if known in organs else None


def _row(
    trained: TextPrior, known: Sequence[TextPrior], organ: str, text: str | None, encoder: str | None
) -> tuple[Tensor, str]:
    """Vectors (T, D) of an organ, and what they say."""
    name = organ if text is None else text
    for prior in known:
        if name in prior.names:
            return prior([name])[0].detach().cpu(), name
    shipped = _shipped(trained, name)
    if isinstance(shipped, Tensor):
        return shipped, name
    if text is None:
        raise UsageError(
            f"{organ}: the network reads texts and has none of it; name the organs with --labels, or describe it: "
            f'--text "{organ}=..."'
        )
    if " " not in text:
        raise UsageError(f"--text {text!r}: {shipped}; expected such a name, or a sentence of several words")
    return _encoded(trained, text, encoder).expand(len(trained.kinds), -1), text


def _shipped(trained: TextPrior, name: str) -> Tensor | str:
    """Vectors of a name that ship and fit the network, or why there are none."""
    try:
        in_bank = set(trained.kinds) <= set(BANK_KINDS)
        prior = TextPrior.described([name], trained.kinds) if in_bank else TextPrior.embedded([name])
    except UsageError as error:
        return str(error)
    if len(prior.names) != 2 or prior.fingerprint != trained.fingerprint:
        return "not known to the network"
    return prior.embedding[1].detach()


def _encoded(trained: TextPrior, text: str, encoder: str | None) -> Tensor:
    """The vector (1, D) of a sentence, by the encoder of the network's texts."""
    from medfs.text.encoders import load_encoder

    made_by, _, digest = trained.provenance.encoder.rpartition("@")
    if not made_by:
        raise UsageError(f"--text: the network's texts are {digest}, of no encoder; expected the names of its classes")
    try:
        model = load_encoder(encoder or made_by)
    except (MedfsError, ImportError) as error:
        raise UsageError(
            f"--text: a new sentence needs {made_by}, which encoded the network's texts ({root_cause(error)}); say "
            f"where it is with --text-encoder, {_BUILD}"
        ) from error
    if model.name.rpartition("@")[2] != digest:
        raise UsageError(
            f"--text: {encoder or made_by} is not {trained.provenance.encoder}, which encoded the network's texts; "
            f"expected that one in --text-encoder, {_BUILD}"
        )
    return model.encode(text)[None]
