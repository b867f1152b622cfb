"""The protocol: who trains, who is tested with whom, and what is scored."""

from dataclasses import replace
from math import isnan

import numpy as np
import pytest
import torch
from marked_cases import KIDNEY, LIVER, SPLEEN
from test_segmentor import SmallEncoder

from medfs.errors import InputError, UsageError
from medfs.fewshot import CopySegmenter, Exclusion, FewShotProtocol, FewShotSegmentor, NetworkSegmenter, head_classes
from medfs.fewshot.heads import DMAPHead
from medfs.fewshot.modes import AcrossPatients
from medfs.fewshot.protocol import FewShotScore, protocol_rows, published_means, summarise_rule
from medfs.fewshot.rules import EP1, EP2, NOT_SOUGHT, Guide, WithoutOracle
from medfs.io.folds import PublishedFolds
from medfs.metrics import score_case

ORGANS = {LIVER: "liver", SPLEEN: "spleen", KIDNEY: "right_kidney"}
FOLDS = PublishedFolds.consecutive(tuple(f"case_{n}" for n in range(6)), 2)
PROTOCOL = FewShotProtocol(FOLDS, ORGANS)


@pytest.fixture(scope="module")
def cases(marked_cases):
    """Six cases, two of each patient, with their organs as objects."""
    return marked_cases(AcrossPatients())


def network(**options):
    torch.manual_seed(0)
    segmentor = FewShotSegmentor(SmallEncoder(), DMAPHead((6, 8), channels=5))
    return NetworkSegmenter(segmentor, **options)


def test_training_sees_no_patient_of_the_fold(cases):
    # Fold 0 holds cases 0, 1 and 2; case 3 is of the patient of case 2.
    assert [case.name for case in PROTOCOL.training(cases, 0)] == ["case_4", "case_5"]
    assert [case.name for case in PROTOCOL.training(cases, 2)] == ["case_2", "case_3"]


def test_a_query_has_no_support_of_its_own_patient(cases):
    every = replace(PROTOCOL, support="all")
    pairs = [(s.name, q.name) for s, q in every.tests(cases, 0)]
    assert sorted(pairs) == [("case_0", "case_2"), ("case_1", "case_2"), ("case_2", "case_0"), ("case_2", "case_1")]


def test_a_fold_of_one_patient_cannot_be_tested(cases):
    alone = [replace(case, patient="one") for case in cases]
    with pytest.raises(UsageError, match="every query is of the patient of its support"):
        PROTOCOL.tests(alone, 0)
    with pytest.raises(UsageError, match="nobody is left for training"):
        PROTOCOL.training(alone, 0)


def test_a_missing_case_is_named(cases):
    with pytest.raises(UsageError, match="fold 0: case_1 missing"):
        PROTOCOL.tests([case for case in cases if case.name != "case_1"], 0)


@pytest.mark.parametrize(
    "changes",
    [{"organs": {}}, {"exclusion": Exclusion((LIVER,))}, {"support": 9}, {"support": "first"}],
    ids=["no organ", "other organs excluded", "no such rank", "no such choice"],
)
def test_protocols_without_sense_are_refused(changes):
    with pytest.raises(UsageError, match=r"expected|Setting 2"):
        replace(PROTOCOL, **changes)


def test_a_support_that_only_a_shorter_fold_lacks_is_refused_before_training():
    shorter = PublishedFolds.consecutive(tuple("abcde"), 2)  # the last fold has one query
    assert replace(PROTOCOL, folds=shorter, support=1)
    with pytest.raises(UsageError, match="fold 2: support 2; expected last, all, drawn, or 0 to 1"):
        replace(PROTOCOL, folds=shorter, support=2)


def test_setting_2_tests_what_training_does_not_see():
    tested = replace(PROTOCOL, organs={LIVER: "liver"}, exclusion=Exclusion((LIVER,)))
    assert tested.exclusion.organs == (LIVER,)


