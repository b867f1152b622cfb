"""From a dataset folder to the streams of a run."""

import json

import numpy as np
import pytest
from monai.data import CacheDataset

from medfs.engines.data import training_plan, training_split, two_stream_batches
from medfs.errors import InputError, StorageError, UsageError
from medfs.io import Split
from medfs.phantom import write_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "data"
    write_cohort(folder, 5, labelled=4, seed=1, spacing_mm=16.0)
    return folder


def names(cases):
    return [case.name for case in cases]


def test_a_split_is_written_and_counts_from_then_on(cohort, tmp_path):
    run = tmp_path / "new" / "run"
    first = training_split(cohort, run, labelled=2, validation=1, test=1, seed=3)
    assert [len(first.cases(part)) for part in ("labelled", "unlabelled", "validation", "test")] == [2, 1, 1, 1]
    assert Split.read(run / "split.json") == first
    assert training_split(cohort, run, labelled=1, seed=99) == first
    assert training_split("no longer there", run) == first


def test_labels_beyond_the_wanted_number_are_not_passed_on(cohort, tmp_path):
    split = training_split(cohort, tmp_path, labelled=2)
    assert len(split.unlabelled) == 3
    assert all(case.label is None for case in split.unlabelled)
    assert all("label" not in item for item in split.items("unlabelled"))


def test_another_seed_draws_other_cases(cohort, tmp_path):
    drawn = {
        tuple(names(training_split(cohort, tmp_path / str(seed), labelled=2, seed=seed).labelled)) for seed in range(8)
    }
    assert len(drawn) > 1
    again = training_split(cohort, tmp_path / "again", labelled=2, seed=0)
    assert names(again.labelled) == names(training_split(cohort, tmp_path / "0").labelled)


def test_a_damaged_split_is_refused_and_left_as_it_is(cohort, tmp_path):
    (tmp_path / "split.json").write_text("{}")
    with pytest.raises(InputError, match=r"split\.json"):
        training_split(cohort, tmp_path)
    assert (tmp_path / "split.json").read_text() == "{}"


def test_too_few_labels_are_refused_and_no_split_is_left(cohort, tmp_path):
    with pytest.raises(UsageError, match="4 patients with labels"):
        training_split(cohort, tmp_path, validation=3, test=1)
    assert not (tmp_path / "split.json").exists()


def test_a_run_folder_that_cannot_be_made_is_a_storage_error(cohort, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot make this folder"):
        training_split(cohort, tmp_path / "file" / "run")


def datalist(cohort, path, **sections):
    def entry(number, labelled=True):
        name = f"phantom_{number:03d}.nii.gz"
        label = {"label": str(cohort / "labels" / name)} if labelled else {}
        return {"image": str(cohort / "images" / name), **label}

    content = {
        section: [entry(abs(n), n >= 0 and section != "unlabelled") for n in numbers]
        for section, numbers in sections.items()
    }
    path.write_text(json.dumps(content))
    return path


def test_a_datalist_with_a_validation_section_states_its_split(cohort, tmp_path):
    path = datalist(cohort, tmp_path / "list.json", training=[0, 1], validation=[2], test=[3], unlabelled=[4])
    split = training_split(path, tmp_path / "run", labelled=1, validation=0)
    assert names(split.labelled) == ["phantom_000", "phantom_001"]
    assert names(split.validation) == ["phantom_002"]
    assert names(split.test) == ["phantom_003"]
    assert names(split.unlabelled) == ["phantom_004"]


def test_a_datalist_of_training_cases_alone_is_split(cohort, tmp_path):
    path = datalist(cohort, tmp_path / "list.json", training=[0, 1, 2, 3])
    split = training_split(path, tmp_path / "run", validation=1)
    assert [len(split.cases(part)) for part in ("labelled", "unlabelled", "validation", "test")] == [3, 0, 1, 0]


def test_a_datalist_without_labels_for_training_is_refused(cohort, tmp_path):
    path = datalist(cohort, tmp_path / "list.json", training=[-4], validation=[0])
    with pytest.raises(UsageError, match="no labelled case is left"):
        training_split(path, tmp_path / "run")
    assert not (tmp_path / "run" / "split.json").exists()


def test_the_plan_is_made_from_labelled_scans(cohort, tmp_path):
    split = training_split(cohort, tmp_path, labelled=2)
    plan = training_plan(split, levels=3)
    assert plan.modality == "ct"
    assert plan.spacing_mm == (16.0, 16.0, 16.0)
    assert plan.levels == 3


class Whole:
    """A transform that draws nothing."""

    def set_random_state(self, seed):
        self.seed = seed

    def __call__(self, item):
        return item


ITEMS = [
    {"image": "a", "label": "x", "case": "0"},
    {"image": "b", "case": "1"},
    {"image": "c", "label": "y", "case": "2"},
    {"image": "d", "label": "", "case": "3"},
]


def prepared(items):
    arrays = [{"image": np.full((1, 2, 2, 2), float(item["case"]))} for item in items]
    for array, item in zip(arrays, items, strict=True):
        if item.get("label"):
            array["label"] = np.zeros((1, 2, 2, 2), np.uint8)
    return CacheDataset(arrays, transform=lambda item: item, progress=False)


def seen(batches, stream):
    return {float(value) for batch in batches for value in batch[stream]["image"][:, 0, 0, 0, 0]}


def test_prepared_cases_are_sorted_into_their_streams():
    batches = two_stream_batches(prepared(ITEMS), ITEMS, Whole(), Whole(), steps=3, batch_size=2)
    assert seen(batches, "labelled") == {0.0, 2.0}
    assert seen(batches, "unlabelled") == {1.0, 3.0}
    assert all("label" not in batch["unlabelled"] for batch in batches)


def test_without_unlabelled_cases_there_is_one_stream():
    items = [item for item in ITEMS if item.get("label")]
    (batch,) = two_stream_batches(prepared(items), items, Whole(), Whole(), steps=1)
    assert batch.keys() == {"labelled"}


def test_without_labelled_cases_there_is_no_training():
    items = [item for item in ITEMS if not item.get("label")]
    with pytest.raises(UsageError, match="at least one case"):
        two_stream_batches(prepared(items), items, Whole(), Whole(), steps=1)


def test_both_streams_and_every_seed_draw_on_their_own():
    labelled, unlabelled = Whole(), Whole()
    drawn = set()
    for seed in range(4):
        next(iter(two_stream_batches(prepared(ITEMS), ITEMS, labelled, unlabelled, steps=1, seed=seed)))
        drawn |= {labelled.seed, unlabelled.seed}
    assert len(drawn) == 8
