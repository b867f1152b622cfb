"""``medfs train``: from options to the values of the bundle, and a training run in small."""

import json
import os
import signal

import pytest

from medfs.errors import ExitCode
from medfs.io import claim_folder, read_labels, write_labels
from medfs.io.bundles import find_bundle
from medfs.phantom import write_cohort

SMALL = ["--validation", "0", "--patch", "16,16,16", "--filters", "8", "--epochs", "1", "--epoch-length", "1"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "data"
    write_cohort(folder, 3, labelled=2, seed=1, spacing_mm=14.0)
    return folder


@pytest.fixture
def values(monkeypatch):
    """What the command would have run: the bundle, its configuration and the values."""
    calls = []
    monkeypatch.setattr("medfs.engines.runs.run_bundle", lambda *arguments: calls.append(arguments))
    return calls


def fails(outcome, said):
    assert outcome.code == ExitCode.USAGE
    assert outcome.out == ""
    assert outcome.err.startswith("medfs: ")
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_options_become_values_of_the_bundle(medfs, values, cohort, tmp_path):
    code, out, _ = medfs(
        *("train", cohort, "-o", tmp_path / "run", "--labels", "liver,spleen", "--labelled", "2"),
        *("--modality", "mr", "--spacing-mm", "2,2,3.5", "--patch", "32x48x16", "--seed", "5", "--device", "cpu"),
    )
    assert code == ExitCode.OK
    assert "medfs segment" in out
    ((bundle, configs, found),) = values
    assert bundle == find_bundle("multi_organ_tak_segmentation")
    assert configs == ["train.json"]
    assert found["dataset_dir"] == str(cohort)
    assert found["output_dir"] == str(tmp_path / "run")
    assert found["labels"] == "liver,spleen"
    assert (found["labelled"], found["validation"], found["test"]) == (2, 2, 0)
    assert (found["modality"], found["spacing_mm"], found["patch_size"]) == ("mr", [2.0, 2.0, 3.5], [32, 48, 16])
    assert (found["seed"], found["device"], found["resume"]) == (5, "cpu", False)
    assert "objective" not in found
    assert "text_prior" not in found


def test_defaults_are_those_of_the_bundle(medfs, values, cohort, tmp_path):
    medfs("train", cohort, "-o", tmp_path / "run")
    config = json.loads((find_bundle("multi_organ_tak_segmentation") / "configs" / "train.json").read_text())
    found = values[0][2]
    for name in found.keys() - {"dataset_dir", "output_dir"}:
        assert found[name] == config[name], name


def test_every_value_is_one_that_the_bundle_knows(medfs, values, cohort, tmp_path):
    medfs("train", cohort, "-o", tmp_path / "run", "--objective", "supervised", "--prior", "random", "--device", "cpu")
    config = json.loads((find_bundle("multi_organ_tak_segmentation") / "configs" / "train.json").read_text())
    assert values[0][2].keys() <= config.keys()


@pytest.mark.parametrize("name", ["supervised", "mean-teacher", "ua_mt", "magicnet-ga", "tak"])
def test_an_objective_is_an_overlay_of_the_bundle(medfs, values, cohort, tmp_path, name):
    code, _, err = medfs("train", cohort, "-o", tmp_path / "run", "--objective", name, "--cubes", "2")
    assert code == ExitCode.OK, err
    bundle, configs, found = values[0]
    assert configs == ["train.json", f"{name.replace('-', '_')}.json"]
    assert "objective" in json.loads((bundle / "configs" / configs[1]).read_text())
    assert found["cubes"] == 2


def test_an_unknown_objective_is_told_with_those_there_are(medfs, values, cohort, tmp_path):
    fails(medfs("train", cohort, "-o", tmp_path / "run", "--objective", "train"), "expected one of cps, dhc, ga")


@pytest.mark.parametrize("prior", ["embedded", "random", "learnable", "one-hot", "file"])
def test_priors_are_built_as_named(medfs, values, cohort, tmp_path, prior):
    from monai.bundle import ConfigParser

    from medfs.text import TextPrior

    if prior == "file":
        prior = tmp_path / "own.safetensors"
        TextPrior.random(("background", "liver"), width=9).save(prior)
    medfs("train", cohort, "-o", tmp_path / "run", "--labels", "liver", "--prior", prior)
    found = values[0][2]
    parser = ConfigParser()
    parser.read_config(find_bundle("multi_organ_tak_segmentation") / "configs" / "train.json")
    parser.update({"bundle_root": ".", "labels": "liver"} | {key: found[key] for key in found if key == "text_prior"})
    built = parser.get_parsed_content("text_prior")
    assert built.names == ("background", "liver")
    expected = {"embedded": "MiniLM", "random": "random:0", "learnable": "learnable:0", "one-hot": "one_hot"}
    assert expected.get(prior, "random:0") in built.provenance.encoder
    if prior in ("random", "learnable"):
        shipped = TextPrior.embedded("liver")
        assert built.width == shipped.width
        assert built.row_norm == pytest.approx(shipped.row_norm)


def test_set_takes_json_and_words(medfs, values, cohort, tmp_path):
    medfs(
        *("train", cohort, "-o", tmp_path / "run", "--set", "learning_rate=0.002", "--set", "split_seed=7"),
        *("--set", "train::trainer::power=1", "--set", "modality=ct", "--set", "batch_size=[1"),
    )
    found = values[0][2]
    assert (found["learning_rate"], found["split_seed"], found["train::trainer::power"]) == (0.002, 7, 1)
    assert (found["modality"], found["batch_size"]) == ("ct", "[1")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "learning_rate"], "expected NAME=VALUE"),
        (["--set", "=3"], "expected NAME=VALUE"),
        (["--set", "lerning_rate=3"], "no 'lerning_rate'; expected learning_rate"),
        (["--set", "train::trainr::power=1"], "no 'trainr'; expected trainer"),
        (["--patch", "32,32"], "three positive numbers"),
        (["--patch", "32,32,x"], "three positive numbers"),
        (["--patch", "32,32,-32"], "three positive numbers"),
        (["--patch", "3.5,4,4"], "three positive numbers"),
        (["--spacing-mm", "0,1,1"], "three positive numbers"),
        (["--spacing-mm", "nan,1,1"], "three positive numbers"),
        (["--spacing-mm", ""], "three positive numbers"),
        (["--bundle", "another"], "no bundle 'another'"),
    ],
)
def test_wrong_options_are_one_line(medfs, values, cohort, tmp_path, options, said):
    fails(medfs("train", cohort, "-o", tmp_path / "run", *options), said)
    assert values == []


