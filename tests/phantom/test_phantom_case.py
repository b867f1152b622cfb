"""The synthetic torso: a patient that depends on the seed alone, with organs where they belong."""

from functools import cache

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medfs.anatomy import find_organ, label_set
from medfs.errors import UsageError
from medfs.phantom import PhantomCase, phantom_case
from medfs.phantom.tissues import ORGANS, Tissue

SEEDS = range(10)
VOLUMES_ML = {  # smallest and largest at 6 mm, where an adrenal gland has some 30 voxels
    "spleen": (40, 600),
    "right_kidney": (70, 420),
    "left_kidney": (70, 420),
    "gallbladder": (10, 130),
    "esophagus": (5, 70),
    "liver": (900, 2800),
    "stomach": (150, 900),
    "aorta": (40, 220),
    "inferior_vena_cava": (40, 250),
    "pancreas": (30, 190),
    "right_adrenal_gland": (2, 17),
    "left_adrenal_gland": (2, 17),
    "duodenum": (45, 220),
    "bladder": (50, 800),
    "prostate_uterus": (20, 270),
}


@cache
def case_of(seed: int, modality: str = "ct") -> PhantomCase:
    return phantom_case(seed, modality=modality)


def centroid_mm(case: PhantomCase, organ: Tissue) -> np.ndarray:
    return nib.affines.apply_affine(case.affine, ndimage.center_of_mass(case.labels == organ))


def millilitres(case: PhantomCase, organ: Tissue) -> float:
    return float((case.labels == organ).sum()) * float(np.prod(nib.affines.voxel_sizes(case.affine))) / 1000


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_the_same_seed_gives_the_same_voxels(modality):
    first, second = case_of(4, modality), phantom_case(4, modality=modality)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.affine, second.affine)


def test_another_seed_gives_another_patient():
    assert len({case_of(seed).image.tobytes() for seed in SEEDS}) == len(SEEDS)
    assert len({case_of(seed).labels.shape for seed in SEEDS}) > 5


def test_the_organs_carry_the_label_values_of_amos():
    names = tuple(find_organ(organ.name.lower()).name for organ in ORGANS)
    assert ("background", *names) == label_set("amos").names


@pytest.mark.parametrize("seed", SEEDS)
def test_every_organ_is_there_in_one_piece_and_of_plausible_size(seed):
    case = case_of(seed)
    assert case.labels.dtype == np.uint8
    assert case.labels.shape == case.image.shape
    assert set(np.unique(case.labels)) == set(range(16))
    for organ in ORGANS:
        name = label_set("amos").names[organ]
        smallest, largest = VOLUMES_ML[name]
        assert ndimage.label(case.labels == organ, np.ones((3, 3, 3)))[1] == 1, name
        assert (case.labels == organ).sum() >= 10, name
        assert smallest < millilitres(case, organ) < largest, name


def test_the_middle_patient_has_organs_of_adult_size():
    median = {organ: np.median([millilitres(case_of(seed), organ) for seed in SEEDS]) for organ in ORGANS}
    assert 1300 < median[Tissue.LIVER] < 2000
    assert 150 < median[Tissue.SPLEEN] < 320
    assert 140 < median[Tissue.RIGHT_KIDNEY] < 230
    assert 140 < median[Tissue.LEFT_KIDNEY] < 230
    assert 20 < median[Tissue.GALLBLADDER] < 70
    assert 60 < median[Tissue.PANCREAS] < 120
    assert 4 < median[Tissue.RIGHT_ADRENAL] < 12


@pytest.mark.parametrize("seed", SEEDS)
def test_the_organs_lie_on_their_side_of_the_patient(seed):
    case = case_of(seed)
    at = {organ: centroid_mm(case, organ) for organ in ORGANS}
    right, front, up = 0, 1, 2
    assert at[Tissue.LIVER][right] > 30 > 0 > -30 > at[Tissue.SPLEEN][right]
    assert at[Tissue.RIGHT_KIDNEY][right] > at[Tissue.POSTCAVA][right] > at[Tissue.AORTA][right]
    assert at[Tissue.AORTA][right] > at[Tissue.LEFT_KIDNEY][right]
    assert at[Tissue.RIGHT_ADRENAL][right] > at[Tissue.LEFT_ADRENAL][right]
    assert at[Tissue.GALLBLADDER][right] > at[Tissue.STOMACH][right]
    assert at[Tissue.DUODENUM][right] > at[Tissue.PANCREAS][right] > at[Tissue.SPLEEN][right]
    for kidney, adrenal in (
        (Tissue.RIGHT_KIDNEY, Tissue.RIGHT_ADRENAL),
        (Tissue.LEFT_KIDNEY, Tissue.LEFT_ADRENAL),
    ):
        assert at[adrenal][up] > at[kidney][up] > at[Tissue.BLADDER][up] + 100
        assert at[kidney][front] < at[Tissue.PANCREAS][front]
    assert at[Tissue.LIVER][up] > at[Tissue.RIGHT_KIDNEY][up]
    assert at[Tissue.ESOPHAGUS][up] > at[Tissue.STOMACH][up] > at[Tissue.PROSTATE_UTERUS][up]


def test_the_spine_lies_behind_the_aorta_in_world_coordinates():
    case = phantom_case(1, oblique=False)
    dense = nib.affines.apply_affine(case.affine, np.argwhere(case.image > 150))
    level = np.abs(dense[:, 2] - centroid_mm(case, Tissue.AORTA)[2]) < 30
    midline = np.abs(dense[:, 0] - centroid_mm(case, Tissue.AORTA)[0]) < 25
    unlabelled = case.labels[case.image > 150] == 0
    assert np.median(dense[level & midline & unlabelled, 1]) < centroid_mm(case, Tissue.AORTA)[1] - 10


