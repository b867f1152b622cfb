"""TextPrior: rows by name, provenance that travels with the vectors, controls without language."""

import math
from pathlib import Path

import pytest
import torch
from monai.networks.utils import copy_model_state
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from medfs.errors import InputError, StorageError, UsageError
from medfs.text import Provenance, TextPrior

NAMES = ("background", "spleen", "liver")
KINDS = ("shape", "location")
TEXTS = tuple((f"{name} has a form", f"{name} lies somewhere; übrigens") for name in NAMES)


def prior_of(names: tuple[str, ...] = NAMES, encoder: str = "transformers:tiny@0123", seed: int = 0) -> TextPrior:
    vectors = torch.randn(len(names), 2, 4, generator=torch.Generator().manual_seed(seed))
    return TextPrior(vectors, Provenance(names, KINDS, encoder, tuple((f"{n} form", f"{n} place") for n in names)))


def test_rows_come_in_the_order_of_the_names_asked_for():
    prior = prior_of()
    assert torch.equal(prior(["liver", "background", "liver"]), prior.embedding[[2, 0, 2]])
    assert prior([]).shape == (0, 2, 4)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"no name 'livre'; the nearest: liver"):
        prior_of()(["livre"])


def test_a_name_instead_of_a_sequence_of_names_is_refused():
    with pytest.raises(UsageError, match=r"expected \['liver'\]"):
        prior_of()("liver")


def test_kinds_and_names_can_be_chosen_and_reordered():
    prior = prior_of()
    turned = prior.select(["location", "shape"])
    assert torch.equal(turned.embedding, prior.embedding.flip(1))
    assert turned.provenance.texts[1] == ("spleen place", "spleen form")
    few = prior.subset(["liver", "spleen"])
    assert few.names == ("liver", "spleen")
    assert torch.equal(few.embedding, prior.embedding[[2, 1]])
    assert few.provenance.texts[0] == ("liver form", "liver place")
    with pytest.raises(UsageError, match="no kind 'size'"):
        prior.select(["size"])


def test_a_subset_shares_no_memory_with_its_origin():
    prior = prior_of()
    before = prior.embedding.clone()
    prior.subset(NAMES).embedding.zero_()
    prior.select(KINDS).embedding.zero_()
    assert torch.equal(prior.embedding, before)


def test_vectors_are_a_buffer_that_follows_device_and_type():
    prior = prior_of()
    assert not list(prior.parameters())
    assert nn.Sequential(prior).to(torch.float64)[0](["liver"]).dtype == torch.float64
    assert prior.to("meta").embedding.device.type == "meta"


@pytest.mark.parametrize("shape", [(3, 4), (2, 2, 4), (3, 1, 4), (3, 2, 0)])
def test_vectors_of_another_shape_than_names_and_kinds_are_refused(shape):
    with pytest.raises(UsageError, match=r"expected \(3, 2, width\)"):
        TextPrior(torch.zeros(shape), Provenance(NAMES, KINDS, "x"))


def test_a_value_that_is_not_finite_is_refused():
    with pytest.raises(UsageError, match="not finite"):
        TextPrior(torch.full((3, 2, 4), math.nan), Provenance(NAMES, KINDS, "x"))


def test_a_name_given_twice_is_refused():
    with pytest.raises(UsageError, match="'liver' is given twice"):
        Provenance(("liver", "liver"), KINDS, "x")


def test_a_prior_needs_names_kinds_and_all_of_their_texts():
    for names, kinds, texts in [
        ((), KINDS, ()),
        (NAMES, (), ()),
        (NAMES, KINDS, TEXTS[:2]),
        (NAMES, KINDS, (("a",),) * 3),
    ]:
        with pytest.raises(UsageError, match="expected"):
            Provenance(names, kinds, "x", texts)


def test_a_saved_prior_comes_back_whole(tmp_path: Path):
    prior = TextPrior(torch.randn(3, 2, 4), Provenance(NAMES, KINDS, "transformers:tiny@0123", TEXTS))
    path = tmp_path / "prior.safetensors"
    prior.save(path)
    back = TextPrior.load(path)
    assert torch.equal(back.embedding, prior.embedding)
    assert back.provenance == prior.provenance
    with safe_open(path, framework="pt") as file:
        assert "übrigens" in file.metadata()["medfs_text_prior"]