def test_a_missing_dataset_is_one_line(medfs, values, tmp_path):
    fails(medfs("train", tmp_path / "none", "-o", tmp_path / "run"), "no such dataset")


def test_a_run_is_neither_overwritten_nor_continued_by_accident(medfs, values, cohort, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    fails(medfs("train", cohort, "-o", tmp_path / "run"), "continue it with --resume")
    assert medfs("train", cohort, "-o", tmp_path / "run", "--resume").code == ExitCode.OK
    assert values[0][2]["resume"] is True


def test_a_small_run_can_be_segmented_with(medfs, cohort, tmp_path):
    code, out, err = medfs("train", cohort, "-o", tmp_path / "run", *SMALL, "--device", "cpu")
    assert code == ExitCode.OK
    assert f"--bundle {tmp_path / 'run'}" in out
    assert "step 1/1  loss " in err
    code, _, _ = medfs("segment", cohort / "images", "-o", tmp_path / "out", "-b", tmp_path / "run")
    assert code == ExitCode.OK
    assert len(list((tmp_path / "out").glob("*_seg.nii.gz"))) == 3


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--labels", "martian"], ExitCode.USAGE, "unknown label set 'martian'"),
        (["--validation", "2"], ExitCode.USAGE, "patients with labels"),
        (["--patch", "20,20,30"], ExitCode.USAGE, "must be a multiple of 4"),
        (["--prior", "missing.safetensors"], ExitCode.SOME_FAILED, "missing.safetensors"),
        (["--modality", "pet"], ExitCode.USAGE, "unknown modality 'pet'"),
        (["--device", "gpu"], ExitCode.USAGE, "no device 'gpu'"),
    ],
)
def test_what_the_bundle_refuses_is_one_line_too(medfs, cohort, tmp_path, options, code, said):
    outcome = medfs("train", cohort, "-o", tmp_path / "run", *SMALL, *options)
    assert outcome.code == code
    line = outcome.err.splitlines()[-1]
    assert line.startswith("medfs: ")
    assert said in line
    assert "Traceback" not in outcome.err


def test_a_damaged_scan_ends_training_with_its_name(medfs, tmp_path):
    write_cohort(tmp_path / "data", 2, labelled=1, seed=1, spacing_mm=14.0)
    image = tmp_path / "data" / "images" / "phantom_001.nii.gz"
    image.write_bytes(image.read_bytes()[:400])
    code, _, err = medfs("train", tmp_path / "data", "-o", tmp_path / "run", *SMALL)
    assert code == ExitCode.SOME_FAILED
    assert err.splitlines()[-1].startswith("medfs: phantom_001.nii.gz: truncated")


def test_label_values_outside_the_label_set_are_named_before_the_first_step(medfs, tmp_path):
    write_cohort(tmp_path / "data", 2, labelled=2, seed=1, spacing_mm=14.0)
    path = tmp_path / "data" / "labels" / "phantom_001.nii.gz"
    labels = read_labels(path)
    array = labels.array.copy()
    array[0, 0, :3] = 77
    write_labels(path, array, labels)
    code, _, err = medfs("train", tmp_path / "data", "-o", tmp_path / "run", *SMALL, "--validation", "0")
    assert code == ExitCode.SOME_FAILED
    assert err.splitlines()[-1].startswith("medfs: phantom_001.nii.gz: label values 77 (3 voxels); expected 0 to ")
    assert "step " not in err


def test_a_folder_in_which_another_process_trains_is_refused(medfs, cohort, tmp_path):
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        claim_folder(tmp_path / "run")
        os.write(writer, b"!")
        signal.pause()
    try:
        assert os.read(reader, 1) == b"!"
        code, _, err = medfs("train", cohort, "-o", tmp_path / "run", *SMALL, "--resume")
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    assert code == ExitCode.USAGE
    assert f"run: in use by process {process} on " in err.splitlines()[-1]


def test_a_test_case_does_not_choose_the_checkpoint(medfs, cohort, tmp_path):
    chosen = "validate::dataset::data=$@split.items('test')"
    code, _, err = medfs("train", cohort, "-o", tmp_path / "run", *SMALL, "--test", "1", "--set", chosen)
    assert code == ExitCode.USAGE
    assert "of validation is in test" in err.splitlines()[-1]
