"""Tiny model folders with random weights, written as the packages that read them expect."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

WORDS = ["the", "liver", "lies", "right", "spleen", "left", "kidney", "is", "round", "large", ".", ",", ";", "##s"]


def write_tokenizer(folder: Path, longest: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": longest}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def tiny_bert_config(longest: int):
    from transformers import BertConfig

    return BertConfig(
        vocab_size=19, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=longest, hidden_dropout_prob=0.5, initializer_range=0.5,
    )  # fmt: skip


@pytest.fixture(scope="session")
def transformers_ready() -> None:
    """Make ``transformers`` importable also beside a torchvision of another build."""
    from medfs.text.encoders.loading import import_torchvision

    import_torchvision()


@pytest.fixture
def bert_folder(tmp_path: Path, transformers_ready: None) -> Callable[..., Path]:
    """A function that writes a BERT of width 8 that takes 12 tokens, with the pooling that it is given."""

    def write(name: str = "tiny", pooling: dict | None = None, seed: int = 0) -> Path:
        from transformers import BertModel

        torch.manual_seed(seed)
        write_tokenizer(tmp_path / name, 12)
        BertModel(tiny_bert_config(12)).save_pretrained(tmp_path / name)
        if pooling is not None:
            (tmp_path / name / "1_Pooling").mkdir()
            (tmp_path / name / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
        return tmp_path / name

    return write


@pytest.fixture
def open_clip_folder(tmp_path: Path, transformers_ready: None) -> Callable[..., Path]:
    """A function that writes an open_clip model of width 6 for 12 tokens, with its own or a BERT-like text tower."""

    def write(name: str = "clip", bert: bool = False, seed: int = 0) -> Path:
        import open_clip

        folder = tmp_path / name
        write_tokenizer(folder, 12)
        tiny_bert_config(16).save_pretrained(folder)
        text = {"context_length": 12, "width": 16, "heads": 2, "layers": 2}
        if bert:
            text = {"context_length": 12, "hf_model_name": "nobody/nowhere", "hf_tokenizer_name": "nobody/nowhere"}
            text |= {"hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler"}
        vision = {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1}
        config = {"model_cfg": {"embed_dim": 6, "vision_cfg": vision, "text_cfg": text}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        torch.manual_seed(seed)
        own = {**text, "hf_model_name": str(folder), "hf_model_pretrained": False} if bert else text
        model = open_clip.create_model(f"local-dir:{folder}", text_cfg=own)
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
        return folder

    return write
