"""Scans segmented from labelled ones: geometry, choice of organs, decisions."""

import numpy as np
import pytest
import torch
from few_shot_boxes import BRIGHTNESS, LABELS, BrightnessHead, RawEncoder, scan, segmentor

from medfs.anatomy import custom_label_set
from medfs.errors import InputError, UsageError
from medfs.fewshot import FewShotSegmentor
from medfs.inference.fewshot import FewShotSegmenter, leave_one_out, untrained_segmentor
from medfs.inference.memory import few_shot_bytes, largest_bytes
from medfs.inference.working_grid import LabelledScan, WorkingGrid
from medfs.io import Volume, write_image, write_labels
from medfs.types import Prediction


def dice(found, truth, value):
    return 2 * ((found == value) & (truth == value)).sum() / ((found == value).sum() + (truth == value).sum())


@pytest.mark.parametrize(
    ("codes", "spacing_mm"), [("LAS", (4, 4, 8)), ("RPI", (2, 2, 5)), ("PSR", (4, 3, 4)), ("SAL", (5, 5, 10))]
)
def test_organs_are_found_where_they_are_in_any_orientation_and_spacing(codes, spacing_mm):
    segmenter = FewShotSegmenter(segmentor(), [scan()], LABELS, size=64)
    query = scan(codes, spacing_mm, shift_mm=10)
    found = segmenter(query.image)
    assert found.shape == query.image.array.shape
    assert found.dtype == np.uint8
    for value in (1, 2):
        assert dice(found, query.labels.array, value) > 0.85


def test_the_first_support_sets_the_scale():
    grid = WorkingGrid(scan("PSR", (4.0, 4.0, 8.0)).image, size=100)
    assert grid.spacing_mm == pytest.approx((8.0, 2.0, 2.0))
    assert grid.image(scan(spacing_mm=(4.0, 4.0, 4.0)).image).shape == (30, 1, 80, 100)
    assert grid.image(scan(spacing_mm=(4.0, 4.0, 12.0)).image).shape == (20, 1, 80, 100)


def test_rows_run_to_anterior_and_columns_to_the_left_as_published():
    slices = WorkingGrid(scan().image, size=50).labels(scan("PSR").labels)[:, 0].numpy()
    published = scan("LAS").labels.array.transpose(2, 1, 0)
    np.testing.assert_array_equal(slices, published)


@pytest.mark.parametrize(
    ("spacing_mm", "axes", "shape"),
    [
        ((4.0, 4.0, 8.0), "LAS", (30, 1, 40, 50)),
        ((4.0, 8.0, 4.0), "LSA", (20, 1, 60, 50)),
        ((8.0, 4.0, 4.0), "ASL", (25, 1, 60, 40)),
    ],
)
def test_the_network_sees_the_slices_of_the_first_support_however_they_are_stored(spacing_mm, axes, shape, tmp_path):
    supports = [scan(codes, spacing_mm) for codes in ("RAS", "PSR", "IRP")]
    segmenters = [FewShotSegmenter(segmentor(), [each], LABELS, size=max(shape)) for each in supports]
    for segmenter, support in zip(segmenters, supports, strict=True):
        assert segmenter.grid.axes == axes
        image = segmenter.grid.image(support.image)
        assert image.shape == shape
        np.testing.assert_allclose(image, segmenters[0].grid.image(supports[0].image), atol=1e-5)
    for query in (scan("SAL", (4.0, 4.0, 8.0), shift_mm=4), scan("RSP", spacing_mm, shift_mm=4)):
        found = segmenters[1](query.image)
        assert min(dice(found, query.labels.array, value) for value in (1, 2)) > 0.7
        write_image(tmp_path / "query.nii.gz", query.image.array, query.image)
        expected = largest_bytes([tmp_path / "query.nii.gz"], spacing_mm, 0)
        assert few_shot_bytes([tmp_path / "query.nii.gz"], segmenters[0]) == pytest.approx(expected, rel=1e-6)


def test_supports_may_differ_in_size_and_in_the_organs_they_show():
    supports = [scan(organs=(1,)), scan(spacing_mm=(5.0, 5.0, 10.0)), scan("RPI", (2.0, 4.0, 6.0), organs=(2,))]
    segmenter = FewShotSegmenter(segmentor(), supports, LABELS, size=64)
    query = scan(shift_mm=5)
    # Standardised together with other organs, the same tissue differs in brightness: only the place is looked at.
    assert segmenter.values == [1, 2]
    assert segmenter(query.image).shape == query.labels.array.shape


def test_an_organ_is_not_looked_for_far_from_where_supports_have_it():
    query = scan()
    query.image.array[:, :, :3] = BRIGHTNESS[2]
    found = FewShotSegmenter(segmentor(), [scan()], LABELS, size=64)(query.image)
    assert not (found[:, :, :3] == 2).any()


def test_only_wanted_organs_are_found():
    found = FewShotSegmenter(segmentor(), [scan()], LABELS, organs=["spleen"], size=64)(scan().image)
    assert set(np.unique(found)) == {0, 2}


def test_a_scan_of_one_slice_is_segmented():
    whole = scan()
    affine = whole.image.affine.copy()
    one = Volume.from_array(np.ascontiguousarray(whole.image.array[:, :, 15:16]), affine)
    found = FewShotSegmenter(segmentor(), [whole], LABELS, size=64)(one)
    assert found.shape == (50, 40, 1)


def test_calibration_puts_a_meaningless_threshold_right():
    class Timid(BrightnessHead):
        def match(self, *arguments):
            return Prediction.of_foreground(super().match(*arguments).probability[:, 1] * 0.01)

    timid = FewShotSegmentor(RawEncoder(), Timid()).eval()
    query = scan(shift_mm=5)
    before = FewShotSegmenter(timid, [scan()], LABELS, size=64)(query.image)
    after = FewShotSegmenter(timid, [scan()], LABELS, size=64, calibrate=True)(query.image)
    assert not before.any()
    assert dice(after, query.labels.array, 1) > 0.85


