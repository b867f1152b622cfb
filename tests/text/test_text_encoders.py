"""Text encoders: pooled as their folder says, long texts averaged, never cut short, never a traceback."""

import importlib
import json
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from medfs.errors import InputError, UsageError
from medfs.text.encoders import encode_texts, load_encoder, loading

MEAN = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
SHORT = "the liver lies right."
LONG = ["The liver lies right, the spleen lies left.", "The kidney is round.", "The liver is large."]


def last_hidden_state(folder: Path, text: str) -> torch.Tensor:
    from transformers import AutoTokenizer, BertModel

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        return BertModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[0]


def test_a_sentence_encoder_gives_the_mean_of_its_token_vectors(bert_folder):
    folder = bert_folder(pooling=MEAN)
    vector = load_encoder(f"transformers:{folder}").encode(SHORT)
    assert torch.allclose(vector, last_hidden_state(folder, SHORT).mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("pooling", [{"pooling_mode_cls_token": True}, {"pooling_mode": "cls"}])
def test_a_folder_may_ask_for_the_first_token(bert_folder, pooling):
    folder = bert_folder(pooling=pooling)
    vector = load_encoder(f"transformers:{folder}").encode(SHORT)
    assert torch.allclose(vector, last_hidden_state(folder, SHORT)[0], atol=1e-6)


def test_without_a_pooling_folder_the_models_own_output_is_taken(bert_folder):
    from transformers import AutoTokenizer, BertModel

    folder = bert_folder()
    tokens = AutoTokenizer.from_pretrained(folder)(SHORT, return_tensors="pt")
    with torch.no_grad():
        expected = BertModel.from_pretrained(folder).eval()(**tokens).pooler_output[0]
    assert torch.allclose(load_encoder(f"transformers:{folder}").encode(SHORT), expected, atol=1e-6)


def test_a_long_text_is_the_mean_of_its_sentences(bert_folder):
    folder = bert_folder(pooling=MEAN)
    encoder = load_encoder(f"transformers:{folder}")
    assert encoder.token_limit == 12
    assert encoder.count_tokens(" ".join(LONG)) > 12 >= max(encoder.count_tokens(sentence) for sentence in LONG)
    by_hand = torch.stack([last_hidden_state(folder, sentence).mean(dim=0) for sentence in LONG]).mean(dim=0)
    assert torch.allclose(encoder.encode(" ".join(LONG)), by_hand, atol=1e-6)


def test_a_sentence_that_is_too_long_alone_is_divided_at_its_clauses(bert_folder):
    folder = bert_folder(pooling=MEAN)
    clauses = ["the liver lies right, the spleen is round,", "the kidney lies left"]
    by_hand = torch.stack([last_hidden_state(folder, clause).mean(dim=0) for clause in clauses]).mean(dim=0)
    assert torch.allclose(load_encoder(f"transformers:{folder}").encode(" ".join(clauses)), by_hand, atol=1e-6)


@pytest.mark.parametrize("family", ["transformers", "open_clip"])
def test_words_behind_the_token_limit_change_the_vector(bert_folder, open_clip_folder, family):
    folder = bert_folder(pooling=MEAN) if family == "transformers" else open_clip_folder()
    encoder = load_encoder(f"transformers:{folder}" if family == "transformers" else f"open_clip:local-dir:{folder}")
    start = "the liver lies right the spleen lies left the kidney is round the"
    assert encoder.count_tokens(start) > encoder.token_limit
    assert not torch.allclose(encoder.encode(f"{start} liver"), encoder.encode(f"{start} spleen"))


def test_a_smaller_limit_of_the_sentence_encoder_counts(bert_folder):
    folder = bert_folder(pooling=MEAN)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    assert load_encoder(f"transformers:{folder}").token_limit == 9


def test_position_embeddings_behind_the_padding_index_hold_no_token(tmp_path, bert_folder):
    from transformers import RobertaConfig, RobertaModel

    folder = bert_folder("roberta", pooling=MEAN)
    config = RobertaConfig(
        vocab_size=19, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=12, pad_token_id=1,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(folder)
    encoder = load_encoder(f"transformers:{folder}")
    assert encoder.token_limit == 10
    assert encoder.encode(" ".join(LONG)).shape == (8,)


def test_a_clip_model_of_transformers_gives_its_projected_text(tmp_path, bert_folder):
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel

    folder = bert_folder("clip")
    text = {"vocab_size": 19, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 16, "max_position_embeddings": 12, "eos_token_id": 3, "pad_token_id": 0}
    vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=6)).eval()
    model.save_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)(SHORT, return_tensors="pt")
    del tokens["token_type_ids"]
    with torch.no_grad():
        hidden = model.text_model(**tokens).pooler_output
        expected = model.text_projection(hidden)[0]
    assert torch.allclose(load_encoder(f"transformers:{folder}").encode(SHORT), expected, atol=1e-6)


