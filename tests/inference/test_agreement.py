"""How far supports agree: against what each of them gives in a run of its own."""

import numpy as np
import pytest
from few_shot_boxes import LABELS, scan, segmentor
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medfs.errors import UsageError
from medfs.inference.agreement import agreement_percent, mean_agreement
from medfs.inference.fewshot import FewShotSegmenter

SIZE = {"size": 64}


def swapped(support):
    """The same scan by someone who took one organ for the other."""
    support.labels.array[:] = np.array([0, 2, 1], np.uint8)[support.labels.array]
    return support


@given(arrays(np.int64, (4, 3, 3, 2), elements=st.integers(0, 2)), st.lists(st.booleans(), min_size=3, max_size=3))
def test_the_share_is_counted_among_those_who_have_a_say(labels, first_organ):
    final, *alone = labels
    shows = {1: [True, *first_organ[1:]], 2: [True, True, True]}
    percent = agreement_percent(final, alone, shows)
    for place in np.ndindex(final.shape):
        voters = [index for index in range(3) if final[place] == 0 or shows[int(final[place])][index]]
        share = sum(alone[index][place] == final[place] for index in voters) / len(voters)
        assert percent[place] == round(100 * share)


def test_the_mean_of_an_organ_is_that_of_its_voxels():
    labels, percent = np.array([0, 1, 1, 3]), np.array([7, 100, 50, 30], np.uint8)
    assert mean_agreement(labels, percent) == {1: 75.0, 3: 30.0}
    assert mean_agreement(np.zeros(3, int), np.full(3, 100, np.uint8)) == {}


@pytest.mark.parametrize("calibrate", [False, True])
def test_equal_supports_agree_everywhere(calibrate):
    segmenter = FewShotSegmenter(segmentor(), [scan(), scan()], LABELS, alone=True, calibrate=calibrate, **SIZE)
    labels, percent = segmenter.with_agreement(scan("RPI", (2, 2, 5), shift_mm=10).image)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert percent.dtype == np.uint8
    assert (percent == 100).all()


def test_a_support_that_contradicts_lowers_the_agreement_where_it_does():
    supports = [scan(), scan(), swapped(scan())]
    query = scan("PSR", (4, 3, 4))
    labels, percent = FewShotSegmenter(segmentor(), supports, LABELS, alone=True, **SIZE).with_agreement(query.image)
    usual = FewShotSegmenter(segmentor(), [scan()], LABELS, **SIZE)(query.image)
    other = FewShotSegmenter(segmentor(), [swapped(scan())], LABELS, **SIZE)(query.image)
    assert (usual != other).any()
    expected = 100 * (2 * (labels == usual) + (labels == other)) / 3
    np.testing.assert_array_equal(percent, np.rint(expected))
    found = (usual == 1) & (labels == 1)
    assert found.any()
    assert (percent[found] == 67).all()


def test_a_support_without_the_organ_has_no_say_in_it():
    supports = [scan(organs=(2,)), scan()]
    labels, percent = FewShotSegmenter(segmentor(), supports, LABELS, alone=True, **SIZE).with_agreement(scan().image)
    alone = FewShotSegmenter(segmentor(), [scan()], LABELS, **SIZE)(scan().image)
    np.testing.assert_array_equal(percent[labels == 1], 100 * (alone[labels == 1] == 1))
    assert (labels == 1).any()


def speck():
    """A support whose only organ, the spleen, is one small voxel that the working grid has no place for."""
    fine = _in_a_body(scan(spacing_mm=(2.0, 2.0, 4.0), organs=()))
    fine.labels.array[75, 40, 41] = 2
    return fine


def _in_a_body(labelled):
    labelled.image.array[3:-3, 9:-3] = np.maximum(labelled.image.array[3:-3, 9:-3], 30)
    return labelled


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_nor_has_one_whose_organ_the_working_grid_loses():
    supports = [_in_a_body(scan()), speck()]
    segmenter = FewShotSegmenter(segmentor(), supports, LABELS, alone=True, **SIZE)
    labels, percent = segmenter.with_agreement(supports[0].image)
    assert segmenter.shows == {1: [True, False], 2: [True, False]}
    assert segmenter.body
    assert (labels == 2).any()
    assert (percent[labels == 2] == 100).all()


def test_labels_are_those_of_a_run_without_agreement():
    supports, query = [scan(), scan(spacing_mm=(5.0, 5.0, 10.0)), swapped(scan())], scan(shift_mm=5).image
    labels, _ = FewShotSegmenter(segmentor(), supports, LABELS, alone=True, **SIZE).with_agreement(query)
    np.testing.assert_array_equal(labels, FewShotSegmenter(segmentor(), supports, LABELS, **SIZE)(query))


def test_one_support_cannot_agree():
    with pytest.raises(UsageError, match="no support was asked alone; expected two or more"):
        FewShotSegmenter(segmentor(), [scan()], LABELS, alone=True, **SIZE).with_agreement(scan().image)