def test_every_rule_scores_every_organ_of_every_query(cases):
    rows = PROTOCOL.evaluate(CopySegmenter(), cases, 0)
    expected = {
        (rule, case, organ)
        for rule in ("EP1", "EP2", "no oracle")
        for case in ("case_0", "case_1")
        for organ in ORGANS.values()
    }
    assert {(row.rule, row.score.case, row.score.organ) for row in rows} == expected
    assert len(rows) == len(expected)
    assert {(row.support, row.fold, row.seed) for row in rows} == {("case_2", 0, 0)}


def test_copying_is_perfect_where_all_scans_have_their_organs_in_one_place(cases):
    for row in PROTOCOL.evaluate(CopySegmenter(), cases, 1):
        assert row.score.dice == row.score.iou == 1
        assert isnan(row.score.hd95_mm) if row.rule == "EP1" else row.score.hd95_mm == 0


def test_a_copy_takes_the_twin_and_nothing_elsewhere():
    mask = np.arange(12).reshape(3, 2, 2) % 3 == 0
    guide = Guide(np.zeros(4, np.int64), np.array([2, NOT_SOUGHT, 0, 0]))
    copied = CopySegmenter().segment((4, 2, 2), np.zeros((3, 2, 2), np.float32), mask, guide)
    np.testing.assert_array_equal(copied, np.stack([mask[2], np.zeros((2, 2), bool), mask[0], mask[0]]))


def test_ep1_counts_nothing_outside_the_slices_of_the_organ(cases):
    class Everything(CopySegmenter):
        def segment(self, query, image, mask, guide, organ):
            return np.ones(query, bool)

    rows = {(r.rule, r.score.organ): r.score for r in PROTOCOL.evaluate(Everything(), cases, 0)}
    truth = cases[0].open()[1] == LIVER
    shown = int(truth.any(axis=(1, 2)).sum()) * truth[0].size
    assert rows["EP1", "liver"].dice == pytest.approx(2 * truth.sum() / (truth.sum() + shown))
    assert rows["EP2", "liver"].dice == pytest.approx(2 * truth.sum() / (truth.sum() + truth.size))


def test_distances_are_in_millimetres_of_the_file(cases):
    class OneSliceOff(CopySegmenter):
        def segment(self, query, image, mask, guide, organ):
            return np.roll(mask, 1, axis=0)

    rows = PROTOCOL.evaluate(OneSliceOff(), cases, 0)
    assert {row.score.hd95_mm for row in rows if row.rule == "no oracle"} == {6.0}  # the slices are 6 mm apart


def changed_outside(case, folder, change):
    """The case with another label map of the same name elsewhere."""
    labels = case.open()[1].copy()
    change(labels)
    np.save(folder / f"{case.name}.npy", labels)
    return replace(case, objects_file=folder / f"{case.name}.npy")


def test_without_an_oracle_the_truth_of_the_query_changes_no_prediction(cases, tmp_path):
    class Noting(CopySegmenter):
        def __init__(self):
            self.found = []

        def segment(self, query, image, mask, guide, organ):
            self.found.append((guide.shown.copy(), super().segment(query, image, mask, guide, organ)))
            return self.found[-1][1]

    def swapped(labels):
        labels[:] = np.roll(labels, 5, axis=0)

    plain, other = Noting(), Noting()
    blind = replace(PROTOCOL, rules=(EP2(), WithoutOracle()))
    blind.evaluate(plain, cases, 0)
    queries = {"case_0", "case_1"}
    blind.evaluate(other, [changed_outside(c, tmp_path, swapped) if c.name in queries else c for c in cases], 0)
    for first, second in zip(plain.found, other.found, strict=True):
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])


def test_an_organ_that_the_support_lacks_has_no_row_and_one_that_the_query_lacks_none_under_ep1(cases, tmp_path):
    def without_liver(labels):
        labels[labels == LIVER] = 0

    for name, rules in (("case_2", set()), ("case_0", {"EP2", "no oracle"})):
        changed = [changed_outside(c, tmp_path, without_liver) if c.name == name else c for c in cases]
        rows = PROTOCOL.evaluate(CopySegmenter(), changed, 0)
        assert {r.rule for r in rows if (r.score.organ, r.score.case) == ("liver", "case_0")} == rules


