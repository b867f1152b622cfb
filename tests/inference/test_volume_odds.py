"""Scans segmented as whole volumes from labelled ones."""

import numpy as np
import pytest
import torch
from few_shot_boxes import BRIGHTNESS, LABELS, RawEncoder, scan, segmentor

from medfs.errors import InputError, UsageError
from medfs.fewshot import FewShotSegmentor, VolumeMatcher, prepare_case
from medfs.fewshot.heads import DMAPHead, QNetHead
from medfs.inference.fewshot import FewShotSegmenter, leave_one_out
from medfs.inference.slice_odds import WorkingScan
from medfs.inference.volume_odds import VolumeOdds
from medfs.inference.working_grid import WorkingGrid, stored_axes
from medfs.io import Case, Volume, write_image, write_labels
from medfs.networks import ResNetEncoder


def dice(found, labels, value):
    found, truth = found == value, labels.array == value
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


@pytest.mark.parametrize(
    ("codes", "spacing_mm"), [("LAS", (4, 4, 8)), ("RPI", (2, 2, 5)), ("PSR", (4, 3, 4)), ("SAL", (5, 5, 8))]
)
def test_organs_are_found_in_any_orientation_and_spacing(codes, spacing_mm):
    query = scan(codes, spacing_mm, shift_mm=10)
    found = FewShotSegmenter(segmentor(3), [scan()], LABELS)(query.image)
    assert found.shape == query.image.array.shape
    assert min(dice(found, query.labels, value) for value in (1, 2)) > 0.85


def test_an_organ_is_found_far_from_where_the_support_has_it():
    query = scan()
    query.image.array[:8, :8, :3] = BRIGHTNESS[2]
    assert (FewShotSegmenter(segmentor(3), [scan()], LABELS)(query.image)[:6, :6, :2] == 2).all()


def test_supports_agree_where_each_alone_finds_the_same():
    supports = [scan(organs=(1,)), scan(spacing_mm=(5.0, 5.0, 10.0), organs=(1,))]
    segmenter = FewShotSegmenter(segmentor(3), supports, LABELS, alone=True, calibrate=True)
    query = scan(shift_mm=5, organs=(1,))
    labels, agreement = segmenter.with_agreement(query.image)
    np.testing.assert_array_equal(labels, segmenter(query.image))
    assert dice(labels, query.labels, 1) > 0.9
    assert agreement[(labels == 1) & (query.labels.array == 1)].mean() > 90


def test_leaving_one_out_scores_volumes():
    rows = leave_one_out(segmentor(3), {"a": scan(), "b": scan("RPI", shift_mm=5)}, LABELS)
    assert {(row.case, row.organ) for row in rows} == {(case, organ) for case in "ab" for organ in ("liver", "spleen")}
    assert min(row.dice for row in rows) > 0.9


def test_a_network_that_knows_its_spacing_gets_it_and_another_the_voxels_of_the_first_support():
    query, first = scan(spacing_mm=(2.0, 3.0, 12.0)), scan("PSR", (4.0, 3.0, 8.0)).image
    assert WorkingGrid(first).image(query.image).shape == (30, 1, 53, 50)
    assert WorkingGrid(first, spacing_mm=(10, 2, 4)).image(query.image).shape == (24, 1, 80, 50)
    encoder = ResNetEncoder(18, spatial_dims=3, width=4, spacing_mm=(10, 2, 4))
    network = FewShotSegmentor(encoder, DMAPHead(encoder.out_channels, 4))
    assert FewShotSegmenter(network, [scan()], LABELS).grid.spacing_mm == (10, 2, 4)
    assert FewShotSegmenter(network, [scan()], LABELS, size=50).grid.spacing_mm == pytest.approx((8, 4, 4))


def test_volumes_have_the_axes_that_training_gave_the_first_support(tmp_path):
    for codes, spacing_mm in (("RAS", (4.0, 4.0, 8.0)), ("PSR", (16.0, 8.0, 4.0)), ("ILA", (5.0, 5.0, 5.0))):
        first = scan(codes, spacing_mm)
        write_image(tmp_path / f"{codes}.nii.gz", first.image.array, first.image)
        write_labels(tmp_path / f"{codes}_labels.nii.gz", first.labels.array, first.labels)
        case = Case(codes, codes, tmp_path / f"{codes}.nii.gz", tmp_path / f"{codes}_labels.nii.gz")
        trained = prepare_case(case, case.label, tmp_path / "cache").open()[1]
        grid = WorkingGrid(first.image, axes=stored_axes(first.image))
        np.testing.assert_array_equal(grid.labels(first.labels)[:, 0].numpy(), trained)


