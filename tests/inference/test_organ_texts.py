"""Texts of the organs that are looked for: known, shipped, or written by a user."""

import json
import re

import pytest
import torch

from medfs.errors import UsageError
from medfs.fewshot import FewShotSegmentor
from medfs.fewshot.heads import IFAHead
from medfs.fewshot.plugins import CDTGPlugin
from medfs.inference.organ_texts import tell_organs
from medfs.networks import ResNetEncoder
from medfs.text import TextPrior
from medfs.text.encoders import TextEncoder


def network(prior=None, plugin=True):
    prior = prior or TextPrior.described(["phantom", "wbc"])
    encoder = ResNetEncoder(18)
    plugins = [CDTGPlugin(encoder.out_channels[-1:], prior.width)] if plugin else []
    return FewShotSegmentor(encoder, IFAHead(encoder.out_channels), plugins, prior)


class Letters(TextEncoder):
    """Counts letters; says that it is the encoder of the priors that ship."""

    name, token_limit = TextPrior.embedded("chaos").provenance.encoder, 99

    def count_tokens(self, text):
        return 1

    def embed(self, text):
        return torch.full((384,), float(len(text)))


@pytest.fixture
def letters(monkeypatch):
    monkeypatch.setattr("medfs.text.encoders.load_encoder", lambda spec: Letters())


def test_organs_are_told_by_their_own_names():
    segmentor = network()
    prior = tell_organs(segmentor, ["liver", "nucleus"])
    assert segmentor.text_prior is prior
    assert prior.names == ("background", "liver", "nucleus")
    assert torch.equal(prior(["liver"]), TextPrior.described(["liver"])(["liver"]))
    assert segmentor.texts(["liver"]).shape == (1, 2, 1, 384)


def test_a_known_class_can_stand_for_an_organ_and_a_sentence_is_encoded(letters):
    prior = tell_organs(network(), ["liver", "organ_2"], ["hepar=chaos_t2/liver", "organ_2=a dark spot"])
    assert torch.equal(prior(["liver"])[0, 0], TextPrior.described(["chaos_t2/liver"])(["liver"])[0, 0])
    assert torch.equal(prior(["organ_2"]), torch.full((1, 1, 384), 11.0))


def test_a_single_organ_needs_no_name(letters):
    assert tell_organs(network(), ["organ_1"], ["a dark = round spot"])(["organ_1"]).unique() == 19.0


def test_every_kind_of_text_gets_the_sentence(letters):
    prior = tell_organs(network(TextPrior.embedded("chaos")), ["organ_1"], ["a dark spot"])
    assert torch.equal(prior(["organ_1"]), torch.full((1, 2, 384), 11.0))


def test_a_file_of_encoded_texts_counts_as_known(tmp_path):
    own = TextPrior.described("wbc")
    changed = TextPrior(2 * own.embedding, own.provenance)
    changed.save(tmp_path / "own.safetensors")
    prior = tell_organs(network(), ["nucleus"], [str(tmp_path / "own.safetensors")])
    assert torch.equal(prior(["nucleus"]), 2 * own(["nucleus"]))
    TextPrior.embedded("chaos").save(tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="the network was trained with"):
        tell_organs(network(), ["liver"], [str(tmp_path / "other.safetensors")])


def test_a_network_without_plug_in_is_left_alone_and_takes_no_text():
    segmentor = network(plugin=False)
    before = segmentor.text_prior
    assert tell_organs(segmentor, ["organ_1"]) is None
    assert segmentor.text_prior is before
    with pytest.raises(UsageError, match="--text: the network reads no texts"):
        tell_organs(segmentor, ["organ_1"], ["a dark spot"])


@pytest.mark.parametrize(
    ("organs", "given", "said"),
    [
        (["organ_1"], [], 'organ_1: the network reads texts and has none of it; .* --text "organ_1=..."'),
        (["liver", "spleen"], ["a dark spot"], "of which organ?.*liver, spleen"),
        (["liver"], ["spleen=a dark spot"], "spleen is not looked for; expected liver"),
        (["liver"], ["nuclues"], "no dataset or class 'nuclues'; the nearest: nucleus"),
        (["liver"], ["liver="], "nothing said of liver"),
        (["liver"], ["a dark spot"], "needs transformers:all-MiniLM-L6-v2, which.*--text-encoder.*medfs text build"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line(organs, given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        tell_organs(network(), organs, given)
    assert re.search(said, str(caught.value))
    assert "\n" not in str(caught.value)


def test_another_encoder_and_texts_of_no_encoder_are_refused(monkeypatch):
    other = Letters()
    other.name = "transformers:other@0123"
    monkeypatch.setattr("medfs.text.encoders.load_encoder", lambda spec: other)
    with pytest.raises(UsageError, match="transformers:folder is not transformers:all-MiniLM"):
        tell_organs(network(), ["organ_1"], ["a dark spot"], "transformers:folder")
    random = TextPrior.random(("background", "liver"), width=12)
    with pytest.raises(UsageError, match="texts are random:0, of no encoder"):
        tell_organs(network(random), ["organ_1"], ["a dark spot"])
    assert tell_organs(network(random), ["liver"]).names == ("background", "liver")


def test_it_says_where_its_vectors_come_from(letters):
    told = json.loads(tell_organs(network(), ["organ_1"], ["a dark spot"]).provenance.to_json())
    assert told["texts"] == [["background"], ["a dark spot"]]
