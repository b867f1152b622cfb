"""Crops that depend on their place in the stream alone, whoever asks for them and whenever."""

from collections import Counter

import numpy as np
import pytest
import torch

from medfs.errors import UsageError
from medfs.semisup import CropStream, TwoStreamBatches


class RandomCrop:
    """As MONAI's random transforms: seeded by ``set_random_state``, gives a list of one."""

    def __init__(self, size: int = 4) -> None:
        self.size, self.random = size, np.random.RandomState()

    def set_random_state(self, seed: int) -> None:
        self.random = np.random.RandomState(seed)

    def __call__(self, item):
        image = item["image"]
        start = [self.random.randint(length - self.size + 1) for length in image.shape[1:]]
        box = tuple(slice(first, first + self.size) for first in start)
        crop = {key: item[key][(slice(None), *box)] for key in ("image", "label") if key in item}
        return [{**crop, "image": crop["image"] + self.random.rand(), "case": item["case"]}]


def cases(count, *, labelled=True, seed=0):
    random = np.random.default_rng(seed)
    items = [{"image": random.random((1, 9, 8, 7)) + 100 * index, "case": f"case {index}"} for index in range(count)]
    return [{**item, "label": (item["image"] > 0.5).astype(np.uint8)} if labelled else item for item in items]


def stream(count=5, *, labelled=True, seed=0):
    return CropStream(cases(count, labelled=labelled, seed=seed), RandomCrop(), seed=seed)


def case_of(crop):
    return int(crop["image"].min() // 100)


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def equal_batches(first, second):
    return first.keys() == second.keys() and all(equal(first[name], second[name]) for name in first)


def test_a_place_gives_the_same_crop_whatever_was_asked_before():
    forwards = [stream()[place] for place in range(12)]
    one = stream()
    backwards = [one[place] for place in reversed(range(12))][::-1]
    assert all(equal(a, b) for a, b in zip(forwards, backwards, strict=True))


def test_a_crop_has_nothing_but_image_and_label():
    assert stream()[0].keys() == {"image", "label"}
    assert stream(labelled=False)[0].keys() == {"image"}
    assert stream()[0]["image"].shape == (1, 4, 4, 4)


def test_a_transform_may_give_a_dictionary_instead_of_a_list():
    class Whole(RandomCrop):
        def __call__(self, item):
            return item

    crop = CropStream(cases(2), Whole(), seed=0)[0]
    assert crop["image"].shape == (1, 9, 8, 7)
    assert crop["label"].dtype == torch.uint8


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_turn_visits_every_case_once(count):
    one = stream(count)
    for turn in range(4):
        seen = Counter(case_of(one[turn * count + place]) for place in range(count))
        assert seen == Counter(range(count))


def test_turns_have_orders_of_their_own():
    one = stream(5)
    orders = {tuple(case_of(one[5 * turn + place]) for place in range(5)) for turn in range(6)}
    assert len(orders) > 1


def test_the_same_case_is_cropped_elsewhere_in_every_turn():
    one = stream(1)
    assert len({float(one[place]["image"].sum()) for place in range(6)}) == 6


def test_alike_cases_of_one_turn_are_cropped_in_ways_of_their_own():
    one = CropStream(cases(1) * 6, RandomCrop(), seed=0)
    assert len({float(one[place]["image"].sum()) for place in range(6)}) == 6


def test_another_seed_gives_other_crops():
    def first(seed):
        return CropStream(cases(5), RandomCrop(), seed=seed)[0]["image"]

    assert not torch.equal(first(0), first(1))


def test_a_stream_without_cases_is_refused():
    with pytest.raises(UsageError, match="at least one case"):
        CropStream([], RandomCrop(), seed=0)


def test_batches_have_both_streams_and_stated_sizes():
    batches = TwoStreamBatches(stream(), stream(4, labelled=False), steps=3, batch_size=2, unlabelled_batch_size=3)
    found = list(batches)
    assert len(batches) == len(found) == 3
    for batch in found:
        assert batch["labelled"]["image"].shape == (2, 1, 4, 4, 4)
        assert batch["labelled"]["label"].shape == (2, 1, 4, 4, 4)
        assert batch["unlabelled"].keys() == {"image"}
        assert batch["unlabelled"]["image"].shape == (3, 1, 4, 4, 4)


def test_without_unlabelled_cases_there_is_no_such_key():
    assert next(iter(TwoStreamBatches(stream(), steps=1))).keys() == {"labelled"}


@pytest.mark.parametrize("start", [0, 1, 4, 6])
def test_a_later_start_gives_the_identical_tail(start):
    def batches():
        return TwoStreamBatches(stream(), stream(3, labelled=False, seed=1), steps=6, unlabelled_batch_size=1)

    whole, resumed = batches(), batches()
    resumed.start = start
    assert len(resumed) == 6 - start
    tail = list(whole)[start:]
    assert all(equal_batches(a, b) for a, b in zip(tail, resumed, strict=True))


def test_ranks_share_the_stream_without_overlap():
    ranks, steps, size = 3, 4, 2
    crops = []
    for rank in range(ranks):
        batches = TwoStreamBatches(stream(), steps=steps, batch_size=size, rank=rank, ranks=ranks)
        crops += [image for batch in batches for image in batch["labelled"]["image"]]
    one = stream()
    expected = [one[place]["image"] for place in range(ranks * steps * size)]
    assert sorted(float(crop.sum()) for crop in crops) == sorted(float(crop.sum()) for crop in expected)
    assert len({float(crop.sum()) for crop in crops}) == len(crops)


def test_ranks_together_see_what_one_process_with_larger_batches_sees():
    alone = list(TwoStreamBatches(stream(), steps=3, batch_size=4))
    pair = [list(TwoStreamBatches(stream(), steps=3, batch_size=2, rank=rank, ranks=2)) for rank in (0, 1)]
    for step, batch in enumerate(alone):
        together = torch.cat([pair[rank][step]["labelled"]["image"] for rank in (0, 1)])
        assert torch.equal(batch["labelled"]["image"], together)


def test_iterating_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    list(TwoStreamBatches(stream(), stream(2, labelled=False), steps=3))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.subprocess
def test_worker_processes_change_nothing():
    def batches(workers):
        return TwoStreamBatches(stream(), steps=4, batch_size=2, workers=workers)

    assert all(equal_batches(a, b) for a, b in zip(batches(0), batches(2), strict=True))
