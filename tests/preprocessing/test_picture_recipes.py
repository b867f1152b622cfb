"""Recipes for 2D sets: real cells, and synthetic trees of the shapes that the downloads have."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from medfs.io import find_cases, read_image, read_labels
from preprocessing import chest_xray, isic, pascal_voc, wbc
from preprocessing.command import main
from preprocessing.pictures import COLOURS

RNG = np.random.default_rng(0)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def photo(rows=6, columns=9):
    return RNG.integers(0, 256, (rows, columns, 3), dtype=np.uint8)


def run(module, source, output):
    code = main(module.RECIPE, [str(source), str(output)])
    return code, json.loads((output / "manifest.json").read_text())


def stored(output, folder, case):
    return read_image(output / folder / f"{case}.nii.gz").array[..., 0].T


def labels_of(output, case):
    return read_labels(output / "labels" / f"{case}.nii.gz").array[..., 0].T


def test_cells_as_the_authors_release_them_keep_every_value(real_data, tmp_path):
    """The tree of the repository (bmp, masks of 0, 128 and 255), written back from its PNG copies."""
    names = [f"{number:03d}" for number in range(1, 100, 16)]
    truth = {}
    for name in names:
        picture = np.asarray(Image.open(real_data / "wbc_2d" / "images" / f"{name}.png"))
        truth[name] = picture, np.asarray(Image.open(real_data / "wbc_2d" / "labels" / f"{name}.png"))
        save(tmp_path / "raw" / "Dataset 1" / f"{name}.bmp", picture)
        save(tmp_path / "raw" / "Dataset 1" / f"{name}.png", np.array([0, 128, 255], np.uint8)[truth[name][1]])
    code, manifest = run(wbc, tmp_path / "raw", tmp_path / "out")
    assert (code, len(manifest["cases"])) == (0, 7)
    for name, (picture, ids) in truth.items():
        np.testing.assert_array_equal(labels_of(tmp_path / "out", f"1_{name}"), ids)
        for k, colour in enumerate(COLOURS):
            np.testing.assert_array_equal(stored(tmp_path / "out", colour, f"1_{name}"), picture[..., k])
        grey = np.asarray(Image.fromarray(picture).convert("L")).astype(int)  # Pillow truncates a fixed-point sum
        assert np.abs(stored(tmp_path / "out", "images", f"1_{name}") - grey).max() <= 1


def test_cells_of_ids_are_read_as_they_are(real_data, tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / "raw" / kind).mkdir(parents=True)
        for number in (1, 77):
            shutil.copy(real_data / "wbc_2d" / kind / f"{number:03d}.png", tmp_path / "raw" / kind)
    code, _ = run(wbc, tmp_path / "raw", tmp_path / "out")
    assert code == 0
    expected = np.asarray(Image.open(tmp_path / "raw" / "labels" / "077.png"))
    np.testing.assert_array_equal(labels_of(tmp_path / "out", "077"), expected)
    assert [case.name for case in find_cases(tmp_path / "out")] == ["001", "077"]
    slices = json.loads((tmp_path / "out" / "class_slices.json").read_text())
    assert slices["nucleus"] == {"001": [0], "077": [0]}


def test_a_folder_without_cells_is_refused(tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    assert main(wbc.RECIPE, [str(tmp_path / "raw"), str(tmp_path / "out")]) == 3
    assert "no Dataset 1/NNN.bmp inside" in capsys.readouterr().err


def test_stray_values_count_to_the_nearest_grey(tmp_path):
    mask = np.array([[0, 3, 50, 64], [65, 128, 190, 191], [192, 200, 254, 255]], np.uint8)
    save(tmp_path / "raw" / "Dataset 2" / "034.bmp", photo(3, 4))
    save(tmp_path / "raw" / "Dataset 2" / "034.png", mask)
    assert run(wbc, tmp_path / "raw", tmp_path / "out")[0] == 0
    np.testing.assert_array_equal(labels_of(tmp_path / "out", "2_034"), [[0] * 4, [1] * 4, [2] * 4])


def test_lungs_are_paired_with_and_without_the_mask_suffix(tmp_path):
    mask = np.zeros((5, 4), np.uint8)
    mask[1:3] = [255, 128, 127, 1]
    for name, ending in (("CHNCXR_0001_0", "_mask"), ("MCUCXR_0001_0", "")):
        save(tmp_path / "raw" / "CXR_png" / f"{name}.png", photo(5, 4)[..., 0])
        save(tmp_path / "raw" / "masks" / f"{name}{ending}.png", mask)
    save(tmp_path / "raw" / "CXR_png" / "CHNCXR_0002_0.png", photo(5, 4)[..., 0])
    save(tmp_path / "raw" / "masks" / "CHNCXR_0003_0_mask.png", mask)
    code, manifest = run(chest_xray, tmp_path / "raw", tmp_path / "out")
    assert code == 1
    assert manifest["failed"] == {"CHNCXR_0003_0": "CHNCXR_0003_0: CHNCXR_0003_0_mask.png has no picture"}
    np.testing.assert_array_equal(labels_of(tmp_path / "out", "MCUCXR_0001_0"), mask >= 128)
    assert manifest["cases"]["CHNCXR_0001_0"]["labels"] == {"1": 4}
    assert manifest["cases"]["CHNCXR_0002_0"]["labels"] is None
    assert not (tmp_path / "out" / "red").exists()


@pytest.fixture
def lesions(tmp_path):
    for number in (1, 2, 3):
        save(tmp_path / "raw" / "ISIC2018_Task1-2_Training_Input" / f"ISIC_{number:07d}.jpg", photo(12, 16))
        mask = np.zeros((12, 16), np.uint8)
        mask[2:6, 3:8] = 255
        save(tmp_path / "raw" / "ISIC2018_Task1_Training_GroundTruth" / f"ISIC_{number:07d}_segmentation.png", mask)
    return tmp_path / "raw"


TABLES = {
    "names": "ID,Class\nISIC_0000001,nevus\nISIC_0000002,Seborrheic Keratosis\nISIC_0000003,melanoma\n",
    "one_hot": "image_id,melanoma,seborrheic_keratosis\n"
    "ISIC_0000001,0.0,0.0\nISIC_0000002,0.0,1.0\nISIC_0000003,1.0,0.0\n",
}


@pytest.mark.parametrize("form", TABLES)
def test_lesions_get_the_id_of_their_diagnosis(lesions, tmp_path, form):
    (lesions / "diagnoses.csv").write_text(TABLES[form])
    code, manifest = run(isic, lesions, tmp_path / "out")
    assert code == 0
    assert manifest["classes"] == {"1": "melanoma", "2": "nevus", "3": "seborrheic_keratosis"}
    assert [case["labels"] for case in manifest["cases"].values()] == [{"2": 20}, {"3": 20}, {"1": 20}]
    (lesions / "diagnoses.csv").write_text(TABLES[form].replace("ISIC_0000001,nevus", "ISIC_0000001,melanoma"))
    _, changed = run(isic, lesions, tmp_path / "out")
    assert changed["cases"]["ISIC_0000001"]["labels"] == ({"1": 20} if form == "names" else {"2": 20})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "ID,Class\nISIC_0000001,1\n",
            r"line 2: class '1'; expected melanoma, nevus, seborrheic_keratosis \(names, not",
        ),
        ("ID,Group\nISIC_0000001,nevus\n", "line 2: expected a column Class"),
        ("ID,Class\nISIC_0000002,nevus\n", "ISIC_0000001.jpg is not in"),
        (None, "0 CSV files; expected one with the diagnosis"),
    ],
)
def test_lesions_without_a_clear_diagnosis_are_refused(lesions, tmp_path, capsys, table, message):
    if table is not None:
        (lesions / "table.csv").write_text(table)
    assert main(isic.RECIPE, [str(lesions), str(tmp_path / "out")]) != 0
    assert re.search(message, capsys.readouterr().err)


def test_voc_masks_give_palette_indices_and_keep_what_is_not_annotated(tmp_path):
    ids = np.array([[0, 1, 1], [20, 255, 0]], np.uint8)
    voc = tmp_path / "raw" / "VOCdevkit" / "VOC2012"
    save(voc / "JPEGImages" / "2007_000032.jpg", photo(2, 3))
    mask = Image.fromarray(ids)
    mask.putpalette(RNG.integers(0, 256, 768).tolist())
    (voc / "SegmentationClass").mkdir()
    mask.save(voc / "SegmentationClass" / "2007_000032.png")
    save(voc / "SegmentationClass" / "2007_000033.png", ids)
    code, manifest = run(pascal_voc, tmp_path / "raw", tmp_path / "out")
    assert code == 1
    assert manifest["failed"]["2007_000033"].endswith("JPEGImages/2007_000033.jpg is missing")
    assert manifest["ignored"] == 255
    assert (len(manifest["classes"]), manifest["classes"]["15"]) == (20, "person")
    np.testing.assert_array_equal(labels_of(tmp_path / "out", "2007_000032"), ids)
    save(voc / "SegmentationClassAug" / "2007_000032.png", ids * 0 + 7)
    _, manifest = run(pascal_voc, tmp_path / "raw", tmp_path / "out2")
    assert manifest["cases"]["2007_000032"]["labels"] == {"7": 6}


def test_a_mask_of_another_size_or_with_colours_is_refused(tmp_path):
    for number, mask in ((1, np.zeros((5, 5), np.uint8)), (2, photo(4, 4)), (3, np.full((4, 4), 21, np.uint8))):
        save(tmp_path / "raw" / "JPEGImages" / f"{number}.jpg", photo(4, 4))
        save(tmp_path / "raw" / "SegmentationClass" / f"{number}.png", mask)
    code, manifest = run(pascal_voc, tmp_path / "raw", tmp_path / "out")
    assert code == 3
    assert "1.png: (5, 5) pixels, its picture has (4, 4)" in manifest["failed"]["1"]
    assert "2.png: colours or 16 bits" in manifest["failed"]["2"]
    assert "label value 21 among 16 unknown voxels" in manifest["failed"]["3"]