def test_scans_turned_differently_are_refused(cases):
    turned = replace(cases[1], affine=np.diag([1.0, 1.5, -6.0, 1.0]))
    with pytest.raises(InputError, match="case_1: axes point to RAI, those of case_2 to RAS"):
        PROTOCOL.evaluate(CopySegmenter(), [cases[0], turned, *cases[2:]], 0)


def test_the_network_sees_annotated_slices_alone(cases):
    image, labels = cases[0].open()
    mask = labels == LIVER
    guide = EP1().guide(mask, len(mask), mask.any(axis=(1, 2)))
    hidden = mask.copy()
    hidden[[z for z in range(len(mask)) if z not in guide.shown]] = False
    segmenter = network()
    query = segmenter.prepare(cases[1].open()[0])
    found = [segmenter.segment(query, image, each, guide) for each in (mask, hidden)]
    np.testing.assert_array_equal(*found)
    assert found[0].shape == mask.shape
    assert not found[0][guide.shown == NOT_SOUGHT].any()


def test_the_network_decides_slice_by_slice_as_one_episode_does(cases):
    image, labels = cases[0].open()
    other = cases[1].open()[0]
    segmenter, mask = network(), labels == SPLEEN
    guide = EP2().guide(mask, len(other), None)
    found = segmenter.segment(segmenter.prepare(other), image, mask, guide)
    place = int(guide.shown[0])
    supported = segmenter.segmentor.for_supports(
        torch.from_numpy(image[place].copy())[None, None, None], torch.from_numpy(mask[place].copy())[None, None]
    )
    with torch.no_grad():
        for z in (0, 11, 25):
            logits = supported(torch.from_numpy(other[z].copy())[None, None])
            np.testing.assert_array_equal(found[z], (logits[0, 1] > logits[0, 0]).numpy())


@pytest.mark.parametrize("name", head_classes())
def test_every_head_can_be_evaluated(cases, name):
    torch.manual_seed(0)
    segmentor = FewShotSegmentor(SmallEncoder(), head_classes()[name]((6, 8)))
    rows = PROTOCOL.evaluate(NetworkSegmenter(segmentor, size=16), cases, 0)
    assert len(rows) == 18
    assert segmentor.training is False


def test_encoders_of_volumes_are_refused():
    segmentor = FewShotSegmentor(SmallEncoder(), DMAPHead((6, 8), channels=5))
    segmentor.encoder.spatial_dims = 3
    with pytest.raises(UsageError, match="the encoder takes volumes"):
        NetworkSegmenter(segmentor)


def score(case, dice_of_four):
    """A row whose prediction shares ``dice_of_four`` of four voxels."""
    truth, found = np.zeros((4, 4, 2), bool), np.zeros((4, 4, 2), bool)
    truth[0, :, 0] = True
    found[0, :dice_of_four, 0], found[1, dice_of_four:, 0] = True, True
    return score_case(found, truth, (1, 1, 1), {1: "liver"}, case=case)[0]


def test_published_means_average_folds_of_unequal_size_alike():
    found = [(0, "a", 4), (0, "b", 2), (0, "c", 3), (1, "d", 1)]
    rows = [FewShotScore("EP2", fold, 0, "s", score(case, dice)) for fold, case, dice in found]
    assert published_means(rows, "EP2") == {"liver": pytest.approx((0.75 + 0.25) / 2)}
    summary = summarise_rule(rows, "EP2").organs[0].metrics["dice"]
    assert (summary.mean, summary.n_used) == (pytest.approx(2.5 / 4), 4)
    assert summary.sd == pytest.approx(np.std([1, 0.5, 0.75, 0.25], ddof=1))


def test_one_query_with_several_supports_counts_as_often():
    rows = [FewShotScore("EP2", 0, 0, support, score("a", n)) for support, n in (("s", 4), ("t", 2))]
    assert summarise_rule(rows, "EP2").organs[0].metrics["dice"].n_used == 2
    assert [row["support"] for row in protocol_rows(rows)] == ["s", "t"]
    assert protocol_rows(rows)[1]["dice"] == pytest.approx(0.5)
