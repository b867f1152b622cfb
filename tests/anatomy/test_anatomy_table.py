"""The table itself: complete, coded, coloured, and with texts fit for a text encoder."""

import csv
import itertools
import math
import re
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import medfs
from medfs.anatomy import COLOR_TABLE_COLUMNS, Organ, find_organ, known_organs, label_set, label_set_names

ORGANS = {organ.name: organ for organ in known_organs()}
PAIRED = [organ for organ in known_organs() if organ.type_modifier and organ.type_modifier.meaning in ("Right", "Left")]

# As the datasets publish them, in their own words.
PUBLISHED = {
    "amos": "background spleen right_kidney left_kidney gallbladder esophagus liver stomach aorta inferior_vena_cava "
    "pancreas right_adrenal_gland left_adrenal_gland duodenum bladder prostate_uterus",
    "synapse": "background spleen right_kidney left_kidney gallbladder esophagus liver stomach aorta "
    "inferior_vena_cava portal_and_splenic_veins pancreas right_adrenal_gland left_adrenal_gland",
    "chaos": "background liver right_kidney left_kidney spleen",
    "cmr": "background left_ventricle_myocardium left_ventricle_blood_pool right_ventricle",
    "hippocampus": "background anterior_hippocampus posterior_hippocampus",
    "head_neck": "background brainstem spinal_cord right_parotid_gland left_parotid_gland esophagus larynx mandible",
}

# SNOMED CT as 3D Slicer and TotalSegmentator publish it.
PUBLISHED_TYPES = {
    "liver": "10200004",
    "spleen": "78961009",
    "right_kidney": "64033007",
    "left_kidney": "64033007",
    "pancreas": "15776009",
    "stomach": "69695003",
    "gallbladder": "28231008",
    "esophagus": "32849002",
    "aorta": "15825003",
    "right_adrenal_gland": "23451007",
    "left_adrenal_gland": "23451007",
    "duodenum": "38848004",
    "bladder": "89837001",
    "left_ventricle_blood_pool": "87878005",
    "right_ventricle": "53085002",
    "inferior_vena_cava": "64131007",
    "portal_and_splenic_veins": "110765007",
    "left_ventricle_myocardium": "74281007",
    "spinal_cord": "2748008",
}