def test_saving_twice_gives_the_same_bytes(tmp_path: Path):
    for name in ("a.safetensors", "b.safetensors"):
        prior_of().save(tmp_path / name)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_others_may_read_a_saved_prior_as_any_new_file(tmp_path: Path):
    prior_of().save(tmp_path / "prior.safetensors")
    (tmp_path / "plain").touch()
    assert (tmp_path / "prior.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_saving_into_a_missing_folder_is_a_storage_error(tmp_path: Path):
    with pytest.raises(StorageError):
        prior_of().save(tmp_path / "none" / "prior.safetensors")


def test_a_missing_damaged_or_foreign_file_is_an_input_error(tmp_path: Path):
    damaged, foreign = tmp_path / "damaged.safetensors", tmp_path / "foreign.safetensors"
    damaged.write_bytes(b"no safetensors")
    save_file({"weight": torch.ones(1)}, foreign)
    for path in (tmp_path / "missing.safetensors", damaged, foreign):
        with pytest.raises(InputError, match=path.name):
            TextPrior.load(path)


def test_a_file_with_other_vectors_or_of_another_format_is_an_input_error(tmp_path: Path):
    provenance = Provenance(NAMES, KINDS, "x", TEXTS).to_json()
    later = provenance.replace("medfs text prior 1", "medfs text prior 2")
    for metadata, vectors in [(provenance, torch.full((3, 2, 4), math.inf)), (later, torch.ones(3, 2, 4))]:
        save_file({"embedding": vectors}, tmp_path / "p.safetensors", metadata={"medfs_text_prior": metadata})
        with pytest.raises(InputError, match=r"p\.safetensors: .*(not finite|format)"):
            TextPrior.load(tmp_path / "p.safetensors")


def test_texts_changed_after_their_hash_are_noticed(tmp_path: Path):
    provenance = Provenance(NAMES, KINDS, "x", TEXTS)
    changed = provenance.to_json().replace("spleen has a form", "spleen has no form")
    path = tmp_path / "changed.safetensors"
    save_file({"embedding": torch.ones(3, 2, 4)}, path, metadata={"medfs_text_prior": changed})
    with pytest.raises(InputError, match="changed after their hash"):
        TextPrior.load(path)


def test_a_state_dict_carries_the_provenance_through_restricted_unpickling(tmp_path: Path):
    trained, fresh = prior_of(seed=1, encoder="transformers:tiny@aaaa"), prior_of(seed=2, encoder="one_hot")
    torch.save(nn.ModuleDict({"prior": trained}).state_dict(), tmp_path / "checkpoint.pt")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    nn.ModuleDict({"prior": fresh}).load_state_dict(state)
    assert torch.equal(fresh.embedding, trained.embedding)
    assert fresh.provenance == trained.provenance


def test_monai_copies_vectors_and_provenance_together():
    source, target = prior_of(seed=1, encoder="open_clip:a-rather-long-name@aaaa"), prior_of(seed=2)
    copy_model_state(nn.ModuleDict({"prior": target}), nn.ModuleDict({"prior": source}))
    assert torch.equal(target.embedding, source.embedding)
    assert target.provenance == source.provenance


def test_a_state_of_other_names_is_refused_in_one_line():
    with pytest.raises(UsageError, match="saved with 3 names x 2 kinds, this network has 2 x 2"):
        prior_of(names=NAMES[:2]).load_state_dict(prior_of().state_dict())


def test_a_damaged_state_is_refused():
    state = prior_of().state_dict()
    state["_extra_state"] = torch.zeros(8, dtype=torch.uint8)
    with pytest.raises(InputError, match="cannot be read"):
        prior_of().load_state_dict(state)


def test_only_encoder_kinds_and_width_decide_whether_a_prior_fits_a_trained_network():
    trained = prior_of(encoder="transformers:some-folder@0123")
    trained.check_compatible(prior_of(names=("background", "aorta"), encoder="transformers:moved@0123"))
    other_width = TextPrior(torch.ones(3, 2, 5), trained.provenance)
    for other in (prior_of(encoder="transformers:some-folder@4567"), trained.select(["shape"]), other_width):
        with pytest.raises(UsageError, match="the network was trained with") as caught:
            trained.check_compatible(other)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError):
        trained.check_compatible(trained.select(["location", "shape"]))
    with pytest.raises(UsageError):
        trained.check_compatible(TextPrior.shuffled(trained))