def slices(seed, size, labelled=(1, 2)):
    """A support of noise with labels at random places."""
    random = np.random.default_rng(seed)
    image = torch.from_numpy(random.standard_normal((size[0], 1, *size[1:]), np.float32))
    return WorkingScan(image, random.choice([0, *labelled], size))


@pytest.mark.parametrize("head_class", [DMAPHead, QNetHead])
def test_a_group_gives_what_its_supports_give_by_themselves(head_class):
    torch.manual_seed(0)
    encoder = ResNetEncoder(18, spatial_dims=3, width=4, stem=(2, 1))
    network = FewShotSegmentor(encoder, head_class(encoder.out_channels, 4)).eval()
    size = (10, 16, 12)
    supports = [slices(0, size), slices(1, size, labelled=(1,)), slices(2, size, labelled=())]
    odds = VolumeOdds(network, supports, (1, 2), [range(3), [0], [1], [2]])
    query = slices(3, (8, 20, 12)).image
    ((block, found),) = odds.blocks(query, range(4))
    assert (block, found.shape) == (range(8), (4, 2, 8, 20, 12))
    assert torch.isneginf(found[2, 1]).all()
    assert torch.isneginf(found[3]).all()
    torch.testing.assert_close(found[:2], next(odds.blocks(query, range(2)))[1])
    torch.testing.assert_close(found[[0, 2]], next(odds.blocks(query, [0, 2]))[1])
    alone = VolumeMatcher(network)
    for place, chosen, value in (((0, 0), [0, 1], 1), ((0, 1), [0], 2), ((1, 0), [0], 1), ((2, 0), [1], 1)):
        images = [supports[index].image.transpose(0, 1) for index in chosen]
        masks = [torch.from_numpy(supports[index].labels == value) for index in chosen]
        organ = alone.supports(images, {value: masks})[value]
        expected = alone.foreground(query.transpose(0, 1), [organ])[0]
        torch.testing.assert_close(found[place].sigmoid(), expected, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_segmented_is_said_in_one_line():
    tiny = scan()
    tiny.labels.array[tiny.labels.array == 2] = 0
    tiny.labels.array[3, 3, 3] = 2
    encoder = RawEncoder(3)
    encoder.spacing_mm = (20, 20, 20)
    network = FewShotSegmentor(encoder, segmentor().head)
    with pytest.raises(UsageError, match="spleen: too small in the supports for the network's voxels of 20 x 20 x 20"):
        FewShotSegmenter(network, [tiny], LABELS)
    huge = Volume.from_array(np.zeros((30, 30, 30), np.float32), np.diag([1000.0, 1000, 1000, 1]), "far.nii.gz")
    with pytest.raises(InputError, match=r"^far.nii.gz: 1500 x 1500 x 1500 voxels of 20 x 20 x 20 mm for the network"):
        WorkingGrid(scan().image, spacing_mm=(20, 20, 20)).image(huge)
    support = slices(0, (6, 6, 6))
    with pytest.raises(UsageError, match="scan_1: labels reach over 6 x 6 x 6 voxels, but 100 fit"):
        VolumeOdds(segmentor(3), [WorkingScan(support.image, support.labels, "scan_1")], [1, 2], [[0]], most_voxels=100)


def test_a_scan_too_small_for_the_network_is_said_to_be():
    torch.manual_seed(0)
    encoder = ResNetEncoder(18, spatial_dims=3, width=2, norm="instance")
    segmenter = FewShotSegmenter(FewShotSegmentor(encoder, DMAPHead(encoder.out_channels, 2)), [scan()], LABELS)
    few, enough = (
        Volume.from_array(np.ones(size, np.float32), np.diag([4.0, 4, 8, 1])) for size in ((3, 2, 1), (9, 2, 1))
    )
    with pytest.raises(InputError, match="a volume of 1 x 2 x 3 voxels is too small for the network"):
        segmenter(few)
    assert segmenter(enough).shape == (9, 2, 1)
