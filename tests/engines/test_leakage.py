"""Thirteen ways in which what is tested could reach training: each is put in, and refused or seen not to act."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from marked_cases import LIVER, MODES, SPLEEN, marked_arrays, write_marked
from tiny_training import tiny_trainer

from medfs.anatomy import custom_label_set
from medfs.engines.data import require_split, training_plan, training_split
from medfs.engines.episodic_runs import folder_protocol, training_cases
from medfs.errors import InputError, UsageError
from medfs.fewshot import EpisodeDataset, EpisodeSampler, Exclusion, FewShotProtocol, prepare_case
from medfs.io import Split, Volume, find_cases, make_split, read_image, write_image
from medfs.io.folds import PublishedFolds
from medfs.transforms.episodes import EpisodeAugmentation

ORGANS = {LIVER: "liver", SPLEEN: "spleen"}


@pytest.fixture
def dataset(tmp_path):
    """Six cases with labels and supervoxels."""
    folder = tmp_path / "data"
    write_marked(folder, 6)
    return folder


@pytest.fixture
def cases(dataset):
    return find_cases(dataset)


def unlabelled(case):
    return replace(case, label=None)


def test_1_a_patient_in_training_and_test(cases):
    a, b = cases[:2]
    with pytest.raises(InputError, match=r"case_0 \(training\) and case_1 \(test\) share patient case_0"):
        Split((a,), (), (), (replace(b, patient=a.patient),))


def test_2_another_scan_of_a_test_patient_among_the_unlabelled(cases):
    a, b, c = cases[:3]
    with pytest.raises(InputError, match=r"case_1 \(training\) and case_2 \(test\) share patient"):
        Split((a,), (unlabelled(replace(b, patient=c.patient)),), (), (c,))


def test_3_one_file_under_two_names(cases):
    a, b = cases[:2]
    with pytest.raises(InputError, match=r"case_0 \(training\) and case_1 \(validation\) share image"):
        Split((a,), (), (replace(b, image=a.image),), ())


def copied(dataset, change):
    """The image of case 5 becomes that of case 0, changed."""
    image = read_image(dataset / "images" / "case_0.nii.gz")
    array = np.ascontiguousarray(change(image.array))
    write_image(dataset / "images" / "case_5.nii.gz", array, Volume.from_array(array, image.affine))


@pytest.mark.parametrize("change", [lambda a: a, lambda a: a[::-1], lambda a: a[:, ::-1, ::-1]], ids=["4", "5", "5b"])
def test_4_and_5_the_same_voxels_under_two_names_flipped_or_not(dataset, tmp_path, change):
    copied(dataset, change)
    seed = next(seed for seed in range(20) if _apart(dataset, seed))
    with pytest.raises(InputError, match=r"case_\d \((training|test)\) and case_\d \((training|test)\) share voxels"):
        training_split(dataset, tmp_path / "run", validation=1, test=2, seed=seed)
    assert not (tmp_path / "run" / "split.json").exists()


def _apart(dataset, seed):
    """Whether one of the two copies is tested and the other trained on."""
    split = make_split(find_cases(dataset), validation=1, test=2, seed=seed)
    tested, validated = ({case.name for case in part} for part in (split.test, split.validation))
    return len(tested & {"case_0", "case_5"}) == 1 and not validated & {"case_0", "case_5"}


def test_6_a_split_file_that_was_edited(dataset, tmp_path):
    training_split(dataset, tmp_path, validation=1, test=2)
    content = json.loads((tmp_path / "split.json").read_text())
    content["labelled"].append(content["test"].pop())
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="the hash does not fit the cases"):
        training_split(dataset, tmp_path, validation=1, test=2)


@pytest.fixture
def split(cases):
    return Split(tuple(cases[:2]), (unlabelled(cases[2]),), (cases[3],), tuple(cases[4:]))


def test_7_a_test_case_or_a_withheld_label_in_what_training_reads(split, cases):
    training, validation = split.items("labelled") + split.items("unlabelled"), split.items("validation")
    require_split(split, training, validation)
    with pytest.raises(UsageError, match=r"case_4\.nii\.gz of training is in test"):
        require_split(split, [*training, cases[4].item()], validation)
    with pytest.raises(UsageError, match=r"case_2\.nii\.gz is in unlabelled but training reads its label"):
        require_split(split, [*training[:2], cases[2].item()], validation)
    with pytest.raises(UsageError, match="no part of the split"):
        require_split(split, [{"image": "elsewhere.nii.gz"}], validation)


def test_8_a_checkpoint_chosen_by_the_test_cases(split):
    with pytest.raises(UsageError, match=r"case_4\.nii\.gz of validation is in test; .*case_5\.nii\.gz of validation"):
        require_split(split, split.items("labelled"), split.items("test"))
    with pytest.raises(UsageError, match=r"case_0\.nii\.gz of validation is in labelled"):
        require_split(split, split.items("labelled"), split.items("labelled"))


def test_9_a_query_with_a_support_of_its_own_patient(cases):
    protocol = FewShotProtocol(PublishedFolds.of_names([case.name for case in cases], 2), ORGANS)
    with pytest.raises(UsageError, match="every query is of the patient of its support"):
        protocol.tests([replace(case, patient="one") for case in cases], 0)
    with pytest.raises(UsageError, match="nobody is left for training"):
        protocol.training([replace(case, patient="one") for case in cases], 0)


@pytest.mark.parametrize("change", [lambda a: a, lambda a: a[::-1]], ids=["renamed", "flipped"])
def test_10_a_copy_of_a_query_in_few_shot_training(dataset, tmp_path, change):
    copied(dataset, change)
    labels = custom_label_set(("background", "liver", "spleen", "right_kidney"))
    protocol = folder_protocol(dataset, labels, fold_length=2)
    arguments = dataset, dataset / "supervoxels", tmp_path / "cache", protocol
    with pytest.raises(InputError, match=r"case_5 \(training\) and case_0 \(fold 0\) share voxels"):
        training_cases(*arguments, 0)
    shutil.copy(dataset / "images" / "case_4.nii.gz", dataset / "images" / "case_5.nii.gz")
    assert training_cases(*arguments, 0)  # two copies on one side tell nobody anything


@pytest.mark.parametrize("mode", ["slice", "slab", "crops", "two_view"])
def test_11_a_slice_with_a_test_organ_under_a_supervoxel(cases, dataset, tmp_path, mode):
    """Every voxel of an excluded organ is brighter than any other: none is seen in two epochs, and without it some."""
    ready = [prepare_case(case, dataset / "supervoxels" / case.image.name, tmp_path) for case in cases]
    marker = 3.0
    for number, case in enumerate(ready):
        organs = np.isin(marked_arrays(number)[1].T, (LIVER, SPLEEN))
        assert case.open()[0][organs].min() > marker > case.open()[0][~organs].max()
    seen = {}
    for organs in ((), (LIVER, SPLEEN)):
        sampler = EpisodeSampler(ready, MODES[mode], exclusion=Exclusion(organs))
        drawn = EpisodeDataset(sampler, EpisodeAugmentation() if organs else None, length=30)
        images = [image for place in range(60) for image in (drawn[place].support_image, drawn[place].query_image)]
        seen[organs] = sum(int((image > marker).sum()) for image in images)
    assert seen[()] > 0
    assert seen[LIVER, SPLEEN] == 0


def test_11b_setting_2_that_tests_other_organs_than_it_excludes(cases):
    folds = PublishedFolds.of_names([case.name for case in cases], 2)
    with pytest.raises(UsageError, match="Setting 2 tests the organs that were excluded"):
        FewShotProtocol(folds, ORGANS, exclusion=Exclusion((LIVER,)))
    with pytest.raises(UsageError, match="leave out the case"):
        Exclusion((LIVER,)).allowed(SimpleNamespace(name="case_0", organs=None))


@pytest.mark.parametrize("key", ["split", "excluded organs", "fold"])
def test_12_a_run_continued_with_another_split_fold_or_setting(tmp_path, key):
    first = tiny_trainer(tmp_path, extra={key: "these", "classes": "a"})
    first.keeper._save_last({**first.state_of_run(), "best_metric": -1.0, "extra": first.keeper.extra})
    again = tiny_trainer(tmp_path, extra={key: "these", "classes": "a"})
    assert again.keeper.resume(again)
    other = tiny_trainer(tmp_path, extra={key: "those", "classes": "a"})
    with pytest.raises(InputError, match=f"made with another {key}; resume with the configuration"):
        other.keeper.resume(other)


def test_13_statistics_of_the_training_scans_alone(dataset, tmp_path):
    first = training_split(dataset, tmp_path / "run", validation=1, test=2)
    before = training_plan(first, levels=2)
    for case in (*first.validation, *first.test):
        array = read_image(case.image).array
        write_image(case.image, array * 1000 - 5, Volume.from_array(array, np.diag([9.0, 9.0, 9.0, 1.0])))
    assert training_plan(first, levels=2) == before