def test_random_vectors_are_seeded_and_have_the_given_length():
    first, again, other = (TextPrior.random(NAMES, KINDS, 64, seed, row_norm=3.5) for seed in (0, 0, 1))
    assert torch.equal(first.embedding, again.embedding)
    assert not torch.equal(first.embedding, other.embedding)
    assert torch.allclose(first.embedding.norm(dim=-1), torch.tensor(3.5))
    assert first.fingerprint != other.fingerprint


def test_learnable_vectors_are_a_parameter_that_gradients_reach():
    prior = TextPrior.learnable(NAMES, KINDS, 8)
    prior(["liver"]).sum().backward()
    assert torch.equal(prior.embedding.grad[2], torch.ones(2, 8))
    assert torch.equal(prior.embedding.grad[:2], torch.zeros(2, 2, 8))
    assert set(prior.state_dict()) == set(prior_of().state_dict())


def test_one_hot_vectors_are_the_rows_of_the_identity():
    prior = TextPrior.one_hot(NAMES, KINDS)
    assert torch.equal(prior.embedding[:, 0], torch.eye(3))
    assert torch.equal(prior.embedding[:, 1], torch.eye(3))
    assert torch.equal(prior.similarity("shape"), torch.eye(3))


@pytest.mark.parametrize("seed", range(5))
def test_shuffling_gives_every_name_the_vectors_and_texts_of_another(seed):
    prior = prior_of(names=("background", "a", "b", "c", "d"))
    wrong = TextPrior.shuffled(prior, seed)
    assert wrong.names == prior.names
    rows = [prior.provenance.texts.index(text) for text in wrong.provenance.texts]
    assert sorted(rows) == [0, 1, 2, 3, 4]
    assert all(row != place for place, row in enumerate(rows))
    assert torch.equal(wrong.embedding, prior.embedding[rows])
    assert torch.equal(wrong.embedding, TextPrior.shuffled(prior, seed).embedding)


def test_a_single_name_cannot_be_shuffled():
    with pytest.raises(UsageError, match="two or more"):
        TextPrior.shuffled(prior_of(names=("background",)))


def test_similarity_is_the_cosine():
    prior = prior_of()
    expected = nn.functional.cosine_similarity(prior.embedding[1, 1], prior.embedding[2, 1], dim=0)
    assert prior.similarity("location")[1, 2] == pytest.approx(float(expected), abs=1e-6)


def test_the_published_tensor_has_the_geometry_of_shapes_and_places(reference: Path):
    prior = TextPrior.published(reference / "amos_embedding_shape_location.pth")
    assert prior.embedding.shape == (16, 2, 512)
    lengths = prior.embedding.norm(dim=-1)
    assert (float(lengths.min()), float(lengths.max())) == pytest.approx((3.67, 5.62), abs=0.01)
    assert prior.row_norm == pytest.approx(4.785, abs=0.01)
    row = prior.names.index
    shape, location = prior.similarity("shape"), prior.similarity("location")
    pairs = {
        ("right_kidney", "left_kidney"): (0.934, 0.86),
        ("right_kidney", "right_adrenal_gland"): (0.87, 0.95),
        ("left_kidney", "left_adrenal_gland"): (0.86, 0.93),
    }
    for (one, other), (as_shape, as_location) in pairs.items():
        assert float(shape[row(one), row(other)]) == pytest.approx(as_shape, abs=0.01)
        assert float(location[row(one), row(other)]) == pytest.approx(as_location, abs=0.01)
    assert float(shape[row("right_kidney"), row("left_kidney")]) == pytest.approx(0.934, abs=5e-4)
    assert float(location[row("bladder"), row("prostate_uterus")]) == pytest.approx(0.88, abs=0.01)
    both = nn.functional.cosine_similarity(prior.embedding[:, 0], prior.embedding[:, 1], dim=-1)
    assert float(both[row("duodenum")]) == pytest.approx(0.890, abs=5e-4)
    assert float(both[0]) == pytest.approx(0.807, abs=5e-4)


def test_a_published_tensor_of_other_names_is_refused(reference: Path):
    with pytest.raises(InputError, match="expected one tensor of 3 shape rows before 3 location rows"):
        TextPrior.published(reference / "amos_embedding_shape_location.pth", NAMES)


def test_a_file_that_is_no_published_tensor_is_refused(tmp_path: Path):
    (tmp_path / "note.pth").write_text("nothing")
    torch.save({"a": 1}, tmp_path / "dictionary.pth")
    for name in ("note.pth", "dictionary.pth", "missing.pth"):
        with pytest.raises(InputError, match=name):
            TextPrior.published(tmp_path / name, NAMES)
