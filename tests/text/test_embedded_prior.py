"""The prior that ships: complete, made from the texts of the organ table as they are, and sensible."""

import importlib.resources
from pathlib import Path

import pytest
import torch

from medfs.anatomy import known_organs, label_set, label_set_names
from medfs.errors import UsageError
from medfs.text import TextPrior
from medfs.text.prompts import DEFAULT_KINDS, organ_texts
from medfs.text.provenance import texts_sha256

FOLDER = importlib.resources.files("medfs.text") / "priors"


def everything() -> TextPrior:
    return TextPrior.embedded([organ.name for organ in known_organs()])


@pytest.mark.parametrize("name", label_set_names())
def test_every_label_set_has_a_prior_with_its_names_in_their_order(name):
    prior = TextPrior.embedded(name)
    assert prior.names == label_set(name).names
    assert prior.names[0] == "background"
    assert prior.kinds == ("shape", "location")
    assert prior.embedding.shape == (len(prior.names), 2, 384)
    assert prior.embedding.dtype == torch.float32


def test_the_prior_was_built_from_the_texts_of_the_table_as_they_are():
    prior = everything()
    current = organ_texts(prior.names, DEFAULT_KINDS)
    stale = [name for name, a, b in zip(prior.names, prior.provenance.texts, current, strict=True) if a != b]
    assert not stale, "build medfs/text/priors/minilm.safetensors again, see the README beside it"
    assert prior.provenance.texts_sha256 == texts_sha256(current)


def test_organs_are_found_by_synonym_and_get_the_background_first():
    prior = TextPrior.embedded(["RK", "hepar"])
    assert prior.names == ("background", "right_kidney", "liver")
    assert torch.equal(prior(["liver"]), TextPrior.embedded("amos")(["liver"]))


def test_an_unknown_label_set_or_organ_is_refused():
    for names in ("no_such_set", ["spleen", "livre"]):
        with pytest.raises(UsageError, match=r"no_such_set|livre"):
            TextPrior.embedded(names)


def test_the_prior_is_found_from_any_folder(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert TextPrior.embedded("chaos").width == 384


def test_no_two_texts_have_the_same_vector():
    flat = everything().embedding.flatten(0, 1)
    distances = torch.cdist(flat, flat) + torch.eye(len(flat)) * 1e6
    assert float(distances.min()) > 0.5


def test_places_bring_neighbours_together_that_shapes_keep_apart():
    prior = TextPrior.embedded("amos")
    shape, location = prior.similarity("shape"), prior.similarity("location")
    row = prior.names.index
    neighbours = [
        ("bladder", "prostate_uterus"),
        ("spleen", "stomach"),
        ("right_kidney", "right_adrenal_gland"),
        ("aorta", "inferior_vena_cava"),
    ]
    for one, other in neighbours:
        assert location[row(one), row(other)] > shape[row(one), row(other)] + 0.1
    assert shape[row("gallbladder"), row("bladder")] > shape[row("gallbladder"), 1:].median()


def test_places_are_ordered_like_those_of_the_published_tensor(reference: Path):
    from scipy.stats import spearmanr

    ours, published = TextPrior.embedded("amos"), TextPrior.published(reference / "amos_embedding_shape_location.pth")
    pairs = torch.triu_indices(15, 15, 1)
    cosines = [prior.similarity("location")[1:, 1:][pairs[0], pairs[1]] for prior in (ours, published)]
    assert spearmanr(*cosines).statistic > 0.6


def test_the_readme_beside_the_file_names_encoder_licence_and_fingerprint():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    prior = everything()
    assert prior.provenance.encoder in readme
    assert prior.fingerprint in readme
    assert "Apache-2.0" in readme
