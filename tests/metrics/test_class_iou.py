"""IoU of episodes by class, and the relabelling that some published numbers suffer from."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import compute_iou

from medfs.errors import UsageError
from medfs.metrics import ClassIoU, over_seeds

CLASSES = ("melanoma", "nevus", "seborrheic_keratosis")


def episodes(seed: int, count: int = 12) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Classes in turn, the later ones larger and better found."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        kind = number % 3
        truth = random.random((20, 20)) < (0.1, 0.3, 0.6)[kind]
        made.append((CLASSES[kind], truth ^ (random.random((20, 20)) < (0.3, 0.2, 0.05)[kind]), truth))
    return made


def reference(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """IoU of background and foreground as MONAI has it."""
    both = [torch.from_numpy(np.stack([~mask, mask]))[None, :, None].float() for mask in (found, truth)]
    return compute_iou(*both)[0].numpy()


def scored(made: list[tuple[str, np.ndarray, np.ndarray]]) -> ClassIoU:
    iou = ClassIoU()
    for episode in made:
        iou.update(*episode)
    return iou


@given(st.integers(0, 1000))
def test_both_means_agree_with_monai(seed: int):
    made = episodes(seed)
    iou = scored(made)
    pooled = {name: [np.concatenate([m[k].ravel() for m in made if m[0] == name]) for k in (2, 1)] for name in CLASSES}
    assert iou.mean_iou == pytest.approx(np.mean([reference(*pooled[name])[1] for name in CLASSES]))
    everything = [np.concatenate([pooled[name][k] for name in CLASSES]) for k in (0, 1)]
    assert iou.fb_iou == pytest.approx(reference(*everything).mean())


def test_giving_every_episode_the_class_of_the_first_changes_the_mean_and_gives_fb_iou():
    made = episodes(0)
    batch = 6  # a multiple of the number of classes, as in the release of IFA
    relabelled = [(made[number - number % batch][0], found, truth) for number, (_, found, truth) in enumerate(made)]
    right, wrong = scored(made), scored(relabelled)
    assert list(wrong.counts) == ["melanoma"]
    # the mean over {background, foreground} of its only class is what that code prints as mean IoU
    (counts,) = wrong.counts.values()
    printed = np.mean(counts[:, 0] / counts[:, 1])
    assert printed == pytest.approx(right.fb_iou)
    assert abs(printed - right.mean_iou) > 0.05
    assert abs(wrong.mean_iou - right.mean_iou) > 0.05


def test_pixels_that_are_not_valid_do_not_count():
    truth, found = np.array([[True, True, False, False]]), np.array([[True, False, True, False]])
    some, all_there = ClassIoU(), ClassIoU()
    some.update("lung", found, truth, np.array([[True, True, False, True]]))
    all_there.update("lung", found[:, [0, 1, 3]], truth[:, [0, 1, 3]])
    np.testing.assert_array_equal(some.counts["lung"], all_there.counts["lung"])
    assert some.mean_iou == 0.5


def test_episodes_of_a_class_are_pooled_and_not_averaged():
    iou = ClassIoU()
    iou.update("lung", np.ones(90, bool), np.ones(90, bool))
    iou.update("lung", np.ones(10, bool), np.zeros(10, bool))
    assert iou.per_class == {"lung": 0.9}
    assert iou.fb_iou == pytest.approx(0.45)


def test_a_class_that_is_nowhere_scores_zero_and_no_episode_no_number():
    iou = ClassIoU()
    assert np.isnan(iou.mean_iou)
    assert np.isnan(iou.fb_iou)
    iou.update("lung", np.zeros(4, bool), np.zeros(4, bool))
    assert iou.row() == {"mean_iou": 0.0, "fb_iou": 0.5, "iou_lung": 0.0}


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(UsageError, match="lung: masks of shapes"):
        ClassIoU().update("lung", np.zeros(4, bool), np.zeros(5, bool))


def test_seeds_are_summarised_with_mean_and_deviation():
    found = over_seeds([{"mean_iou": 0.2}, {"mean_iou": 0.4}, {"mean_iou": 0.6}])["mean_iou"]
    assert (found.mean, found.sd, found.n_used) == (
        pytest.approx(0.4),
        pytest.approx(np.std([2, 4, 6], ddof=1) / 10),
        3,
    )
    assert np.isnan(over_seeds([{"fb_iou": 1.0}])["fb_iou"].sd)
    for rows in ([], [{"mean_iou": 0.2}, {"fb_iou": 0.2}]):
        with pytest.raises(UsageError, match="rows of seeds"):
            over_seeds(rows)
