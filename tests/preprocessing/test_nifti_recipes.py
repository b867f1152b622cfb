"""Recipes whose downloads are NIfTI: trees, label tables and grids, on real-shaped input."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medfs.io import find_cases, read_image, read_labels
from preprocessing import amos, cmr, decathlon, sabs, synapse
from preprocessing.command import main


def write(path, array, spacing=(1.0, 1.0, 1.0), flips=(-1, 1, 1)):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*(f * s for f, s in zip(flips, spacing, strict=True)), 1.0])
    image = nib.Nifti1Image(array, affine)
    image.header.set_sform(affine, 1)
    nib.save(image, path)


def ramp(shape, seed=0):
    return np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)


def blocks(shape, values):
    labels = np.zeros(shape, np.int16)
    for k, value in enumerate(values):
        labels[k :: len(values) + 1, 2:-2] = value
    return labels


def run(module, source, output):
    code = main(module.RECIPE, [str(source), str(output)])
    return code, json.loads((output / "manifest.json").read_text())


@pytest.fixture
def btcv(tmp_path):
    root = tmp_path / "raw" / "RawData" / "Training"
    for number in ("0001", "0040"):
        write(root / "img" / f"img{number}.nii.gz", ramp((512, 512, 3), int(number)), (0.8, 0.8, 3.0))
        write(root / "label" / f"label{number}.nii.gz", blocks((512, 512, 3), range(1, 14)), (0.8, 0.8, 3.0))
    return tmp_path / "raw"


def test_sabs_is_windowed_cropped_and_halved_in_plane(btcv, tmp_path):
    code, manifest = run(sabs, btcv, tmp_path / "out")
    assert code == 0
    assert list(manifest["cases"]) == ["0001", "0040"]
    assert len(manifest["classes"]) == 13
    volume = read_image(tmp_path / "out" / "images" / "0040.nii.gz")
    assert volume.array.shape == (256, 256, 3)
    np.testing.assert_allclose(volume.spacing_mm, (1.4, 1.4, 3.0), rtol=1e-5)
    assert 0 <= volume.array.min() < volume.array.max() <= 255
    # the centre of the field stays where it was: nothing forgets the crop
    raw = nib.load(btcv / "RawData" / "Training" / "img" / "img0040.nii.gz")
    np.testing.assert_allclose(volume.affine @ [127.5, 127.5, 1, 1], raw.affine @ [255.5, 255.5, 1, 1], atol=1e-3)


def test_sabs_of_published_sizes_has_257_pixels_and_a_slice_more_with_the_values_of_itk(btcv, tmp_path):
    assert main(sabs.RECIPE, [str(btcv), str(tmp_path / "out"), "--published-sizes"]) == 0
    made = read_image(tmp_path / "out" / "images" / "0001.nii.gz")
    assert made.array.shape == (257, 257, 4)
    itk = sitk.ReadImage(str(btcv / "RawData" / "Training" / "img" / "img0001.nii.gz"), sitk.sitkFloat64)
    itk = sitk.IntensityWindowing(itk, -125, 275, 0, 255)[32:-32, 32:-32]
    spacing = [1.75 * itk.GetSpacing()[0], 1.75 * itk.GetSpacing()[1], itk.GetSpacing()[2]]
    args = (made.array.shape, sitk.Transform(), sitk.sitkLinear, itk.GetOrigin(), spacing, itk.GetDirection(), 0.0)
    expected = sitk.GetArrayFromImage(sitk.Resample(itk, *args)).T
    np.testing.assert_allclose(made.array[:256, :256, :3], expected[:256, :256, :3], atol=0.01)
    assert not made.array[..., 3].any()
    assert not expected[..., 3].any()


def test_synapse_keeps_hounsfield_units_on_its_own_grid(btcv, tmp_path):
    code, _ = run(synapse, btcv, tmp_path / "out")
    assert code == 0
    volume = read_image(tmp_path / "out" / "images" / "0001.nii.gz")
    np.testing.assert_allclose(volume.spacing_mm, (1.5, 1.5, 2.0), rtol=1e-5)
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    assert volume.array.min() < -500


def test_a_scan_without_its_partner_is_named_and_the_others_are_made(btcv, tmp_path):
    root = btcv / "RawData" / "Training"
    (root / "label" / "label0001.nii.gz").unlink()
    write(root / "label" / "label0003.nii.gz", blocks((4, 5, 3), [1]))
    write(root / "img" / "img0004.nii.gz", ramp((8, 8, 3)))
    write(root / "label" / "label0004.nii.gz", blocks((8, 8, 3), [99]))
    write(root / "img" / "img0005.nii.gz", ramp((8, 8, 3)))
    write(root / "label" / "label0005.nii.gz", blocks((8, 8, 3), [1]), (2.0, 1.0, 1.0))
    code, manifest = run(synapse, btcv, tmp_path / "out")
    assert code == 1
    assert list(manifest["cases"]) == ["0040"]
    errors = manifest["failed"]
    assert errors["0001"] == "0001: img0001.nii.gz has no label map"
    assert errors["0003"] == "0003: label0003.nii.gz has no image"
    assert "label value 99 among" in errors["0004"]
    assert "the affines lie 7 mm apart" in errors["0005"]


def test_cmr_codes_become_ids_by_a_table(tmp_path):
    for number, codes in ((1, [200, 500, 600]), (2, [600])):
        write(tmp_path / "raw" / "c0" / f"patient{number}_C0.nii.gz", ramp((40, 44, 6)) + 1000, (1.25, 1.25, 8.0))
        write(
            tmp_path / "raw" / "gt" / f"patient{number}_C0_manual.nii.gz", blocks((40, 44, 6), codes), (1.25, 1.25, 8)
        )
    write(tmp_path / "raw" / "c0" / "patient40_C0.nii.gz", ramp((40, 44, 6)) + 1000, (1.25, 1.25, 8.0))
    code, manifest = run(cmr, tmp_path / "raw", tmp_path / "out")
    assert code == 0
    assert set(manifest["cases"]["1"]["labels"]) == {"1", "2", "3"}
    assert set(manifest["cases"]["2"]["labels"]) == {"3"}
    assert manifest["cases"]["40"]["labels"] is None
    assert manifest["classes"]["3"] == "right_ventricle"
    volume = read_image(tmp_path / "out" / "images" / "1.nii.gz")
    assert volume.array.shape[:2] == (256, 256)
    np.testing.assert_allclose(volume.spacing_mm, (1.25, 1.25, 7.99), rtol=1e-5)
    assert cmr.RECIPE.folds.named()[4] == ["29", "30", "31", "32", "33", "34", "35", "1"]


def test_the_layout_of_the_few_shot_papers_is_read_as_well(tmp_path):
    write(tmp_path / "raw" / "bSSFP" / "image_3.nii.gz", ramp((20, 20, 4)) + 1000, (1.25, 1.25, 8.0))
    write(tmp_path / "raw" / "bSSFP" / "label_3.nii.gz", blocks((20, 20, 4), [500]), (1.25, 1.25, 8.0))
    code, manifest = run(cmr, tmp_path / "raw", tmp_path / "out")
    assert (code, set(manifest["cases"]["3"]["labels"])) == (0, {"2"})


def test_amos_keeps_voxels_and_turns_axes(tmp_path):
    image, labels = ramp((10, 12, 8)), blocks((10, 12, 8), range(1, 6))
    for part, number in (("Tr", 1), ("Va", 8), ("Ts", 600)):
        write(tmp_path / "raw" / f"images{part}" / f"amos_{number:04d}.nii.gz", image, (0.7, 0.7, 5.0), (-1, -1, 1))
        if part != "Ts":
            write(
                tmp_path / "raw" / f"labels{part}" / f"amos_{number:04d}.nii.gz", labels, (0.7, 0.7, 5.0), (-1, -1, 1)
            )
    code, manifest = run(amos, tmp_path / "raw", tmp_path / "out")
    assert code == 0
    assert {name: bool(case["labels"]) for name, case in manifest["cases"].items()} == {
        "amos_0001": True,
        "amos_0008": True,
        "amos_0600": False,
    }
    made = read_image(tmp_path / "out" / "images" / "amos_0008.nii.gz")
    np.testing.assert_array_equal(made.array, image[::-1, ::-1])
    assert nib.aff2axcodes(made.affine) == ("R", "A", "S")
    np.testing.assert_array_equal(
        read_labels(tmp_path / "out" / "labels" / "amos_0008.nii.gz").array, labels[::-1, ::-1]
    )


def test_a_scan_that_no_step_moves_keeps_its_header(tmp_path):
    path = tmp_path / "raw" / "imagesTr" / "amos_0001.nii.gz"
    write(path, ramp((6, 5, 4)), (0.7, 0.7, 5.0), (1, 1, 1))
    image = nib.load(path)
    image.header.set_sform(image.affine, 2)
    nib.save(image, path)
    write(tmp_path / "raw" / "labelsTr" / "amos_0001.nii.gz", blocks((6, 5, 4), [1]), (0.7, 0.7, 5.0), (1, 1, 1))
    assert run(amos, tmp_path / "raw", tmp_path / "out")[0] == 0
    made = nib.load(tmp_path / "out" / "images" / "amos_0001.nii.gz")
    assert int(made.header["sform_code"]) == 2
    np.testing.assert_array_equal(made.dataobj, image.dataobj)


@pytest.fixture
def task(real_data, tmp_path):
    """Task04 as released, of a few cases; 003 has labels of floats."""
    root = tmp_path / "Task04_Hippocampus"
    numbers = ["003", "004", "006", "243"]
    for number in numbers:
        for kind, folder in (("images", "imagesTr"), ("labels", "labelsTr")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(real_data / "msd_hippocampus" / kind / f"hippocampus_{number}.nii.gz", root / folder)
    names = [f"hippocampus_{number}.nii.gz" for number in numbers]
    content = {
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names[:3]],
        "test": [f"./imagesTr/{names[3]}"],
    }
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_a_decathlon_task_keeps_voxels_and_geometry(task, tmp_path):
    code, manifest = run(decathlon, task, tmp_path / "out")
    assert code == 0
    assert manifest["classes"] == {"1": "anterior", "2": "posterior"}
    cases = {case.name: case for case in find_cases(tmp_path / "out")}
    assert len(cases) == 4
    assert cases["hippocampus_243"].label is None
    for name in ("hippocampus_003", "hippocampus_004", "hippocampus_006"):
        source, made = nib.load(task / "imagesTr" / f"{name}.nii.gz"), nib.load(cases[name].image)
        np.testing.assert_array_equal(np.asarray(made.dataobj, np.float32), source.get_fdata(dtype=np.float32))
        np.testing.assert_array_equal(made.affine, source.affine)
        for field in ("pixdim", "qform_code", "sform_code", "srow_x"):
            np.testing.assert_array_equal(np.ravel(made.header[field])[:4], np.ravel(source.header[field])[:4])
        labels = nib.load(cases[name].label)
        assert labels.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(labels.dataobj, nib.load(task / "labelsTr" / f"{name}.nii.gz").get_fdata())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": [{"image": "../../etc/passwd", "label": "a"}]}, "leads out of the folder"),
        ({"training": 7}, "no Decathlon dataset"),
        ({"labels": None}, "no Decathlon dataset"),
        ({"training": [], "test": []}, "no case found"),
    ],
)
def test_a_wrong_dataset_json_is_one_line(tmp_path, capsys, change, message):
    content = {"labels": {"0": "background", "1": "Anterior"}, "training": [], "test": []} | change
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "dataset.json").write_text(json.dumps(content))
    assert main(decathlon.RECIPE, [str(tmp_path / "raw"), str(tmp_path / "out")]) == 3
    assert message in capsys.readouterr().err


def test_several_images_in_one_file_become_files_of_their_own(tmp_path):
    images = ramp((6, 5, 4, 2))
    for number in (1, 2):
        write(tmp_path / "raw" / "imagesTr" / f"prostate_{number:02d}.nii.gz", images[..., :number], (0.6, 0.6, 4.0))
        write(tmp_path / "raw" / "labelsTr" / f"prostate_{number:02d}.nii.gz", blocks((6, 5, 4), [1]), (0.6, 0.6, 4.0))
    content = {
        "labels": {"0": "background", "1": "PZ"},
        "modality": {"0": "T2", "1": "ADC"},
        "training": [
            {"image": f"./imagesTr/prostate_{n:02d}.nii.gz", "label": f"./labelsTr/prostate_{n:02d}.nii.gz"}
            for n in (1, 2)
        ],
    }
    (tmp_path / "raw" / "dataset.json").write_text(json.dumps(content))
    code, manifest = run(decathlon, tmp_path / "raw", tmp_path / "out")
    assert code == 1
    line = "prostate_01: prostate_01.nii.gz: 1 of 2 images; expected those of dataset.json: t2, adc"
    assert manifest["failed"] == {"prostate_01": line}
    for k, folder in enumerate(("images", "adc")):
        made = read_image(tmp_path / "out" / folder / "prostate_02.nii.gz")
        np.testing.assert_array_equal(made.array, images[..., k])
        np.testing.assert_allclose(made.affine, np.diag([-0.6, 0.6, 4.0, 1.0]), atol=1e-6)


def test_several_images_where_one_is_expected_are_refused_by_name(tmp_path, capsys):
    write(tmp_path / "raw" / "imagesTr" / "BRATS_001.nii.gz", np.zeros((4, 4, 4, 2), np.int16))
    content = {"labels": {"0": "background", "1": "edema"}, "training": [], "test": ["./imagesTr/BRATS_001.nii.gz"]}
    (tmp_path / "raw" / "dataset.json").write_text(json.dumps(content))
    assert main(decathlon.RECIPE, [str(tmp_path / "raw"), str(tmp_path / "out")]) == 3
    assert "BRATS_001.nii.gz: 4D with 2 volumes" in capsys.readouterr().err
