"""medfs text: build a prior from a model folder, look at it, and say in one line what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from medfs.anatomy import label_set
from medfs.cli.text import text_app
from medfs.errors import InputError, UsageError
from medfs.text import TextPrior
from medfs.text.encoders import load_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sentence encoder of width 8 with random weights, for letters."""
    from medfs.text.encoders.loading import import_torchvision

    import_torchvision()
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("model") / "letters"
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=57, max_position_embeddings=512, **sizes)).save_pretrained(folder)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "model_max_length": 512}')
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return f"transformers:{folder}"


def run(*arguments: object):
    return CliRunner().invoke(text_app, [str(argument) for argument in arguments])


def test_a_label_set_is_built_into_a_prior_that_loads(encoder, tmp_path: Path):
    result = run("build", "--labels", "chaos", "--encoder", encoder, "-o", tmp_path / "p.safetensors")
    assert result.exit_code == 0, result.output
    prior = TextPrior.load(tmp_path / "p.safetensors")
    assert prior.names == label_set("chaos").names
    assert prior.provenance.encoder == load_encoder(encoder).name
    expected = load_encoder(encoder).encode(label_set("chaos").organs[2].location)
    assert torch.equal(prior(["right_kidney"])[0, 1], expected)
    assert result.stdout.count("\n") == 1
    assert prior.fingerprint in result.stdout


def test_own_texts_replace_those_of_the_table(encoder, tmp_path: Path):
    (tmp_path / "own.json").write_text(json.dumps({"liver": {"shape": "a wedge"}}))
    arguments = ["build", "--labels", "liver,spleen", "--texts", tmp_path / "own.json", "--encoder", encoder]
    result = run(*arguments, "-o", tmp_path / "p.safetensors")
    assert result.exit_code == 0, result.output
    prior = TextPrior.load(tmp_path / "p.safetensors")
    assert prior.provenance.texts[1] == ("a wedge", label_set("amos").organs[6].location)
    assert torch.equal(prior(["liver"])[0, 0], load_encoder(encoder).encode("a wedge"))


def test_own_kinds_of_text_and_own_organs_can_be_built(encoder, tmp_path: Path):
    (tmp_path / "own.csv").write_text("name,texture\nbackground,mixed\ncyst,even and dark\n")
    arguments = ["build", "--texts", tmp_path / "own.csv", "--kinds", "texture", "--encoder", encoder]
    assert run(*arguments, "-o", tmp_path / "p.safetensors").exit_code == 0
    prior = TextPrior.load(tmp_path / "p.safetensors")
    assert (prior.names, prior.kinds) == (("background", "cyst"), ("texture",))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--labels", "no_such_set"], UsageError, "no_such_set"),
        ([], UsageError, "no names"),
        (["--labels", "chaos", "--kinds", "texture"], UsageError, "no texture text"),
        (["--labels", "chaos", "--texts", "none.json"], InputError, "none.json: cannot be read"),
    ],
)
def test_a_wrong_call_leaves_no_file(encoder, tmp_path: Path, arguments, error, message):
    result = run("build", *arguments, "--encoder", encoder, "-o", tmp_path / "p.safetensors")
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_a_missing_model_leaves_no_file(tmp_path: Path):
    result = run(
        "build", "--labels", "chaos", "--encoder", f"transformers:{tmp_path}/m", "-o", tmp_path / "p.safetensors"
    )
    assert isinstance(result.exception, InputError)
    assert not list(tmp_path.iterdir())


def test_show_prints_where_the_vectors_come_from_and_who_is_near(tmp_path: Path):
    TextPrior.embedded("amos").save(tmp_path / "p.safetensors")
    shown = run("show", tmp_path / "p.safetensors", "--neighbours", 1).stdout
    prior = TextPrior.embedded("amos")
    for expected in (prior.provenance.encoder, prior.fingerprint, prior.provenance.texts_sha256, "16 names"):
        assert expected in shown
    bladder = next(line for line in shown.splitlines() if line.startswith("bladder "))
    assert "location: prostate_uterus 0.9" in bladder
    assert bladder.count("0.") == 2


def test_show_without_a_file_shows_the_prior_that_ships():
    shown = run("show", "--neighbours", 0).stdout
    assert "all-MiniLM-L6-v2" in shown
    assert {"liver", "mandible"} <= set(shown.splitlines())


@pytest.mark.subprocess
def test_help_needs_no_torch():
    code = (
        "import sys; from typer.testing import CliRunner; from medfs.cli.text import text_app;"
        "result = CliRunner().invoke(text_app, ['build', '--help']);"
        "sys.exit(result.exit_code or 'torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
