"""Names resolve to the structure they mean, and never to the wrong side."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfs.anatomy import find_organ, known_organs
from medfs.errors import UsageError

SPELLINGS = [
    (spelling, organ)
    for organ in known_organs()
    for spelling in (organ.name, organ.title, *organ.synonyms)
    if spelling.replace("_", " ").split()
]


@pytest.mark.parametrize(("spelling", "organ"), SPELLINGS, ids=[spelling for spelling, _ in SPELLINGS])
def test_every_spelling_in_the_table_finds_its_structure(spelling, organ) -> None:
    assert find_organ(spelling) is organ


@given(
    case=st.sampled_from(SPELLINGS),
    letters=st.sampled_from([str.lower, str.upper, str.title]),
    separator=st.sampled_from([" ", "_", "-", ".", " / ", ", "]),
    random=st.randoms(use_true_random=False),
)
def test_case_separators_and_word_order_do_not_matter(case, letters, separator, random) -> None:
    spelling, organ = case
    for mark in "_-/":
        spelling = spelling.replace(mark, " ")
    words = spelling.split()
    random.shuffle(words)
    assert find_organ(letters(separator.join(words))) is organ


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("right kidney", "right_kidney"),
        ("kidney_right", "right_kidney"),
        ("Kidney (R)", "right_kidney"),
        ("Kidney_L", "left_kidney"),
        ("Rt. kidney", "right_kidney"),
        ("RK", "right_kidney"),
        ("KID_l", "left_kidney"),
        ("AG_L", "left_adrenal_gland"),
        ("adrenal_gland_right", "right_adrenal_gland"),
        ("postcava", "inferior_vena_cava"),
        ("IVC", "inferior_vena_cava"),
        ("PS_VEIN", "portal_and_splenic_veins"),
        ("portal_vein_and_splenic_vein", "portal_and_splenic_veins"),
        ("gall bladder", "gallbladder"),
        ("prostate/uterus", "prostate_uterus"),
        ("LV-MYO", "left_ventricle_myocardium"),
        ("LV-BP", "left_ventricle_blood_pool"),
        ("Brainstem", "brainstem"),
        ("SpinalCord", "spinal_cord"),
        ("RightParotid", "right_parotid_gland"),
        ("LeftParotid", "left_parotid_gland"),
        ("BGD", "background"),
    ],
)
def test_names_used_by_datasets_and_tools_are_known(spelling: str, name: str) -> None:
    assert find_organ(spelling).name == name


@pytest.mark.parametrize(
    ("spelling", "names"),
    [
        ("kidney", ("right_kidney", "left_kidney")),
        ("Adrenal gland", ("right_adrenal_gland", "left_adrenal_gland")),
        ("parotid", ("right_parotid_gland", "left_parotid_gland")),
        ("hippocampus", ("anterior_hippocampus", "posterior_hippocampus")),
    ],
)
def test_a_name_without_its_side_or_part_is_refused_with_both(spelling: str, names: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        find_organ(spelling)
    message = str(caught.value)
    assert "ambiguous" in message
    assert repr(spelling) in message
    assert all(name in message for name in names)


@pytest.mark.parametrize("spelling", ["left right kidney", "Kidney R L", "kidney (r/l)"])
def test_a_name_with_both_sides_is_refused(spelling: str) -> None:
    with pytest.raises(UsageError, match="right_kidney, left_kidney"):
        find_organ(spelling)


@pytest.mark.parametrize(
    ("spelling", "nearest"),
    [
        ("liber", "liver"),
        ("splean", "spleen"),
        ("kidny", "right_kidney, left_kidney"),
        ("rightkidney", "right_kidney"),
        ("vena cava", "inferior_vena_cava"),
        ("oesofagus", "esophagus"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(spelling: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"unknown structure '{spelling}'; nearest known: {nearest}"):
        find_organ(spelling)


@pytest.mark.parametrize("spelling", ["", "  ", "()", "xqzw", "肝"])
def test_a_name_near_nothing_is_refused_with_all_known_ones(spelling: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_organ(spelling)
    assert all(organ.name in str(caught.value) for organ in known_organs())


@given(st.text(max_size=30))
def test_no_text_breaks_the_look_up_and_a_refusal_is_one_line(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert find_organ(text) in known_organs()
        return
    with pytest.raises(UsageError, match=r"\A[^\n]+\Z"):
        find_organ(text)
