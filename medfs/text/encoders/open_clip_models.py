"""Text towers of open_clip models."""

import difflib
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from medfs.errors import InputError, UsageError
from medfs.text.encoders.base import TextEncoder, first_line, read_json, weights_digest

_SCHEMES = ("local-dir", "hf-hub")


class OpenClipEncoder(TextEncoder):
    """The text tower of an open_clip model.

    Args:
        model: ``MODEL/WEIGHTS`` as ``open_clip.list_pretrained()`` has them, or a scheme and where it leads.
    """

    def __init__(self, model: str) -> None:
        import open_clip

        scheme, place = next(
            ((s, model.removeprefix(f"{s}:")) for s in _SCHEMES if model.startswith(f"{s}:")), ("", "")
        )
        if scheme == "local-dir":
            place = str(Path(place).expanduser())
        architecture, _, weights = (f"{scheme}:{place}", "", "") if scheme else model.rpartition("/")
        label = f"local-dir:{Path(place).resolve().name}" if scheme == "local-dir" else model
        remedy = _check_open_clip(open_clip, scheme, place, architecture, weights)
        options = _text_tower_options(Path(place)) if scheme == "local-dir" else {}
        if not scheme:
            activation = open_clip.get_pretrained_cfg(architecture, weights).get("quick_gelu", False)
            options = {"pretrained": weights, "force_quick_gelu": activation}
        try:
            self._model = open_clip.create_model(architecture, require_pretrained=True, **options).float().eval()
            self._tokenizer = open_clip.get_tokenizer(architecture)
        except Exception as error:  # these loaders raise what they like
            raise InputError(f"open_clip:{model}: {first_line(error)}; {remedy}") from error
        self.token_limit = min(self._tokenizer.context_length, self._model.context_length or sys.maxsize)
        text_tower = {k: v for k, v in self._model.named_parameters() if not k.startswith("visual.")}
        self.name = f"open_clip:{label}@{weights_digest(text_tower)}"

    def count_tokens(self, text: str) -> int:
        """Length of a text in tokens, with the special ones, before any truncation."""
        if hasattr(self._tokenizer, "encode"):  # open_clip's own tokenizer: without start and end
            return len(self._tokenizer.encode(text)) + 2
        cleaned = getattr(self._tokenizer, "clean_fn", str)(text)
        three_special = bool(getattr(self._tokenizer, "tokenizer_mode", ""))
        tokens = self._tokenizer.tokenizer(cleaned, add_special_tokens=not three_special, verbose=False)
        return len(tokens["input_ids"]) + 3 * three_special

    def embed(self, text: str) -> Tensor:
        """Vector (D,) of a text that fits, not normalised."""
        return self._model.encode_text(self._tokenizer([text]), normalize=False)[0]


def _check_open_clip(open_clip: Any, scheme: str, place: str, architecture: str, weights: str) -> str:
    """Refuse what cannot be there; otherwise say where missing files belong."""
    if scheme == "local-dir":
        if not (Path(place) / "open_clip_config.json").is_file():
            raise InputError(
                f"open_clip:local-dir:{place}: no open_clip_config.json there; put that file, the weights and the "
                "tokenizer files of one model into that folder"
            )
        return "expected open_clip_config.json, its weights and its tokenizer files in that folder"
    repository = place
    if not scheme:
        known = [f"{model}/{tag}" for model, tag in open_clip.list_pretrained()]
        if f"{architecture}/{weights}" not in known:
            nearest = difflib.get_close_matches(f"{architecture}/{weights}", known, n=3, cutoff=0.3)
            raise UsageError(f"encoder open_clip:{architecture}/{weights}: unknown; the nearest: {', '.join(nearest)}")
        repository = open_clip.get_pretrained_cfg(architecture, weights).get("hf_hub", "").rstrip("/") or "OWNER/NAME"
    return (
        f"without a network: run hf download {repository} --local-dir FOLDER where there is one, "
        "bring the folder here and use open_clip:local-dir:FOLDER"
    )


def _text_tower_options(folder: Path) -> dict[str, Any]:
    """Point a BERT-like text tower at the folder's own ``config.json`` instead of a name on the Hub."""
    text = read_json(folder / "open_clip_config.json").get("model_cfg", {}).get("text_cfg", {})
    name = text.get("hf_model_name")
    if not name or Path(name).is_dir():
        return {}
    if not (folder / "config.json").is_file():
        raise InputError(
            f"open_clip:local-dir:{folder}: its text tower is {name}; put the config.json of that model "
            "(not its weights) into the folder"
        )
    return {"text_cfg": {**text, "hf_model_name": str(folder), "hf_model_pretrained": False}}