def test_an_open_clip_model_gives_its_text_without_normalising_it(open_clip_folder):
    import open_clip

    folder = open_clip_folder()
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    sentences = ["The liver lies right.", "The spleen lies left.", "The kidney is round."]
    text = " ".join(sentences)
    with torch.no_grad():
        whole, *parts = (model.encode_text(tokenizer([text]))[0] for text in [SHORT, *sentences])
    encoder = load_encoder(f"open_clip:local-dir:{folder}")
    assert torch.allclose(encoder.encode(SHORT), whole, atol=1e-6)
    assert not torch.allclose(whole.norm(), torch.tensor(1.0), atol=1e-3)
    assert encoder.count_tokens(text) == int((tokenizer([text], context_length=77) > 0).sum()) > 12
    assert torch.allclose(encoder.encode(text), torch.stack(parts).mean(dim=0), atol=1e-6)


def test_a_bert_like_text_tower_is_built_from_the_folder_alone(open_clip_folder):
    folder = open_clip_folder(bert=True)
    encoder = load_encoder(f"open_clip:local-dir:{folder}")
    assert encoder.count_tokens(SHORT) == 7  # four words, a full stop, start and end
    assert encoder.encode(" ".join(LONG)).shape == (6,)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"text tower is nobody/nowhere; put the config\.json of that model"):
        load_encoder(f"open_clip:local-dir:{folder}")


def test_encoding_is_deterministic_and_independent_of_the_other_texts(bert_folder):
    encoder = load_encoder(f"transformers:{bert_folder(pooling=MEAN)}")
    together = encode_texts(encoder, [(SHORT, LONG[0]), (LONG[1], SHORT)])
    assert together.shape == (2, 2, 8)
    assert torch.equal(together[0, 0], together[1, 1])
    assert torch.equal(together[1, :1], encode_texts(encoder, [(LONG[1],)])[0])
    assert not together.requires_grad


def test_the_name_identifies_the_weights_not_the_file_nor_the_folder(bert_folder, open_clip_folder):
    folders = [bert_folder("one", MEAN), bert_folder("two", MEAN), bert_folder("other", MEAN, seed=1)]
    one, two, other = (load_encoder(f"transformers:{folder}").name for folder in folders)
    assert one.startswith("transformers:one@")
    assert one.rpartition("@")[2] == two.rpartition("@")[2] != other.rpartition("@")[2]
    clip = open_clip_folder()
    before = load_encoder(f"open_clip:local-dir:{clip}").name
    torch.save(load_file(clip / "open_clip_model.safetensors"), clip / "open_clip_pytorch_model.bin")
    (clip / "open_clip_model.safetensors").unlink()
    assert load_encoder(f"open_clip:local-dir:{clip}").name == before


@pytest.mark.parametrize("spec", ["clip", "open_clip:", "sentence:folder", "transformers"])
def test_an_unknown_form_of_specification_is_answered_with_the_known_ones(spec):
    with pytest.raises(UsageError, match="expected open_clip:MODEL/WEIGHTS"):
        load_encoder(spec)


def test_a_mistyped_name_of_weights_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="ViT-B-32/laion2b_s34b_b79k"):
        load_encoder("open_clip:ViT-B-32/laion2b_s34b_b79")


