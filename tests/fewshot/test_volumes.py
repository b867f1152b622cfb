"""Whole volumes: supports once, queries whole or by window, within bounded memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from marked_cases import KIDNEY, LIVER, SPLEEN
from torch import nn

from medfs.errors import UsageError
from medfs.fewshot import FewShotProtocol, FewShotSegmentor, VolumeMatcher, VolumeSegmenter, head_classes
from medfs.fewshot.heads import ADNetHead, DMAPHead, QNetHead
from medfs.fewshot.modes import AcrossPatients
from medfs.fewshot.rules import EP1, WholeSupport, WholeSupportInRange
from medfs.fewshot.volume_segmenter import best_level
from medfs.fewshot.volume_windows import surroundings, window_size
from medfs.io.folds import PublishedFolds
from medfs.networks import ResNetEncoder
from medfs.types import Episode

ORGANS = {LIVER: "liver", SPLEEN: "spleen", KIDNEY: "right_kidney"}
FOLDS = PublishedFolds.consecutive(tuple(f"case_{n}" for n in range(6)), 2)
PROTOCOL = FewShotProtocol(FOLDS, ORGANS, rules=(WholeSupport(), WholeSupportInRange()))
SIZE = (8, 24, 10)


class PlainEncoder(nn.Module):
    """Two stages at full and half resolution that see 3 and 5 voxels along each axis."""

    spatial_dims = 3
    out_channels = (6, 8)

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv3d(1, 6, 3, padding=1), nn.Conv3d(6, 8, 3, 2, padding=1)
        self.seen = []

    def forward(self, image):
        self.seen.append(image.shape[2:].numel())
        fine = self.fine(image)
        return fine, self.coarse(fine)


def network(head=None):
    torch.manual_seed(0)
    return FewShotSegmentor(PlainEncoder(), head or DMAPHead((6, 8), channels=5)).eval()


@pytest.fixture(scope="module")
def cases(marked_cases):
    """Six cases, two of each patient, with their organs as objects."""
    return marked_cases(AcrossPatients())


def volumes(shots=1, seed=0):
    random = torch.Generator().manual_seed(seed)
    images = [torch.randn(1, *SIZE, generator=random) for _ in range(shots + 1)]
    masks = [torch.rand(SIZE, generator=random) > 0.8 for _ in range(shots)]
    return images[:-1], masks, images[-1]


@pytest.mark.parametrize("name", head_classes())
@pytest.mark.parametrize("shots", [1, 2])
def test_a_volume_that_fits_is_one_episode(name, shots):
    segmentor = network(head_classes()[name]((6, 8)))
    images, masks, query = volumes(shots)
    matcher = VolumeMatcher(segmentor)
    found = matcher.foreground(query, list(matcher.supports(images, {4: masks}).values()))
    episode = Episode(torch.stack(images)[None], torch.stack(masks)[None], query[None])
    with torch.no_grad():
        stages = segmentor.encode(episode)
        with segmentor.head.adapt(*stages, episode.support_mask):
            expected = segmentor.match(*stages, episode.support_mask).probability[0, 1:]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


def test_organs_are_found_each_by_itself():
    (image,), (mask,), query = volumes()
    matcher = VolumeMatcher(network())
    together = matcher.supports([image], {1: [mask], 2: [~mask]})
    both = matcher.foreground(query, list(together.values()))
    alone = matcher.foreground(query, [matcher.supports([image], {2: [~mask]})[2]])
    torch.testing.assert_close(both[1:], alone)


def test_windows_agree_with_the_whole_away_from_borders():
    (image,), (mask,), query = volumes()
    head = ADNetHead((6, 8), channels=5)  # its threshold does not depend on what a window shows
    whole, parts = (VolumeMatcher(network(head), most_voxels=most) for most in (2**22, SIZE[0] * 12 * SIZE[2]))
    supports = list(whole.supports([image], {1: [mask]}).values())
    assert parts.window(SIZE) == (8, 12, 10)
    expected, found = (matcher.foreground(query, supports) for matcher in (whole, parts))
    difference = (found - expected).abs()
    # Windows begin at rows 0, 6 and 12. Where one ends it lacks what lies beyond, but weighs least.
    assert difference.mean() < 0.05 < 0.1 < (expected - 0.5).abs().mean()
    borders, inside = [5, 6, 17, 18], [0, 1, 22, 23]
    assert difference[:, :, inside].mean() < difference[:, :, borders].mean() / 2


@pytest.mark.parametrize("most", [300, 1000, SIZE[0] * SIZE[1] * SIZE[2]])
def test_the_network_never_sees_more_voxels_than_allowed(most):
    (image,), _, query = volumes()
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[3:7, 5:9, 6:10] = True
    matcher = VolumeMatcher(network(), most_voxels=most)
    found = matcher.foreground(query, list(matcher.supports([image], {1: [mask]}).values()))
    assert max(matcher.segmentor.encoder.seen) <= most
    assert found.shape == (1, *SIZE)
    assert found.isfinite().all()


def test_supports_of_different_sizes_are_shots_of_one_organ():
    (first, second), masks, query = volumes(2)
    smaller = second[:, :6, :, :9]
    matcher = VolumeMatcher(network())
    organs = matcher.supports([first, smaller], {1: [masks[0], masks[1][:6, :, :9]]})
    assert organs[1].mask.shape == (1, 2, *SIZE)
    assert not organs[1].mask[0, 1, 6:].any()
    assert matcher.foreground(query, list(organs.values())).shape == (1, *SIZE)


def test_only_heads_that_tune_to_the_query_extract_anew():
    images, masks, _ = volumes()
    for head, once in ((DMAPHead((6, 8), channels=5), True), (QNetHead((6, 8), channels=5), False)):
        organ = VolumeMatcher(network(head)).supports(images, {1: masks})[1]
        assert (organ.prototypes is not None) == once


@given(st.tuples(*[st.integers(1, 60)] * 3), st.integers(1, 5000))
def test_windows_fit(size, most):
    window = window_size(size, most)
    assert np.prod(window) <= most
    assert all(0 < part <= length for part, length in zip(window, size, strict=True))
    assert window == size or np.prod(window) * 4 > most


def labelled(data):
    """A mask of any size with up to three voxels."""
    mask = np.zeros(data.draw(st.tuples(*[st.integers(1, 20)] * 3)), bool)
    for place in data.draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in mask.shape)), min_size=1, max_size=3)):
        mask[place] = True
    return mask


@given(st.data(), st.integers(1, 3))
def test_what_surrounds_the_labels_holds_them_and_as_much_more_as_fits(data, count):
    masks = [labelled(data) for _ in range(count)]
    extents = [np.ptp(np.argwhere(mask), axis=0) + 1 for mask in masks]
    together = int(np.max([mask.shape for mask in masks], axis=0).prod())
    most = data.draw(st.integers(int(np.max(extents, axis=0).prod()), together + 5))
    parts = [mask[part] for mask, part in zip(masks, surroundings(masks, most), strict=True)]
    assert [part.sum() for part in parts] == [mask.sum() for mask in masks]
    assert np.max([part.shape for part in parts], axis=0).prod() <= most
    if most >= together:
        assert [part.shape for part in parts] == [mask.shape for mask in masks]


def test_labels_that_do_not_fit_are_said_to():
    mask = np.zeros((10, 10, 10), bool)
    with pytest.raises(UsageError, match="scan_3: nothing is labelled"):
        surroundings([mask], 100, ["scan_3"])
    mask[0, 0, 0] = mask[9, 9, 4] = True
    with pytest.raises(UsageError, match="support 1: labels reach over 10 x 10 x 5 voxels, but 100 fit"):
        surroundings([mask], 100)
    with pytest.raises(UsageError, match="a, b: labels reach over 10 x 10 x 10 voxels, but 500 fit"):
        surroundings([mask, mask.transpose(2, 1, 0)], 500, ["a", "b"])


def test_supports_of_different_shapes_go_through_the_network_as_one_size_that_fits():
    sizes, most = [(4, 16, 16), (16, 8, 8)], 1024
    masks = [torch.zeros(size, dtype=torch.bool) for size in sizes]
    for mask in masks:
        mask[1:3, 2:5, 3:6] = True
    matcher = VolumeMatcher(network(), most_voxels=most)
    organ = matcher.supports([torch.randn(1, *size) for size in sizes], {1: masks})[1]
    assert organ.mask.sum(dim=(2, 3, 4)).tolist() == [[18, 18]]
    assert most / 4 < max(matcher.segmentor.encoder.seen) <= most


def test_networks_for_slices_and_odd_numbers_are_refused():
    segmentor = network()
    with pytest.raises(UsageError, match="overlap 1"):
        VolumeMatcher(segmentor, overlap=1)
    segmentor.encoder.spatial_dims = 2
    with pytest.raises(UsageError, match="the encoder takes slices"):
        VolumeSegmenter(segmentor)


def test_every_organ_of_every_query_has_a_row_under_both_rules(cases):
    rows = PROTOCOL.evaluate(VolumeSegmenter(network()), cases, 0)
    expected = {
        (rule, case, organ)
        for rule in ("volume", "volume, z-range known")
        for case in ("case_0", "case_1")
        for organ in ORGANS.values()
    }
    assert {(row.rule, row.score.case, row.score.organ) for row in rows} == expected
    assert {(row.support, row.fold, row.seed) for row in rows} == {("case_2", 0, 0)}


@pytest.mark.parametrize("options", [{}, {"size": 16}, {"most_voxels": 5000}])
def test_the_range_of_the_query_cuts_the_same_prediction(cases, options):
    (image, labels), query = cases[0].open(), cases[1].open()[0]
    mask, segmenter = labels == LIVER, VolumeSegmenter(network(), **options)
    sought = np.zeros(len(query), bool)
    sought[3:9] = True
    prepared = segmenter.prepare(query)
    everywhere = segmenter.segment(prepared, image, mask, WholeSupport().guide(mask, len(query), None))
    ranged = segmenter.segment(prepared, image, mask, WholeSupportInRange().guide(mask, len(query), sought))
    assert everywhere.shape == query.shape
    np.testing.assert_array_equal(ranged, everywhere & sought[:, None, None])


def test_the_truth_of_the_query_changes_no_prediction(cases, tmp_path):
    class Noting(VolumeSegmenter):
        found: list

        def segment(self, *arguments):
            self.found.append(super().segment(*arguments))
            return self.found[-1]

    def other(case):
        np.save(tmp_path / f"{case.name}.npy", np.roll(case.open()[1], 4, axis=0))
        return replace(case, objects_file=tmp_path / f"{case.name}.npy")

    blind = replace(PROTOCOL, rules=(WholeSupport(),))
    seen = []
    for given_cases in (cases, [other(c) if c.name in ("case_0", "case_1") else c for c in cases]):
        segmenter = Noting(network())
        segmenter.found = []
        blind.evaluate(segmenter, given_cases, 0)
        seen.append(segmenter.found)
    for first, second in zip(*seen, strict=True):
        np.testing.assert_array_equal(first, second)


def test_rules_of_single_slices_are_refused(cases):
    with pytest.raises(UsageError, match="expected a rule that annotates all of it"):
        replace(PROTOCOL, rules=(EP1(),)).evaluate(VolumeSegmenter(network()), cases, 0)


def test_a_real_encoder_with_positions_sees_them_in_windows(cases):
    torch.manual_seed(0)
    encoder = ResNetEncoder(18, spatial_dims=3, width=4, spacing_mm=(6, 1.5, 1), stem=(2, 1), positions=True)
    matcher = VolumeMatcher(FewShotSegmentor(encoder, ADNetHead(encoder.out_channels, 8, pool="feature")))
    image = torch.zeros(1, *SIZE)
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[2:6, 4:12, 2:8] = True
    organs = list(matcher.supports([image], {1: [mask]}).values())
    matcher.most_voxels = 8 * 12 * 10
    seen = []
    encoder.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0][0, 1:, 0, 0, 0].tolist()))
    matcher.foreground(image, organs)
    assert [round(place[1], 3) for place in seen] == [round(1 / 24 - 1 + start / 12, 3) for start in (0, 6, 12)]


@given(st.integers(0, 2**32), st.integers(2, 60))
def test_the_level_of_the_support_is_as_good_as_any(seed, count):
    random = np.random.default_rng(seed)
    probability, mask = random.random(count).round(2), random.random(count) < 0.3
    mask[0] = True

    def dice(found):
        return 2 * (found & mask).sum() / (found.sum() + mask.sum())

    tried = np.quantile(probability[mask], np.linspace(0, 0.9, 91), method="lower")
    best = max(dice(probability >= level) for level in tried)
    assert dice(probability > best_level(probability, mask)) == pytest.approx(best)


def test_a_level_is_given_or_set_on_the_support_alone(cases):
    (image, labels), query = cases[0].open(), cases[1].open()[0]
    mask = labels == SPLEEN
    guide = WholeSupport().guide(mask, len(query), None)
    found = []
    for level in (0.2, None, 0.8):
        segmenter = VolumeSegmenter(network(), level=level)
        segmenter.segment(segmenter.prepare(query[:, ::-1]), image, mask, guide)  # another query leaves no trace
        found.append(segmenter.segment(segmenter.prepare(query), image, mask, guide))
    assert not (found[2] & ~found[0]).any()
    matcher = VolumeMatcher(network())
    organs = matcher.supports([torch.from_numpy(image.copy())[None]], {1: [torch.from_numpy(mask)]})
    own = matcher.foreground(torch.from_numpy(image.copy())[None], list(organs.values()))[0].numpy()
    of_query = matcher.foreground(torch.from_numpy(query.copy())[None], list(organs.values()))[0].numpy()
    np.testing.assert_array_equal(found[1], of_query > best_level(own, mask))
    with pytest.raises(UsageError, match="level 1; expected a probability"):
        VolumeSegmenter(network(), level=1)
