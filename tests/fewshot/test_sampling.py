"""Which episodes can be drawn, how often, and what an exclusion leaves."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from marked_cases import KIDNEY, LIVER, LIVER_SLICES, MODES, SLICES, SPLEEN, SPLEEN_SLICES
from scipy import stats

import medfs.fewshot.modes
from medfs.errors import UsageError
from medfs.fewshot import EpisodeSampler, Exclusion
from medfs.fewshot.modes import AcrossPatients, AdjacentSlabs, AdjacentSlices, EpisodeMode, TwoCrops, TwoViews

NOTHING = Exclusion()
every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


@pytest.fixture
def sampler(marked_cases):
    def make(mode, *, exclusion=NOTHING, seed=0, count=6):
        return EpisodeSampler(marked_cases(mode, count), mode, exclusion=exclusion, seed=seed)

    return make


def views(sampler, count=400):
    draws = [sampler.draw(0, index) for index in range(count)]
    return [(view, draw.object_id) for draw in draws for view in (*draw.supports, draw.query)]


def seen_slices(sampler):
    return {z for view, _ in views(sampler) for z in range(view.start, view.stop)}


def test_every_mode_of_the_package_is_tested():
    exported = [getattr(medfs.fewshot.modes, name) for name in dir(medfs.fewshot.modes)]
    modes = {item for item in exported if isinstance(item, type) and issubclass(item, EpisodeMode)}
    assert {type(mode) for mode in MODES.values()} == modes - {EpisodeMode}


@every_mode
def test_a_draw_depends_on_seed_epoch_and_index_alone(sampler, mode):
    first, again, other = sampler(mode), sampler(mode), sampler(mode, seed=1)
    forwards = [first.draw(epoch, index) for epoch in range(3) for index in range(40)]
    backwards = [again.draw(epoch, index) for epoch in reversed(range(3)) for index in reversed(range(40))][::-1]
    assert forwards == backwards
    assert forwards[:40] != forwards[40:80]
    assert forwards != [other.draw(epoch, index) for epoch in range(3) for index in range(40)]


@every_mode
def test_every_view_shows_the_object_and_one_of_them_enough_of_it(sampler, mode):
    one = sampler(mode)
    for index in range(200):
        draw = one.draw(0, index)
        largest = []
        for view in (*draw.supports, draw.query):
            assert 0 <= view.start < view.stop <= SLICES
            areas = one.cases[view.case].index.areas_of(draw.object_id)[view.start : view.stop]
            assert areas.any()
            largest.append(areas.max())
        assert max(largest) >= 6


@every_mode
def test_under_any_no_slice_with_an_excluded_organ_is_drawn(sampler, mode):
    one = sampler(mode, exclusion=Exclusion((LIVER, SPLEEN)))
    seen = seen_slices(one)
    assert seen
    assert not seen & {*LIVER_SLICES, *SPLEEN_SLICES}


@every_mode
def test_under_all_only_slices_with_every_excluded_organ_go_as_published(sampler, mode):
    seen = seen_slices(sampler(mode, exclusion=Exclusion((LIVER, SPLEEN), "all")))
    both = {*LIVER_SLICES} & {*SPLEEN_SLICES}
    assert both
    assert not seen & both
    leaked = {*LIVER_SLICES, *SPLEEN_SLICES} - both
    depth = mode.depth or 1 if isinstance(mode, AcrossPatients | AdjacentSlabs) else 1
    if depth == 1:
        assert leaked <= seen
    else:
        assert leaked & seen


@pytest.mark.parametrize("policy", ["any", "all"])
def test_an_excluded_organ_is_never_the_class_of_an_episode(sampler, policy):
    for mode in (MODES["across_patients"], MODES["across_patients_slabs"]):
        one = sampler(mode, exclusion=Exclusion((LIVER, SPLEEN), policy))
        assert {object_id for _, object_id in views(one, 100)} == {KIDNEY}


def test_one_excluded_organ_is_the_same_under_both_policies(sampler):
    mode = MODES["slice"]
    first, second = (sampler(mode, exclusion=Exclusion((LIVER,), policy)) for policy in ("any", "all"))
    assert [first.draw(0, index) for index in range(50)] == [second.draw(0, index) for index in range(50)]


def test_without_a_label_map_nothing_can_be_excluded(marked_cases):
    mode = MODES["slice"]
    cases = [replace(case, organs=None) for case in marked_cases(mode)]
    with pytest.raises(UsageError, match="case_0: has no label map"):
        EpisodeSampler(cases, mode, exclusion=Exclusion((LIVER,)))
    assert EpisodeSampler(cases, mode).tables


@pytest.mark.parametrize("mode", [AcrossPatients(min_pixels=6), AcrossPatients(shots=2, min_pixels=6)])
def test_supports_are_of_other_patients_and_of_different_ones(sampler, mode):
    one = sampler(mode)  # three patients with two scans each
    queries = set()
    for index in range(200):
        draw = one.draw(0, index)
        patients = [one.cases[view.case].patient for view in (*draw.supports, draw.query)]
        assert len(set(patients)) == len(patients) == mode.shots + 1
        queries.add(draw.query.case)
    assert queries == set(range(6))


def test_supports_are_taken_as_far_along_the_organ_as_the_query(sampler):
    one = sampler(AcrossPatients(min_pixels=6))
    for index in range(50):
        draw = one.draw(0, index)
        assert draw.supports[0].start == draw.query.start  # the organs lie alike in all marked cases


def test_neighbours_are_adjacent_and_either_is_the_support(sampler):
    for mode, depth in ((AdjacentSlices(6), 1), (AdjacentSlabs(2, 6), 2)):
        one, orders = sampler(mode), Counter()
        for index in range(300):
            (support,), query = one.draw(0, index).supports, one.draw(0, index).query
            assert support.case == query.case
            assert abs(support.start - query.start) == support.stop - support.start == query.stop - query.start == depth
            orders[support.start < query.start] += 1
        assert stats.binomtest(orders[True], 300).pvalue > 1e-4


@st.composite
def areas_and_allowed(draw):
    length = draw(st.integers(1, 9))
    areas = draw(arrays(np.int64, (draw(st.integers(0, 3)), length), elements=st.sampled_from([0, 1, 5, 9])))
    return areas, draw(arrays(bool, length))


@given(areas_and_allowed(), st.integers(1, 3))
@settings(deadline=None, max_examples=200)
def test_windows_are_those_that_trying_all_gives(case, depth):
    areas, allowed = case
    slices = range(areas.shape[1])

    def block(z, stop):
        return z >= 0 and stop <= len(allowed) and allowed[z:stop].all()

    def shows(area, z, stop):
        return area[z:stop].max() >= 5

    def run_end(z):
        return next((k for k in range(z, len(allowed)) if not allowed[k]), len(allowed))

    def crop_stop(z):
        if block(z, z + depth):
            return z + depth
        whole = allowed[z] and (z == 0 or not allowed[z - 1])
        return run_end(z) if whole else 0

    def pair(area, z):
        middle, stop = z + depth, z + 2 * depth
        return block(z, stop) and area[z:middle].any() and area[middle:stop].any() and shows(area, z, stop)

    expected = {
        AdjacentSlabs(depth, 5): lambda area, z: pair(area, z),
        TwoViews(5): lambda area, z: block(z, z + 1) and shows(area, z, z + 1),
        AcrossPatients(1, depth, 5): lambda area, z: block(z, z + depth) and shows(area, z, z + depth),
        TwoCrops(depth, None, 5): lambda area, z: crop_stop(z) and shows(area, z, crop_stop(z)),
    }
    for mode, rule in expected.items():
        eligible, stops = mode.eligible(areas, allowed)
        assert eligible.tolist() == [[bool(rule(area, z)) for z in slices] for area in areas]
        for z in np.flatnonzero(eligible.any(axis=0)):
            assert allowed[z : stops[z]].all()


def test_cases_objects_runs_and_windows_have_equal_chances(sampler):
    one = sampler(MODES["two_view"], count=3)
    draws = [one.draw(0, index) for index in range(6000)]
    found = Counter((draw.query.case, draw.object_id) for draw in draws)
    expected = {(t.case, int(i)): 6000 / len(one.tables) / len(t.ids) for t in one.tables for i in t.ids}
    assert stats.chisquare([found[key] for key in expected], list(expected.values())).pvalue > 1e-4
    table = one.tables[0]
    starts = Counter(d.query.start for d in draws if (d.query.case, d.object_id) == (table.case, table.ids[0]))
    assert set(starts) == set(table.starts(0))
    assert stats.chisquare(list(starts.values())).pvalue > 1e-4


@every_mode
def test_where_no_episode_is_possible_it_is_said_at_once(sampler, mode):
    with pytest.raises(UsageError, match=r"no episode possible: 6 cases with \d+ objects, 5 of 156 slices"):
        sampler(replace(mode, min_pixels=10_000), exclusion=AllButLast((LIVER,)))


class AllButLast(Exclusion):
    def allowed(self, case):
        allowed = np.zeros(SLICES, bool)
        allowed[-1] = case.name != "case_0"
        return allowed


@every_mode
def test_objects_that_are_too_small_give_no_episode(sampler, mode):
    with pytest.raises(UsageError, match=r"156 of 156 slices may be seen; .* is needed and none has it"):
        sampler(replace(mode, min_pixels=10_000))


def test_other_wrong_calls_are_refused(sampler):
    with pytest.raises(UsageError, match="expected any or all"):
        Exclusion((1,), "both")
    with pytest.raises(UsageError, match="above 0"):
        Exclusion((0, 1))
    with pytest.raises(UsageError, match="seed -1"):
        sampler(MODES["slice"], seed=-1)
    for make in (lambda: AdjacentSlabs(0), lambda: TwoViews(0), lambda: AcrossPatients(0), lambda: TwoCrops(3, (0, 4))):
        with pytest.raises(UsageError, match="whole numbers above 0"):
            make()
