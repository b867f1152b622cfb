"""Which support slice stands for a query slice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfs.errors import UsageError
from medfs.fewshot.positions import BodyRange, annotated_slices


def mask(first, stop, slices):
    shown = np.zeros((slices, 2, 2), bool)
    shown[first:stop, 0, 1] = True
    return shown


@given(st.integers(1, 60))
def test_annotated_slices_are_those_of_the_published_evaluation(count):
    # Cutting C slices at linspace(0, C, 4) and taking the middles is the same from three slices on.
    chosen = annotated_slices(mask(7, 7 + count, 80))
    assert chosen == [7 + int((2 * part + 1) / 6 * count + 1e-9) for part in range(3)]


def test_an_organ_of_two_runs_is_represented_by_slices_that_show_it():
    shown = mask(2, 4, 20) | mask(10, 14, 20)
    assert annotated_slices(shown) == [3, 11, 13]
    assert annotated_slices(np.zeros((5, 2, 2), bool)) == []


def test_the_range_is_the_mean_over_supports_that_show_the_organ():
    found = BodyRange.of_masks([mask(2, 6, 10), mask(0, 0, 10), mask(8, 16, 20)])
    assert (found.start, found.stop) == pytest.approx((0.3, 0.7))
    with pytest.raises(UsageError, match="no support shows the organ"):
        BodyRange.of_masks([mask(0, 0, 10)])


@given(st.integers(1, 200), st.floats(0, 1))
def test_parts_rise_along_the_body_and_end_beyond_the_margin(slices, margin):
    body = BodyRange(0.25, 0.75, margin)
    parts = [body.part(index, slices) for index in range(slices)]
    looked_for = [index for index, part in enumerate(parts) if part is not None]
    places = (np.arange(slices) + 0.5) / slices
    expected = (places >= 0.25 - margin / 2 - 1e-9) & (places <= 0.75 + margin / 2 + 1e-9)
    sure = (abs(places - 0.25 + margin / 2) > 1e-6) & (abs(places - 0.75 - margin / 2) > 1e-6)
    np.testing.assert_array_equal(np.isin(np.arange(slices), looked_for)[sure], expected[sure])
    assert [parts[index] for index in looked_for] == sorted(parts[index] for index in looked_for)


def test_the_support_itself_is_shown_its_own_annotated_slices():
    shown = mask(5, 17, 30)
    body = BodyRange.of_masks([shown])
    assert [body.part(index, 30) for index in annotated_slices(shown)] == [0, 1, 2]
