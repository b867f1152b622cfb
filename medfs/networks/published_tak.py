"""Loading the parameters of the published TAK network."""

from collections.abc import Mapping

from torch import Tensor

from medfs.errors import InputError
from medfs.networks.text_vnet import TextVNet


def _modules() -> dict[str, str]:
    """Published module names and ours."""
    table = {
        "text_to_64": "alignment.texts.0",
        "text_to_128": "alignment.texts.1",
        "text_to_256": "head.classes.project",
        "text_to_vision": "head.classes.fuse",
        "precls_conv": "head.reduce",
        "controller": "head.controller",
    }
    for level, name in enumerate(("one", "two", "three", "four", "five")):
        table[f"block_{name}.conv"] = f"backbone.encoder.{level}"
        table[f"block_{name}_dw.conv"] = f"backbone.down.{level}"
    for level, (below, name) in enumerate((("eight", "nine"), ("seven", "eight"), ("six", "seven"), ("five", "six"))):
        table[f"block_{below}_up.conv"] = f"backbone.up.{level}"
        table[f"block_{name}.conv"] = f"backbone.decoder.{level}"
    for scale, (pool, width) in enumerate((("Gap", 64), ("GAP", 128), ("GAP", 256))):
        table[f"{pool}_{width}.0"] = f"context.norms.{scale}"
        table[f"{pool}_{width}.3"] = f"context.projections.{scale}"
        table[f"features_to_{width}"] = f"alignment.features.{scale}"
    return table


_MODULES = _modules()
_TRAINING_ONLY = "fc_layer."  # the classifier of cube locations belongs to the objective, not to the network


def tak_parameter_name(published: str) -> str | None:
    """Our name of a published parameter; None for the classifier of cube locations, which the network does without.

    Raises:
        InputError: for a name that the published network does not have.

    >>> tak_parameter_name("block_nine.conv.0.weight")
    'backbone.decoder.0.0.weight'
    """
    name = published.removeprefix("module.")
    if name.startswith(_TRAINING_ONLY):
        return None
    parts = name.split(".")
    for length in (2, 1):
        module = _MODULES.get(".".join(parts[:length]))
        if module is not None:
            return ".".join([module, *parts[length:]])
    raise InputError(f"{published}: not a parameter of the published TAK network")


def load_published_tak(network: TextVNet, parameters: Mapping[str, Tensor]) -> None:
    """Load published parameters into a network of the published size (defaults of ``TextVNet`` and ``TextFusion``).

    The texts are no parameter there, so the network's own prior stays as it is.

    Args:
        network: receives the values.
        parameters: published ``state_dict``.

    Raises:
        InputError: if a parameter is unknown, missing or of another shape; the first such is named.
    """
    own = network.state_dict()
    published = {tak_parameter_name(name): name for name in parameters}
    for name, value in own.items():
        if name.startswith("head.classes.prior."):
            continue
        if name not in published:
            raise InputError(f"published TAK parameters: {name} is missing")
        given = parameters[published[name]]
        if given.numel() != value.numel():
            raise InputError(f"{published[name]}: shape {tuple(given.shape)}; expected {tuple(value.shape)}")
        own[name] = given.reshape(value.shape)
    extra = [name for ours, name in published.items() if ours is not None and ours not in own]
    if extra:
        raise InputError(f"{extra[0]}: no place for it in this network")
    network.load_state_dict(own)
