"""Episodes as training receives them."""

import pickle

import numpy as np
import pytest
import torch
from marked_cases import LIVER, MODES, SPLEEN, marked_arrays
from torch.utils.data import DataLoader

from medfs.errors import UsageError
from medfs.fewshot import EpisodeDataset, EpisodeSampler, Exclusion
from medfs.fewshot.episodes import place_crop
from medfs.transforms.episodes import EpisodeAugmentation
from medfs.types import Episode

every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
PUBLISHED, NOTHING = EpisodeAugmentation(), Exclusion()


@pytest.fixture
def dataset(marked_cases):
    def make(mode, augmentation=PUBLISHED, *, exclusion=NOTHING, length=20, names=None):
        sampler = EpisodeSampler(marked_cases(mode), mode, exclusion=exclusion)
        return EpisodeDataset(sampler, augmentation, length=length, names=names)

    return make


def same(first, second):
    parts = ("support_image", "support_mask", "query_image", "query_mask")
    return all(torch.equal(getattr(first, part), getattr(second, part)) for part in parts)


def standardised(number):
    image = marked_arrays(number)[0].astype(float)
    return ((image - image.mean()) / image.std()).T


@every_mode
def test_an_episode_shows_the_drawn_slices_of_the_standardised_scan(dataset, mode):
    one = dataset(mode, None)
    for place in range(20):
        draw, episode = one.sampler.draw(0, place), one[place]
        sides = [*zip(episode.support_image[0, :, 0], episode.support_mask[0], strict=True)]
        sides.append((episode.query_image[0, 0], episode.query_mask[0]))
        for view, (image, mask) in zip((*draw.supports, draw.query), sides, strict=True):
            objects = marked_arrays(view.case)[1 if mode.needs_organs else 2].T
            block = standardised(view.case)[view.start : view.stop]
            there = objects[view.start : view.stop] == draw.object_id
            if mode.in_plane is None:
                flat = mode.flat
                np.testing.assert_allclose(image, block[0] if flat else block, atol=1e-5)
                np.testing.assert_array_equal(mask, there[0] if flat else there)
            else:
                assert mask.any()
                assert image.shape[1:] == mode.in_plane
                assert np.isin(np.round(image, 4), np.round(block.astype(np.float32), 4)).mean() > 0.99
                rows, columns = np.nonzero(there.any(axis=0))
                if np.ptp(rows) < mode.in_plane[0] and np.ptp(columns) < mode.in_plane[1]:
                    assert mask.sum() == there.sum()  # what fits is shown whole


@every_mode
@pytest.mark.parametrize("augmentation", [None, PUBLISHED], ids=["as_it_is", "augmented"])
def test_under_any_no_voxel_of_an_excluded_organ_is_in_an_image(dataset, mode, augmentation):
    one = dataset(mode, augmentation, exclusion=Exclusion((LIVER, SPLEEN)))
    liver = min(standardised(number)[marked_arrays(number)[1].T == LIVER].min() for number in range(4))
    assert liver > 3
    for place in range(60):
        episode = one[place]
        assert episode.support_image.max() < liver
        assert episode.query_image.max() < liver


@pytest.mark.parametrize("name", ["slice", "two_view", "crops", "across_patients"])
def test_under_all_an_excluded_organ_leaks_as_published(dataset, name):
    one = dataset(MODES[name], None, exclusion=Exclusion((LIVER, SPLEEN), "all"))
    assert max(float(one[place].query_image.max()) for place in range(60)) > 3


@every_mode
def test_an_episode_depends_on_its_place_alone(dataset, mode):
    first, again = dataset(mode), dataset(mode)
    forwards = [first[place] for place in range(24)]
    backwards = [again[place] for place in reversed(range(24))][::-1]
    assert all(map(same, forwards, backwards))
    assert not same(forwards[0], forwards[20])  # the same index of the next epoch


@every_mode
def test_images_are_floats_masks_boolean_and_augmented_on_the_right_sides(dataset, mode):
    plain, augmented = dataset(mode, None), dataset(mode)
    changes = set()
    for place in range(24):
        before, after = plain[place], augmented[place]
        assert after.query_mask.dtype == after.support_mask.dtype == torch.bool
        assert after.query_image.dtype == torch.float32
        support = not torch.equal(before.support_image, after.support_image)
        query = not torch.equal(before.query_image, after.query_image)
        changes.add((support, query))
    assert changes == ({(True, True)} if mode.augments_all else {(True, True), (True, False), (False, True)})


@pytest.mark.subprocess
@pytest.mark.parametrize("name", ["slice", "across_patients_slabs"])
def test_worker_processes_change_no_bit(dataset, name):
    one = dataset(MODES[name], length=12)
    batches = [
        list(DataLoader(one, 3, num_workers=workers, collate_fn=Episode.collate, multiprocessing_context=context))
        for workers, context in ((0, None), (2, "fork"))
    ]
    assert len(batches[0]) == len(batches[1]) == 4
    assert all(map(same, *batches))
    assert batches[0][0].query_image.shape[0] == 3


def test_a_resumed_run_sees_the_episodes_it_has_not_seen(dataset):
    one = dataset(MODES["slice"], length=5)
    whole = list(DataLoader(one, 2, sampler=range(14), collate_fn=Episode.collate))
    tail = list(DataLoader(one, 2, sampler=range(8, 14), collate_fn=Episode.collate))
    assert all(map(same, whole[4:], tail))


def test_iterating_gives_one_epoch(dataset):
    one = dataset(MODES["slice"], length=5)
    assert len(list(one)) == len(one) == 5
    with pytest.raises(IndexError):
        one[-1]


def test_episodes_of_organs_carry_their_names(dataset):
    names = {1: "liver", 2: "spleen", 3: "left_kidney"}
    one = dataset(MODES["across_patients"], names=names)
    for place in range(20):
        assert one[place].class_name == (names[one.sampler.draw(0, place).object_id],)
    assert dataset(MODES["slice"])[0].class_name == ()
    with pytest.raises(UsageError, match=r"\[3\] have no name"):
        dataset(MODES["across_patients"], names={1: "liver", 2: "spleen"})
    with pytest.raises(UsageError, match="at least 1"):
        dataset(MODES["slice"], length=0)


def test_open_files_do_not_travel_and_are_bounded(dataset, monkeypatch):
    monkeypatch.setattr("medfs.fewshot.episodes._MOST_OPEN", 2)
    one = dataset(MODES["slice"])
    expected = [one[place] for place in range(20)]
    assert len(one._opened) == 2
    copy = pickle.loads(pickle.dumps(one))
    assert not copy._opened
    assert all(map(same, expected, map(copy.__getitem__, range(20))))


def test_a_crop_shows_the_object_wherever_it_lies():
    random = np.random.default_rng(0)
    for _ in range(300):
        shape = random.integers(1, 12, 3)
        mask = np.zeros(shape, bool)
        mask[tuple(random.integers(0, shape))] = True
        mask |= random.random(shape) < random.choice([0, 0.1])
        size = tuple(int(n) for n in random.integers(1, 14, 2))
        rows, columns = place_crop(mask, size, random)
        assert mask[:, rows, columns].any()
        for window, wanted, length in ((rows, size[0], shape[1]), (columns, size[1], shape[2])):
            assert window.stop - window.start == min(wanted, length)
            assert 0 <= window.start <= window.stop <= length
