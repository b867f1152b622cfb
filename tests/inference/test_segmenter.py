"""A trained run as a function from a volume to labels, and what is said when it is none."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_run import NAMES, make_run

from medfs.errors import InputError, MedfsError, UsageError
from medfs.inference import Segmenter
from medfs.inference.segmenter import Restricted, pick_device
from medfs.io import Volume
from medfs.networks import PlainVNet
from medfs.phantom import phantom_case
from medfs.text import TextPrior
from medfs.text.provenance import Provenance


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def torso():
    case = phantom_case(0, spacing_mm=12.0)
    return Volume.from_array(case.image.astype(np.float32), case.affine)


def test_labels_lie_on_the_grid_of_the_volume_and_use_the_classes_of_the_run(run, torso):
    before = torso.array.copy()
    segmenter = Segmenter(run, device="cpu")
    labels = segmenter(torso)
    assert segmenter.label_set.names == NAMES
    assert labels.shape == torso.array.shape
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) <= set(range(len(NAMES)))
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(torso.array, before)


def test_a_segmenter_repeats_itself_and_another_one_too(run, torso):
    segmenter = Segmenter(run, device="cpu")
    labels = segmenter(torso)
    np.testing.assert_array_equal(segmenter(torso), labels)
    np.testing.assert_array_equal(Segmenter(run, device="cpu")(torso), labels)


def test_the_weights_of_the_run_decide(run, torso, tmp_path):
    other = Segmenter(make_run(tmp_path, seed=5), device="cpu")
    assert (other(torso) != Segmenter(run, device="cpu")(torso)).any()


def test_one_window_is_the_network_on_the_scaled_working_grid(run):
    """On a RAS grid of the working spacing that fits the patch, nothing but intensity scaling is left to do."""
    segmenter = Segmenter(run, device="cpu")
    array = np.random.default_rng(0).uniform(-200, 350, size=(16, 16, 16)).astype(np.float32)
    labels = segmenter(Volume.from_array(array, np.diag([12.0, 12.0, 12.0, 1.0])))
    scaled = torch.from_numpy(np.clip((array + 125) / 400, 0, 1))
    with torch.inference_mode():
        expected = segmenter.network(scaled[None, None])[0].argmax(0).numpy()
    assert (labels != expected).mean() < 0.002


def test_another_prior_goes_with_the_weights_that_were_deployed(tmp_path, torso):
    TextPrior.embedded(NAMES).save(tmp_path / "same.safetensors")
    labels = {}
    for which in ("teacher", "student"):
        folder = make_run(tmp_path / which, deployed=which)
        labels[which] = Segmenter(folder, device="cpu", text_prior=tmp_path / "same.safetensors")(torso)
        np.testing.assert_array_equal(labels[which], Segmenter(folder, device="cpu")(torso))
    assert (labels["teacher"] != labels["student"]).any()


def test_a_run_without_texts_segments_and_takes_no_prior(tmp_path, torso):
    folder = make_run(tmp_path / "plain", network=PlainVNet(len(NAMES), filters=8, levels=3))
    assert not (folder / "text_prior.safetensors").exists()
    assert set(np.unique(Segmenter(folder, device="cpu")(torso))) <= set(range(len(NAMES)))
    TextPrior.embedded(NAMES).save(tmp_path / "prior.safetensors")
    with pytest.raises(UsageError, match="was trained without texts; leave --text-prior out"):
        Segmenter(folder, device="cpu", text_prior=tmp_path / "prior.safetensors")


@pytest.mark.parametrize("shape", [(20, 18, 1), (1, 18, 14), (2, 2, 2), (1, 1, 1)])
def test_thin_scans_are_segmented_too(run, shape):
    array = np.random.default_rng(0).uniform(-100, 200, size=shape).astype(np.float32)
    labels = Segmenter(run, device="cpu")(Volume.from_array(array, np.diag([3.0, 4.0, 5.0, 1.0])))
    assert labels.shape == shape


def test_only_the_wanted_organs_are_kept(run, torso):
    segmenter = Segmenter(run, device="cpu")
    everything = segmenter(torso)
    kept = Restricted(segmenter, ["Liver", "RK"])(torso)
    np.testing.assert_array_equal(kept, np.where(np.isin(everything, [1, 3]), everything, 0))
    assert kept.dtype == everything.dtype
    with pytest.raises(UsageError, match=r"does not know aorta; it knows liver, spleen, right_kidney"):
        Restricted(segmenter, ["liver", "aorta"])


class TestAnotherTextPrior:
    def test_the_same_names_give_the_same_labels(self, run, torso, tmp_path):
        TextPrior.embedded(NAMES).save(tmp_path / "same.safetensors")
        swapped = Segmenter(run, device="cpu", text_prior=tmp_path / "same.safetensors")
        assert swapped.label_set.names == NAMES
        np.testing.assert_array_equal(swapped(torso), Segmenter(run, device="cpu")(torso))

    def test_fewer_names_compete_among_themselves(self, run, torso, tmp_path):
        TextPrior.embedded(NAMES).subset(["background", "spleen"]).save(tmp_path / "two.safetensors")
        plain = Segmenter(run, device="cpu")
        swapped = Segmenter(run, device="cpu", text_prior=tmp_path / "two.safetensors")
        assert swapped.label_set.names == ("background", "spleen")
        image = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            torch.testing.assert_close(swapped.network(image), plain.network(image)[:, [0, 2]])
        assert set(np.unique(swapped(torso))) <= {0, 1}

    def test_new_names_become_classes(self, run, torso, tmp_path):
        TextPrior.embedded(["aorta", "pancreas", "stomach", "liver"]).save(tmp_path / "new.safetensors")
        swapped = Segmenter(run, device="cpu", text_prior=tmp_path / "new.safetensors")
        assert swapped.label_set.names == ("background", "aorta", "pancreas", "stomach", "liver")
        assert swapped(torso).max() <= 4

    def test_another_encoder_is_refused(self, run, tmp_path):
        TextPrior.random(NAMES, width=384).save(tmp_path / "random.safetensors")
        refuses(run, UsageError, "the network was trained with", text_prior=tmp_path / "random.safetensors")

    def test_another_kind_of_text_is_refused(self, run, tmp_path):
        TextPrior.embedded(NAMES).select(["shape"]).save(tmp_path / "shape.safetensors")
        refuses(run, UsageError, "the network was trained with", text_prior=tmp_path / "shape.safetensors")

    def test_a_prior_without_background_is_refused(self, run, tmp_path):
        TextPrior.embedded(NAMES).subset(["liver", "spleen"]).save(tmp_path / "none.safetensors")
        refuses(run, UsageError, "expected background", text_prior=tmp_path / "none.safetensors")

    def test_a_name_outside_the_organ_table_is_refused(self, run, tmp_path):
        prior = TextPrior.embedded(["liver"])
        renamed = Provenance(("background", "unicorn"), prior.kinds, prior.provenance.encoder)
        TextPrior(prior.embedding, renamed).save(tmp_path / "unicorn.safetensors")
        refuses(run, UsageError, "unicorn", text_prior=tmp_path / "unicorn.safetensors")

    def test_a_missing_or_damaged_prior_is_refused(self, run, tmp_path):
        refuses(run, InputError, "missing", text_prior=tmp_path / "missing.safetensors")
        (tmp_path / "damaged.safetensors").write_bytes(b"no prior")
        refuses(run, InputError, "damaged", text_prior=tmp_path / "damaged.safetensors")


def refuses(run, kind, cause, **options):
    with pytest.raises(MedfsError, match=cause) as caught:
        Segmenter(run, device="cpu", **options)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.fixture
def broken(run, tmp_path):
    return shutil.copytree(run, tmp_path / "broken")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    refuses(tmp_path, InputError, "not a finished medfs run")
    refuses(tmp_path / "missing", InputError, "not a finished medfs run")


def test_missing_weights_are_named(broken):
    (broken / "models" / "model.pt").unlink()
    refuses(broken, InputError, r"model\.pt")


@pytest.mark.parametrize("keep", [0, 10, 1000, -20])
def test_truncated_weights_are_refused(broken, keep):
    path = broken / "models" / "model.pt"
    path.write_bytes(path.read_bytes()[:keep])
    refuses(broken, InputError, r"model\.pt: not a readable checkpoint")


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], 5, {"weight": torch.zeros(2)}])
def test_a_checkpoint_of_something_else_is_refused(broken, content):
    torch.save(content, broken / "models" / "model.pt")
    refuses(broken, InputError, r"model\.pt: (holds a|weights of another network)")


def test_weights_of_another_network_are_refused(broken):
    values = json.loads((broken / "medfs.json").read_text())
    (broken / "medfs.json").write_text(json.dumps({**values, "filters": 16}))
    refuses(broken, InputError, "weights of another network")


def test_code_in_a_pickle_is_not_run(broken, tmp_path):
    class Touch:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"weight": Touch()}, broken / "models" / "model.pt")
    refuses(broken, InputError, "not a readable checkpoint")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '{"bundle": {}}', "[" * 100_000])
def test_values_that_are_no_plain_object_are_refused(broken, text):
    (broken / "medfs.json").write_text(text)
    refuses(broken, InputError, r"medfs\.json")


@pytest.mark.parametrize(
    "value", ["$__import__('os').system('true')", "@network", "%train.json", ["$1"], [["liver"], ["@x"]], {"a": 1}]
)
@pytest.mark.parametrize("name", ["modality", "labels", "comment"])
def test_values_that_could_be_code_are_refused(broken, name, value):
    values = json.loads((broken / "medfs.json").read_text())
    (broken / "medfs.json").write_text(json.dumps({**values, name: value}))
    refuses(broken, InputError, "more than plain values")


@pytest.mark.parametrize("name", ["bundle", "labels", "filters", "modality", "spacing_mm", "patch_size", "levels"])
def test_a_missing_value_is_named(broken, name):
    values = json.loads((broken / "medfs.json").read_text())
    del values[name]
    (broken / "medfs.json").write_text(json.dumps(values))
    refuses(broken, InputError, f"{name} missing")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("labels", ["unicorn"]),
        ("modality", "pet"),
        ("spacing_mm", "fine"),
        ("levels", 2),
        ("filters", "many"),
        ("filters", None),
        ("output_layer", "round"),
    ],
)
def test_a_value_that_cannot_be_used_is_one_line(broken, name, value):
    values = json.loads((broken / "medfs.json").read_text())
    (broken / "medfs.json").write_text(json.dumps({**values, name: value}))
    refuses(broken, InputError, r"medfs\.json: a value cannot be used")


def test_a_bundle_that_medfs_does_not_have_is_named(broken):
    values = json.loads((broken / "medfs.json").read_text())
    (broken / "medfs.json").write_text(json.dumps({**values, "bundle": "another"}))
    refuses(broken, UsageError, "no bundle 'another'")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UsageError, match="expected auto, cpu"):
        pick_device(name)


def test_the_processor_is_always_there():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda")