@pytest.mark.parametrize(
    "spec", ["open_clip:ViT-B-32/laion2b_s34b_b79k", "open_clip:ViT-B-32/openai", "open_clip:hf-hub:nobody/nowhere"]
)
def test_without_a_network_the_message_says_where_to_put_the_files(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match=r"hf download \S+/\S+ --local-dir FOLDER .* open_clip:local-dir:FOLDER"
    ) as caught:
        load_encoder(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["transformers:{}/none", "open_clip:local-dir:{}/none", "transformers:{}"])
def test_a_folder_without_a_model_is_answered_with_what_belongs_there(spec, tmp_path):
    with pytest.raises(InputError, match=r"config\.json there; put"):
        load_encoder(spec.format(tmp_path))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer_config.json", "config.json"])
def test_a_missing_or_damaged_file_of_a_model_folder_is_one_line(bert_folder, name):
    folder = bert_folder(pooling=MEAN)
    (folder / name).write_bytes(b"{")
    with pytest.raises(InputError, match="expected the files of one model") as caught:
        load_encoder(f"transformers:{folder}")
    assert "\n" not in str(caught.value)


def test_weights_that_lack_a_parameter_are_refused_instead_of_drawn_at_random(bert_folder):
    folder = bert_folder(pooling=MEAN)
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"the weights lack encoder\.layer\.1\.output\.dense\.weight"):
        load_encoder(f"transformers:{folder}")


def test_a_pooling_layer_that_is_not_used_need_not_be_there(bert_folder):
    folder = bert_folder(pooling=MEAN)
    before = load_encoder(f"transformers:{folder}")
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("pooler.")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    after = load_encoder(f"transformers:{folder}")
    assert after.name == before.name
    assert torch.equal(after.encode(SHORT), before.encode(SHORT))
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(InputError, match="the weights lack pooler"):
        load_encoder(f"transformers:{folder}")


def test_open_clip_weights_of_another_model_are_refused(open_clip_folder):
    folder = open_clip_folder()
    save_file({"text_projection": torch.ones(2, 2)}, folder / "open_clip_model.safetensors")
    with pytest.raises(InputError, match=r"expected open_clip_config\.json, its weights"):
        load_encoder(f"open_clip:local-dir:{folder}")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"expected open_clip_config\.json, its weights"):
        load_encoder(f"open_clip:local-dir:{folder}")


@pytest.mark.parametrize("pooling", [{"pooling_mode_max_tokens": True}, {**MEAN, "pooling_mode_cls_token": True}])
def test_pooling_that_is_not_supported_is_refused(bert_folder, pooling):
    with pytest.raises(UsageError, match="expected mean or cls pooling"):
        load_encoder(f"transformers:{bert_folder(pooling=pooling)}")


def test_a_damaged_pooling_file_is_named(bert_folder):
    folder = bert_folder(pooling=MEAN)
    (folder / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"1_Pooling/config\.json: no valid JSON"):
        load_encoder(f"transformers:{folder}")


def test_layers_behind_the_pooling_are_refused(bert_folder):
    folder = bert_folder(pooling=MEAN)
    modules = [{"type": f"sentence_transformers.models.{kind}"} for kind in ("Transformer", "Pooling", "Dense")]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UsageError, match="Dense"):
        load_encoder(f"transformers:{folder}")


def test_a_model_with_one_vector_per_token_is_answered_with_a_remedy(bert_folder):
    from transformers import DistilBertConfig, DistilBertModel

    folder = bert_folder("distilled")
    config = DistilBertConfig(vocab_size=19, dim=8, n_layers=1, n_heads=2, hidden_dim=16, max_position_embeddings=12)
    DistilBertModel(config).save_pretrained(folder)
    with pytest.raises(UsageError, match="pooling_mode_mean_tokens"):
        load_encoder(f"transformers:{folder}").encode(SHORT)


def test_torchvision_imports_beside_a_torch_of_another_build():
    loading.import_torchvision()
    loading.import_torchvision()
    assert importlib.import_module("torchvision.transforms.functional").resize


def test_another_failure_of_torchvision_is_not_hidden(monkeypatch):
    def broken(name: str) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(loading.importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="something else"):
        loading.import_torchvision()


def test_torchvision_may_be_absent(monkeypatch):
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(loading.importlib, "import_module", absent)
    loading.import_torchvision()