def test_leaving_one_out_scores_every_support_from_the_others():
    scans = {"a": scan(), "b": scan("RPI", shift_mm=5), "c": scan(spacing_mm=(5.0, 5.0, 10.0))}
    rows = leave_one_out(segmentor(), scans, LABELS, size=64)
    assert {(row.case, row.organ) for row in rows} == {(case, organ) for case in "abc" for organ in ("liver", "spleen")}
    assert min(row.dice for row in rows) > 0.7


@pytest.mark.parametrize("organs", [None, ["liver", "spleen"], ["spleen"]])
def test_left_out_scans_are_scored_for_what_the_others_show(organs):
    fine = scan(spacing_mm=(2.0, 2.0, 4.0), organs=(1,))
    fine.labels.array[75, 40, 41] = 2  # too small for the working grid
    rows = leave_one_out(segmentor(), {"a": scan(), "b": fine}, LABELS, size=32, organs=organs)
    expected = {("a", "liver"), ("b", "liver"), ("b", "spleen")} if organs != ["spleen"] else {("b", "spleen")}
    assert {(row.case, row.organ) for row in rows} == expected
    alone = {"a": scan(organs=(1,)), "b": scan(organs=(2,))}
    assert leave_one_out(segmentor(), alone, LABELS, size=64, organs=organs[:1] if organs else None) == []


def test_one_seed_gives_one_untrained_network():
    first, again, other = untrained_segmentor(), untrained_segmentor("DMAPHead"), untrained_segmentor(seed=1)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    assert not torch.equal(first.encoder.conv1.weight, other.encoder.conv1.weight)
    with pytest.raises(UsageError, match="no head 'panet'; expected one of adnet, "):
        untrained_segmentor("panet")


def test_labels_without_meaning_or_support_are_refused(tmp_path):
    with pytest.raises(UsageError, match="label value 2 has no name"):
        FewShotSegmenter(segmentor(), [scan()], custom_label_set(["liver"]), size=64)
    with pytest.raises(UsageError, match="no support shows spleen; they show liver"):
        FewShotSegmenter(segmentor(), [scan(organs=(1,))], LABELS, organs=["spleen"], size=64)
    with pytest.raises(UsageError, match="expected mr or ct"):
        FewShotSegmenter(segmentor(), [scan()], LABELS, modality="pet")
    empty = scan(organs=())
    write_image(tmp_path / "image.nii.gz", scan().image.array, scan().image)
    write_labels(tmp_path / "labels.nii.gz", empty.labels.array, empty.labels)
    with pytest.raises(InputError, match=r"labels\.nii\.gz: no voxel is labelled"):
        LabelledScan.read(tmp_path / "image.nii.gz", tmp_path / "labels.nii.gz")


def test_a_query_is_encoded_once_for_all_and_a_few_slices_at_a_time():
    class Watched(RawEncoder):
        seen: tuple[int, ...] = ()

        def forward(self, image):
            self.seen = (*self.seen, len(image))
            return (image,)

    encoder = Watched()
    network = FewShotSegmentor(encoder, BrightnessHead()).eval()
    segmenter = FewShotSegmenter(network, [scan(), scan(shift_mm=5)], LABELS, size=64, alone=True)
    encoder.seen = ()
    segmenter.with_agreement(scan(spacing_mm=(4.0, 4.0, 8.0)).image)
    assert max(encoder.seen) <= 8
    assert sum(encoder.seen) <= 30


@pytest.mark.parametrize(("most", "rung"), [(8, ""), (3, "two slices at a time"), (1, "one slice at a time")])
def test_where_memory_runs_out_fewer_slices_give_the_same_labels(monkeypatch, most, rung):
    segmenter, query = FewShotSegmenter(segmentor(), [scan()], LABELS, size=64), scan(shift_mm=10).image
    expected, forward = segmenter(query), RawEncoder.forward

    def limited(self, image):
        if len(image) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, image)

    monkeypatch.setattr(RawEncoder, "forward", limited)
    np.testing.assert_array_equal(segmenter(query), expected)
    assert segmenter.ladder.rung == rung
    assert (expected > 0).any()


def _in_a_body(scan: LabelledScan, lamp: bool = False) -> LabelledScan:
    """The boxes in tissue with air around it, and a lamp as bright as the liver in the air."""
    image = scan.image.array.copy()
    inside = np.zeros(image.shape, bool)
    inside[3:-3, 9:-3] = True
    image[inside & (image == 0)] = 30.0
    if lamp:
        image[10:20, :3, 10:25] = BRIGHTNESS[1]
    return LabelledScan(Volume.from_array(image, scan.image.affine), scan.labels)


@pytest.mark.parametrize(("body", "found_in_air"), [(None, False), (True, False), (False, True)])
def test_air_is_not_searched_where_the_supports_have_a_body_around_their_organs(body, found_in_air):
    support, query = _in_a_body(scan()), _in_a_body(scan(shift_mm=4.0), lamp=True)
    found = FewShotSegmenter(segmentor(), [support], LABELS, size=64, body=body)(query.image)
    assert bool(found[:, :3].any()) is found_in_air
    assert dice(found[:, 3:], query.labels.array[:, 3:], 1) > 0.9


def test_supports_whose_organs_do_not_lie_in_one_body_are_no_reason_to_search_in_one():
    assert FewShotSegmenter(segmentor(), [_in_a_body(scan())], LABELS, size=64).body
    assert not FewShotSegmenter(segmentor(), [scan()], LABELS, size=64).body