@pytest.mark.parametrize("spacing_mm", [6.0, (5.0, 4.0, 9.0)])
@pytest.mark.parametrize("oblique", [False, True])
def test_the_affine_is_a_rotation_with_the_asked_spacing(spacing_mm, oblique):
    affine = phantom_case(2, spacing_mm=spacing_mm, oblique=oblique).affine
    np.testing.assert_allclose(nib.affines.voxel_sizes(affine), np.broadcast_to(spacing_mm, 3))
    directions = affine[:3, :3] / nib.affines.voxel_sizes(affine)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    assert np.linalg.det(directions) == pytest.approx(1)
    assert nib.aff2axcodes(affine) == ("R", "A", "S")
    assert (nib.affines.obliquity(affine).max() > 0.01) == oblique
    assert affine.dtype == np.float64


@pytest.mark.parametrize("axis_codes", ["LPS", "PIR", "lsa"])
def test_other_axes_store_the_same_patient(axis_codes):
    straight = phantom_case(3)
    turned = phantom_case(3, axis_codes=axis_codes)
    assert nib.aff2axcodes(turned.affine) == tuple(axis_codes.upper())
    again = nib.as_closest_canonical(nib.Nifti1Image(turned.labels, turned.affine))
    np.testing.assert_allclose(again.affine, straight.affine, atol=1e-9)
    # points on a surface may fall to either side of it by rounding
    assert (np.asarray(again.dataobj) == straight.labels).mean() > 0.9999


def test_a_finer_grid_shows_the_same_patient():
    coarse, fine = phantom_case(5, spacing_mm=6.0), phantom_case(5, spacing_mm=4.0)
    for organ in (Tissue.LIVER, Tissue.SPLEEN, Tissue.BLADDER, Tissue.LEFT_KIDNEY, Tissue.PANCREAS):
        assert millilitres(fine, organ) == pytest.approx(millilitres(coarse, organ), rel=0.08)
        np.testing.assert_allclose(centroid_mm(fine, organ), centroid_mm(coarse, organ), atol=2.0)


def test_ct_is_in_hounsfield_units():
    case = case_of(6)
    assert case.image.dtype == np.int16
    median = {organ: np.median(case.image[case.labels == organ]) for organ in ORGANS}
    assert 70 < median[Tissue.LIVER] < 140
    assert median[Tissue.BLADDER] < 30 < median[Tissue.PANCREAS] < median[Tissue.RIGHT_KIDNEY] < 230
    assert np.median(case.image[:2, :2]) < -950
    core = ndimage.binary_erosion(case.labels == Tissue.LIVER, iterations=2)
    assert 8 < case.image[core].std() < 20


def test_mr_shows_the_same_anatomy_in_another_contrast():
    ct, mr = case_of(6), case_of(6, "mr")
    np.testing.assert_array_equal(ct.labels, mr.labels)
    np.testing.assert_array_equal(ct.affine, mr.affine)
    assert mr.image.dtype == np.float32
    assert mr.image.min() >= 0
    assert mr.image[mr.labels == Tissue.BLADDER].mean() > 2 * mr.image[mr.labels == Tissue.LIVER].mean()
    assert ct.image[ct.labels == Tissue.BLADDER].mean() < ct.image[ct.labels == Tissue.LIVER].mean()
    assert mr.image[mr.labels == Tissue.AORTA].mean() < mr.image[mr.labels == Tissue.SPLEEN].mean()


def test_contrast_and_shading_of_mr_differ_between_patients():
    ratios = [
        case.image[case.labels == Tissue.SPLEEN].mean() / case.image[case.labels == Tissue.LIVER].mean()
        for case in (case_of(seed, "mr") for seed in range(4))
    ]
    assert np.ptp(ratios) > 0.3


def test_the_place_alone_does_not_tell_the_organ():
    cases = [centred(case_of(seed).labels, (64, 48, 72)) for seed in range(12)]
    votes = np.stack([np.sum([labels == value for labels in cases[:3]], axis=0) for value in range(16)])
    guess = np.where(votes.max(axis=0) >= 2, votes.argmax(axis=0), 0)
    dice = [
        2 * ((guess == organ) & (labels == organ)).sum() / ((guess == organ).sum() + (labels == organ).sum())
        for labels in cases[3:]
        for organ in ORGANS
    ]
    assert 0.05 < np.mean(dice) < 0.35


def centred(labels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Cut or fill with background around the centre of the volume."""
    padded = np.pad(
        labels,
        [(max(0, size - n) // 2, (max(0, size - n) + 1) // 2) for n, size in zip(labels.shape, shape, strict=True)],
    )
    start = [(n - size) // 2 for n, size in zip(padded.shape, shape, strict=True)]
    return padded[tuple(slice(first, first + size) for first, size in zip(start, shape, strict=True))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed -1"),
        ({"seed": 0.5}, "seed 0.5"),
        ({"seed": 0, "modality": "pet"}, "modality 'pet'; expected one of ct, mr"),
        ({"seed": 0, "spacing_mm": 0.0}, "above 0"),
        ({"seed": 0, "spacing_mm": float("nan")}, "above 0"),
        ({"seed": 0, "spacing_mm": (6.0, 6.0)}, "one or three numbers"),
        ({"seed": 0, "spacing_mm": 0.1}, "2\\*\\*27"),
        ({"seed": 0, "axis_codes": "RRS"}, "axis codes 'RRS'"),
        ({"seed": 0, "axis_codes": "RA"}, "axis codes 'RA'"),
        ({"seed": 0, "axis_codes": "XYZ"}, "axis codes 'XYZ'"),
    ],
)
def test_what_cannot_be_used_is_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        phantom_case(**arguments)
