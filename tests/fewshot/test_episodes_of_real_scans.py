"""CHAOS with its published supervoxels: the counts an independent look gives, and no excluded organ."""

import numpy as np
import pytest
import SimpleITK

from medfs.fewshot import EpisodeDataset, EpisodeSampler, Exclusion, find_objects, prepare_case, write_class_slices
from medfs.fewshot.modes import AcrossPatients, AdjacentSlices, TwoCrops
from medfs.io import find_cases
from medfs.io.datasets import read_json
from medfs.transforms.episodes import EpisodeAugmentation

LIVER, SPLEEN = 1, 4
CASES = ("image_1", "image_31", "image_36")


@pytest.fixture(scope="module")
def chaos(real_data, tmp_path_factory):
    folder, cache = real_data / "chaost2_mr", tmp_path_factory.mktemp("cache")
    cases = [case for case in find_cases(folder) if case.name in CASES]
    maps = find_objects(cases, folder / "supervoxels_5000")
    return {
        "supervoxels": [prepare_case(case, maps[case.name], cache) for case in cases],
        "organs": [prepare_case(case, case.label, cache) for case in cases],
        "files": cases,
    }


def stored(real_data, part, number):
    image = SimpleITK.ReadImage(str(real_data / "chaost2_mr" / part / f"{part.removesuffix('s')}_{number}.nii.gz"))
    return SimpleITK.GetArrayFromImage(image)


def test_a_case_is_the_published_array(chaos, real_data):
    image, supervoxels = chaos["supervoxels"][0].open()
    raw = stored(real_data, "images", 1).astype(float)
    np.testing.assert_allclose(image, (raw - raw.mean()) / raw.std(), atol=1e-4)
    path = real_data / "chaost2_mr" / "supervoxels_5000" / "superpix-MIDDLE_1.nii.gz"
    np.testing.assert_array_equal(supervoxels, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))))


def test_the_published_rule_accepts_exactly_these_pairs(chaos):
    sampler = EpisodeSampler(chaos["supervoxels"], AdjacentSlices())
    for table in sampler.tables:
        _, supervoxels = sampler.cases[table.case].open()
        found = {(int(i), int(z)) for place, i in enumerate(table.ids) for z in table.starts(place)}
        expected = set()
        for i in np.unique(supervoxels)[1:]:
            areas = (supervoxels == i).sum(axis=(1, 2))
            for z in range(len(areas) - 1):
                if min(areas[z : z + 2]) > 0 and max(areas[z : z + 2]) >= 200:
                    expected.add((int(i), z))
        assert found == expected


@pytest.mark.parametrize("mode", [AdjacentSlices(), TwoCrops(depth=6), AcrossPatients(depth=2)])
def test_liver_and_spleen_are_never_seen_when_they_are_excluded(chaos, mode):
    cases = chaos["organs" if mode.needs_organs else "supervoxels"]
    sampler = EpisodeSampler(cases, mode, exclusion=Exclusion((LIVER, SPLEEN)))
    labels = [case.open()[1] for case in chaos["organs"]]
    for index in range(100):
        draw = sampler.draw(0, index)
        for view in (*draw.supports, draw.query):
            assert not np.isin(labels[view.case][view.start : view.stop], (LIVER, SPLEEN)).any()


def test_the_published_policy_shows_liver_alone(chaos):
    sampler = EpisodeSampler(chaos["supervoxels"], AdjacentSlices(), exclusion=Exclusion((LIVER, SPLEEN), "all"))
    labels = [case.open()[1] for case in chaos["organs"]]
    shown = [set(np.unique(labels[d.query.case][d.query.start])) for d in (sampler.draw(0, i) for i in range(300))]
    assert any(LIVER in organs for organs in shown)
    assert not any({LIVER, SPLEEN} <= organs for organs in shown)


def test_augmented_episodes_are_finite_and_few_lose_their_object(chaos):
    dataset = EpisodeDataset(EpisodeSampler(chaos["supervoxels"], AdjacentSlices()), EpisodeAugmentation(), length=100)
    kept = 0
    for episode in dataset:
        assert episode.query_image.isfinite().all()
        assert episode.support_image.isfinite().all()
        kept += bool(episode.query_mask.any() and episode.support_mask.any())
    assert kept >= 95


def test_class_slices_are_those_that_show_the_organ(chaos, real_data, tmp_path):
    labels = {case.name.removeprefix("image_"): case.label for case in chaos["files"]}
    write_class_slices(tmp_path / "classmap_100.json", labels, {LIVER: "LIVER", SPLEEN: "SPLEEN"}, min_pixels=100)
    found = read_json(tmp_path / "classmap_100.json")
    for number in labels:
        array = stored(real_data, "labels", number)
        for name, value in (("LIVER", LIVER), ("SPLEEN", SPLEEN)):
            assert found[name][number] == [z for z in range(len(array)) if (array[z] == value).sum() >= 100]
