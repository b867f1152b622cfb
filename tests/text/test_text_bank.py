"""The descriptions that ship: one for each class by its name, and their vectors made from them as they are."""

import importlib.resources
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from medfs.anatomy import find_organ, known_organs, label_set
from medfs.cli.text import text_app
from medfs.errors import UsageError
from medfs.phantom.things import THINGS
from medfs.text import TextPrior
from medfs.text.bank import ANATOMY, bank_entries, bank_texts, described_datasets, whole_bank
from preprocessing.coco_classes import CLASSES

FOLDER = importlib.resources.files("medfs.text") / "priors"
COUNTS = {"pascal_voc": 20, "coco": 80, "isic": 3, "chest_xray": 1, "wbc": 2, "chaos_t2": 4, "phantom": len(THINGS)}


def shipped() -> TextPrior:
    return TextPrior.load(str(FOLDER / "minilm_descriptions.safetensors"))


def test_every_dataset_has_all_of_its_classes():
    assert {name: len(bank_entries(name)) - 1 for name in described_datasets() if name != ANATOMY} == COUNTS
    assert set(bank_entries("coco")) == {"background", *CLASSES.values()}
    assert list(bank_texts(bank_entries("phantom"))) == ["background", *(thing.name for thing in THINGS)]
    assert set(bank_entries(ANATOMY)) == {organ.name for organ in known_organs()}


def test_the_phantom_says_what_it_draws():
    texts = bank_texts(bank_entries("phantom"), ["description"])
    assert [texts[thing.name]["description"] for thing in THINGS] == [thing.sentence for thing in THINGS]


def test_every_sentence_has_one_form_and_fits_a_short_encoder():
    for key, texts in bank_texts(whole_bank()).items():
        sentence = texts["description"]
        if not key.startswith(ANATOMY):
            assert len(sentence.split()) < 45
            assert "." not in sentence
            assert " of " in sentence.partition(",")[0]


def test_the_vectors_were_made_from_the_texts_as_they_are():
    prior, texts = shipped(), bank_texts(whole_bank())
    assert prior.names == tuple(texts)
    for name, told in zip(prior.names, prior.provenance.texts, strict=True):
        assert told == (texts[name]["description"], texts[name]["name"]), "build it again, see priors/README.md"
    assert prior.fingerprint in (FOLDER / "README.md").read_text()
    assert prior.provenance.encoder == TextPrior.embedded("amos").provenance.encoder


def test_a_prior_of_datasets_is_keyed_by_the_names_of_the_classes():
    prior = TextPrior.described(["isic", "wbc"])
    assert prior.names == ("background", "melanoma", "nevus", "seborrheic_keratosis", "cytoplasm", "nucleus")
    assert prior.embedding.shape == (6, 1, 384)
    assert torch.equal(prior(["nucleus"])[0, 0], shipped()(["wbc/nucleus"])[0, 0])
    bare = TextPrior.described("wbc", ["name"])
    assert bare.provenance.texts == (("background",), ("cytoplasm",), ("nucleus",))
    assert bare.fingerprint != prior.fingerprint


def test_an_organ_is_that_of_the_table_unless_a_dataset_is_named():
    assert bank_entries(["liver"])["liver"] == (ANATOMY, "liver")
    assert bank_entries(["chaos_t2/liver"])["liver"] == ("chaos_t2", "liver")
    assert bank_entries("chaos_t2")["liver"] == ("chaos_t2", "liver")
    assert tuple(bank_entries("amos")) == label_set("amos").names
    assert find_organ("liver").shape in bank_texts(bank_entries(["liver"]))["liver"]["description"]


def test_a_class_of_two_datasets_counts_once_and_says_the_same_in_both():
    both = bank_entries(["pascal_voc", "coco"])
    assert both["cat"] == ("pascal_voc", "cat")
    assert len(both) == 1 + 20 + 80 - len(set(bank_entries("pascal_voc")) & set(CLASSES.values()))
    pascal, coco = (bank_texts(bank_entries(name)) for name in ("pascal_voc", "coco"))
    assert all(pascal[name] == coco[name] for name in set(pascal) & set(coco))


def test_spaces_and_underscores_are_the_same():
    assert bank_entries(["wine_glass"])["wine_glass"] == ("coco", "wine glass")


@pytest.mark.parametrize(
    ("wanted", "nearest"), [("wcb", "wbc"), ("melanom", "melanoma"), ("wbc/nuclei", "wbc/nucleus")]
)
def test_an_unknown_dataset_or_class_is_refused_with_the_nearest(wanted, nearest):
    with pytest.raises(UsageError, match=f"no dataset or class '{wanted}'.*{nearest}"):
        TextPrior.described([wanted])


def test_a_dataset_is_built_from_its_descriptions_and_own_texts_replace_them(bert_folder, tmp_path: Path):
    (tmp_path / "own.json").write_text('{"nucleus": {"description": "a dark spot"}}')
    arguments = ["--labels", "wbc", "--kinds", "description", "--texts", str(tmp_path / "own.json")]
    output = tmp_path / "p.safetensors"
    encoder = f"transformers:{bert_folder(pooling={'pooling_mode_mean_tokens': True})}"
    result = CliRunner().invoke(
        text_app, ["build", *arguments, "--encoder", encoder, "-o", str(output)], catch_exceptions=False
    )
    assert result.exit_code == 0
    prior = TextPrior.load(output)
    assert prior.names == ("background", "cytoplasm", "nucleus")
    texts = bank_texts(bank_entries("wbc"))
    assert prior.provenance.texts[1:] == ((texts["cytoplasm"]["description"],), ("a dark spot",))