def _rows() -> list[dict[str, str]]:
    with (files("medfs.anatomy") / "organs.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_set_has_the_structures_of_its_dataset_in_order(name: str) -> None:
    assert label_set(name).names == tuple(PUBLISHED[name].split())


def test_there_is_no_other_set() -> None:
    assert label_set_names() == tuple(PUBLISHED)


def test_the_first_columns_are_those_of_slicer() -> None:
    rows = _rows()
    assert tuple(rows[0])[: len(COLOR_TABLE_COLUMNS)] == COLOR_TABLE_COLUMNS
    assert tuple(rows[0])[len(COLOR_TABLE_COLUMNS) :] == ("Title", "Synonyms", "LabelSets", "Shape", "Location")
    assert [row["LabelValue"] for row in rows] == [str(number) for number in range(len(rows))]


def test_no_cell_is_ragged_or_holds_what_slicer_cannot_read() -> None:
    for row in _rows():
        assert None not in row
        assert all(value is not None and '"' not in value and "\n" not in value for value in row.values())
        assert all(value == value.strip() for value in row.values())


@pytest.mark.parametrize("organ", known_organs(), ids=lambda organ: organ.name)
def test_every_code_is_numeric_and_named(organ: Organ) -> None:
    for code in filter(None, (organ.category, organ.type, organ.type_modifier, organ.region)):
        assert code.scheme in ("SCT", "DCM")
        assert re.fullmatch(r"\d{5,18}", code.value)
        assert code.meaning
    assert (organ.type.scheme == "DCM") == (organ.name == "background")


@pytest.mark.parametrize(("name", "value"), PUBLISHED_TYPES.items())
def test_a_type_is_the_published_one(name: str, value: str) -> None:
    assert ORGANS[name].type.value == value


def test_a_snomed_code_keeps_one_meaning() -> None:
    codes = {
        code for organ in known_organs() for code in (organ.category, organ.type, organ.type_modifier, organ.region)
    }
    values = [code.value for code in codes if code is not None]
    assert len(values) == len(set(values))


def test_the_check_digit_of_every_snomed_code_is_right() -> None:
    for organ in known_organs():
        for code in filter(None, (organ.category, organ.type, organ.type_modifier, organ.region)):
            assert code.scheme != "SCT" or _verhoeff_is_zero(code.value), code
    assert not _verhoeff_is_zero("10200014")  # the liver's 10200004 with one wrong digit


def _verhoeff_is_zero(digits: str) -> bool:
    """SNOMED CT identifiers end in a Verhoeff check digit: multiply in the dihedral group of order ten."""

    def multiply(a: int, b: int) -> int:
        turned = (a + b if a < 5 else a - b) % 5
        return turned if (a < 5) == (b < 5) else turned + 5

    permutation, checksum = list(range(10)), 0
    for digit in reversed(digits):
        checksum = multiply(checksum, permutation[int(digit)])
        permutation = [(1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[value] for value in permutation]
    return checksum == 0


def test_the_sides_of_a_pair_share_a_type_and_differ_in_the_modifier() -> None:
    assert len(PAIRED) == 6
    for organ in PAIRED:
        assert organ.type_modifier is not None
        side = organ.type_modifier.meaning.lower()
        other = "left" if side == "right" else "right"
        partner = ORGANS[organ.name.replace(side, other)]
        assert organ.name.startswith(f"{side}_")
        assert partner.type == organ.type
        assert partner.type_modifier != organ.type_modifier
        assert organ.type_modifier.value == {"right": "24028007", "left": "7771000"}[side]


@pytest.mark.parametrize("name", PUBLISHED)
def test_colours_of_a_set_can_be_told_apart(name: str) -> None:
    organs = label_set(name).organs
    assert all(0 <= channel <= 255 for organ in organs for channel in organ.color)
    for one, other in itertools.combinations(organs, 2):
        assert math.dist(one.color, other.color) >= 20, (one.name, other.name)


@pytest.mark.parametrize("organ", known_organs(), ids=lambda organ: organ.name)
def test_both_texts_are_sentences_short_enough_for_a_text_encoder(organ: Organ) -> None:
    for text in (organ.shape, organ.location):
        assert 80 <= len(text) <= 300
        assert text[0].isupper()
        assert text.endswith(".")
        assert text.isascii()
        assert 2 <= len(re.findall(r"[.](?:\s|$)", text)) <= 3


def test_no_two_texts_are_equal() -> None:
    texts = [text for organ in known_organs() for text in (organ.shape, organ.location)]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("organ", PAIRED, ids=lambda organ: organ.name)
def test_a_paired_organ_lies_on_its_own_side(organ: Organ) -> None:
    assert organ.type_modifier is not None
    assert organ.location.startswith(f"On the patient's {organ.type_modifier.meaning.lower()}")


@pytest.mark.parametrize(
    ("name", "side"), [("spleen", "left"), ("stomach", "left"), ("liver", "right"), ("gallbladder", "right")]
)
def test_a_single_organ_lies_on_its_anatomical_side(name: str, side: str) -> None:
    first = re.search(r"patient's (left|right)", ORGANS[name].location)
    assert first is not None
    assert first.group(1) == side


def test_only_the_background_stays_without_anatomy() -> None:
    anatomical = {organ.name for organ in known_organs() if organ.category.value == "123037004"}
    assert set(ORGANS) - anatomical == {"background"}


@pytest.mark.subprocess
def test_the_package_imports_and_reads_its_table_from_a_zip_archive(tmp_path: Path) -> None:
    package = Path(medfs.__file__).parent
    archive = tmp_path / "medfs.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for path in (package / "__init__.py", package / "errors.py", *(package / "anatomy").glob("*.*")):
            bundle.write(path, path.relative_to(package.parent))
    code = (
        "import sys, medfs.anatomy as anatomy; "
        "assert anatomy.__file__.startswith(sys.argv[1]), anatomy.__file__; "
        "assert len(anatomy.label_set('amos')) == 16; "
        "assert not {'torch', 'numpy', 'monai', 'nibabel'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", code, str(archive)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr


def test_the_head_and_neck_order_is_that_of_the_data(real_data: Path) -> None:
    readme = (real_data / "openkbp_hn_ct" / "README.md").read_text(encoding="utf-8")
    pairs = re.findall(r"\b([1-7]) ([A-Z]\w+)", readme.split("0 background;")[1].split(".")[0])
    assert len(pairs) == 7
    for value, name in pairs:
        assert label_set("head_neck").organs[int(value)] is find_organ(name)


def test_sides_and_ends_of_the_table_are_those_of_real_labels(real_data: Path) -> None:
    head = _centres(next((real_data / "openkbp_hn_ct" / "labels").glob("*.nii.gz")))
    names = label_set("head_neck").names
    assert head[names.index("right_parotid_gland")][0] > head[names.index("left_parotid_gland")][0]
    assert head[names.index("mandible")][1] > head[names.index("spinal_cord")][1]
    brain = _centres(next((real_data / "msd_hippocampus" / "labels").glob("*.nii.gz")))
    names = label_set("hippocampus").names
    assert brain[names.index("anterior_hippocampus")][1] > brain[names.index("posterior_hippocampus")][1]


def _centres(path: Path) -> dict[int, np.ndarray]:
    """Centre of every label in RAS millimetres."""
    image = nib.load(path)
    labels = np.asarray(image.dataobj).round().astype(int)
    return {
        int(value): nib.affines.apply_affine(image.affine, np.argwhere(labels == value).mean(axis=0))
        for value in np.unique(labels)
    }
