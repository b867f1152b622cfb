"""Text encoders from model folders that ``transformers`` reads."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medfs.errors import InputError, UsageError
from medfs.text.encoders.base import TextEncoder, first_line, read_json, weights_digest

_CLIP_TYPES = {"clip", "clip_text_model"}
# Their position embeddings start behind the padding index, so two of them hold no token.
_OFFSET_POSITION_TYPES = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"}


class TransformersEncoder(TextEncoder):
    """A model folder as ``transformers`` and sentence-transformers write it.

    A normalisation that a sentence encoder's folder asks for is left out: rows keep their length.

    Args:
        folder: Holds ``config.json``, the tokenizer's files, the weights and, for a sentence encoder, ``1_Pooling``.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise InputError(
                f"transformers:{folder}: no config.json there; put the files of one model (config.json, tokenizer "
                f"files, model.safetensors) into that folder, e.g. hf download OWNER/NAME --local-dir {folder}"
            )
        self._pooling = _pooling(folder)
        self._tokenizer, self._model = self._read(folder)
        config = self._model.config
        positions = getattr(config, "max_position_embeddings", None) or sys.maxsize
        if config.model_type in _OFFSET_POSITION_TYPES:
            positions -= (config.pad_token_id or 0) + 1
        sentence = read_json(folder / "sentence_bert_config.json").get("max_seq_length") or sys.maxsize
        self.token_limit = min(positions, sentence, self._tokenizer.model_max_length)
        # A pooling layer that is not used may not even be in the file.
        used = {k: v for k, v in self._model.named_parameters() if not (self._pooling and k.startswith("pooler."))}
        self.name = f"transformers:{folder.resolve().name}@{weights_digest(used)}"

    def _read(self, folder: Path) -> tuple[Any, Any]:
        from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPTextModelWithProjection

        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            kind: Any = CLIPTextModelWithProjection if config.model_type in _CLIP_TYPES else AutoModel
            if (
                config.model_type == "clip"
            ):  # of both towers: the width of the projection stands outside the text's part
                config.text_config.projection_dim = config.projection_dim
                config = config.text_config
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model, report = kind.from_pretrained(
                folder, config=config, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:  # these loaders raise what they like
            raise InputError(f"transformers:{folder}: {first_line(error)}; expected the files of one model") from error
        missing = sorted(k for k in report["missing_keys"] if not (self._pooling and k.startswith("pooler.")))
        if missing:
            raise InputError(f"transformers:{folder}: the weights lack {missing[0]}; expected those of its config.json")
        return tokenizer, model.eval()

    def count_tokens(self, text: str) -> int:
        """Length of a text in tokens, with the special ones, before any truncation."""
        return len(self._tokenizer(text, verbose=False)["input_ids"])

    def embed(self, text: str) -> Tensor:
        """Vector (D,) of a text that fits, not normalised."""
        tokens = self._tokenizer(text, return_tensors="pt")
        output = self._model(**tokens)
        if self._pooling == "mean":
            mask = tokens["attention_mask"][0, :, None].to(output.last_hidden_state.dtype)
            return (output.last_hidden_state[0] * mask).sum(dim=0) / mask.sum()
        if self._pooling == "cls":
            return output.last_hidden_state[0, 0]
        pooled = getattr(output, "text_embeds", None)
        pooled = getattr(output, "pooler_output", None) if pooled is None else pooled
        if pooled is None:
            raise UsageError(
                f"{self.name}: gives one vector per token, not per text; "
                'write {"pooling_mode_mean_tokens": true} into 1_Pooling/config.json of its folder for their mean'
            )
        return pooled[0]


def _pooling(folder: Path) -> str:
    """``mean`` or ``cls`` if the folder says so, empty for the model's own output."""
    modules = [module["type"].rpartition(".")[2] for module in read_json(folder / "modules.json") or ()]
    foreign = [module for module in modules if module not in {"Transformer", "Pooling", "Normalize"}]
    read = read_json(folder / "1_Pooling" / "config.json")
    modes = {
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in read.items()
        if key.startswith("pooling_mode_") and value
    }
    modes |= {read["pooling_mode"]} if "pooling_mode" in read else set()
    if foreign or modes - {"mean", "cls"} or len(modes) > 1:
        found = ", ".join([*foreign, *sorted(modes)])
        raise UsageError(
            f"transformers:{folder}: {found} is not supported; expected mean or cls pooling and nothing after"
        )
    return next(iter(modes), "")
