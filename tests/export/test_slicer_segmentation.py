"""write_seg_nrrd and write_color_table, read back by slicerio and SimpleITK, and beside a file that 3D Slicer wrote."""

import csv
import dataclasses
import itertools
import re
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import slicerio
from scipy.spatial.transform import Rotation

from medfs.anatomy import LabelSet, find_organ, label_set
from medfs.errors import InputError, StorageError, UsageError
from medfs.export import write_color_table, write_seg_nrrd

LIVER, RIGHT_KIDNEY, PROSTATE_UTERUS = (find_organ(n) for n in ("liver", "right_kidney", "prostate_uterus"))
ORGANS = {1: LIVER, 2: RIGHT_KIDNEY, 5: PROSTATE_UTERUS}
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def label_map() -> np.ndarray:
    labels = np.zeros((5, 6, 7), np.int16)
    labels[3:, 1:4, 2:5] = 1
    labels[0, 5, 6] = 2
    return labels


def affine_of(rotation: np.ndarray, spacing: tuple[float, float, float] = (0.7, 1.2, 3.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(spacing)
    affine[:3, 3] = (-31.5, 12.25, 102.0)
    return affine


def oblique() -> np.ndarray:
    return affine_of(Rotation.from_euler("xyz", [12, -23, 71], degrees=True).as_matrix())


def axis_orientations() -> list[np.ndarray]:
    """The 48 ways in which array axes can follow the patient's, mirrored ones included."""
    turns = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turn = np.zeros((3, 3))
            turn[list(order), range(3)] = signs
            turns.append(turn)
    return turns


def written(path: Path, labels: np.ndarray, affine: np.ndarray, organs: dict = ORGANS) -> Path:
    write_seg_nrrd(path / "case.seg.nrrd", labels, affine, organs)
    return path / "case.seg.nrrd"


def header_text(path: Path) -> str:
    return path.read_bytes().partition(b"\n\n")[0].decode("ascii")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestReadBack:
    def test_slicerio_finds_names_colours_codes_and_states(self, tmp_path: Path):
        segmentation = slicerio.read_segmentation(str(written(tmp_path, label_map(), oblique())))
        segments = segmentation["segments"]
        assert [s["name"] for s in segments] == ["Liver", "Right kidney", PROSTATE_UTERUS.title]
        assert [s["id"] for s in segments] == ["liver", "right_kidney", "prostate_uterus"]
        assert [s["labelValue"] for s in segments] == [1, 2, 5]
        assert [s["status"] for s in segments] == ["inprogress", "inprogress", "notstarted"]
        for segment, organ in zip(segments, ORGANS.values(), strict=True):
            np.testing.assert_allclose(np.array(segment["color"]) * 255, organ.color, atol=1e-3)
        kidney = segments[1]["terminology"]
        assert kidney["contextName"] == "Segmentation category and type - 3D Slicer General Anatomy list"
        assert kidney["category"] == ["SCT", "123037004", "Anatomical Structure"]
        assert kidney["type"] == ["SCT", "64033007", "Kidney"]
        assert kidney["typeModifier"] == ["SCT", "24028007", "Right"]
        assert segments[2]["terminology"]["anatomicRegion"] == ["SCT", "816092008", "Pelvis"]
        assert "typeModifier" not in segments[0]["terminology"]

    def test_slicerio_finds_voxels_and_grid(self, tmp_path: Path):
        segmentation = slicerio.read_segmentation(str(written(tmp_path, label_map(), oblique())))
        np.testing.assert_array_equal(segmentation["voxels"], label_map())
        np.testing.assert_allclose(segmentation["ijkToLPS"], RAS_TO_LPS @ oblique(), atol=1e-12)
        np.testing.assert_array_equal(slicerio.segment_mask(segmentation, "right_kidney"), label_map() == 2)

    @pytest.mark.parametrize("rotation", [*axis_orientations(), oblique()[:3, :3] / (0.7, 1.2, 3.0)])
    def test_simpleitk_reads_the_voxels_where_the_nifti_has_them(self, tmp_path: Path, rotation: np.ndarray):
        affine = affine_of(rotation)
        nib.save(nib.Nifti1Image(label_map(), affine), tmp_path / "labels.nii")
        source = sitk.ReadImage(str(tmp_path / "labels.nii"))
        image = sitk.ReadImage(str(written(tmp_path, label_map(), affine)))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), label_map().T)
        for index in [(0, 0, 0), (4, 5, 6), (3, 0, 2)]:
            place = RAS_TO_LPS @ affine @ [*index, 1]
            np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), place[:3], atol=1e-9)
        np.testing.assert_allclose(image.GetSpacing(), source.GetSpacing(), atol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), source.GetOrigin(), atol=1e-5)
        np.testing.assert_allclose(image.GetDirection(), source.GetDirection(), atol=1e-6)

    def test_the_patients_right_stays_right(self, tmp_path: Path):
        labels = np.zeros((11, 3, 3), np.uint8)
        labels[9, 1, 1] = 2  # x grows towards the patient's right
        affine = np.diag([10.0, 10, 10, 1])
        affine[0, 3] = -50
        image = sitk.ReadImage(str(written(tmp_path, labels, affine)))
        (voxel,) = np.argwhere(sitk.GetArrayFromImage(image).T == 2)
        x_towards_left, _, _ = image.TransformIndexToPhysicalPoint(voxel.tolist())
        assert x_towards_left == -40

    def test_a_sheared_grid_is_kept_exactly(self, tmp_path: Path):
        affine = affine_of(np.eye(3))
        affine[1, 2] = 0.8
        path = written(tmp_path, label_map(), affine)
        np.testing.assert_allclose(slicerio.read_segmentation(str(path))["ijkToLPS"], RAS_TO_LPS @ affine, atol=1e-12)
        image = sitk.ReadImage(str(path))
        place = RAS_TO_LPS @ affine @ [3, 4, 5, 1]
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((3, 4, 5)), place[:3], atol=1e-9)

    @pytest.mark.parametrize("value", [255, 256, 70_000])
    def test_large_label_values_survive(self, tmp_path: Path, value: int):
        labels = label_map().astype(np.int64) * value
        labels[labels > value] = 0
        voxels, header = nrrd.read(str(written(tmp_path, labels, oblique(), {value: LIVER})))
        np.testing.assert_array_equal(voxels, labels)
        assert header["Segment0_LabelValue"] == str(value)

    def test_a_boolean_mask_is_a_label_map_of_one_organ(self, tmp_path: Path):
        voxels, _ = nrrd.read(str(written(tmp_path, label_map() == 1, oblique(), {1: LIVER})))
        np.testing.assert_array_equal(voxels, label_map() == 1)


class TestLayout:
    def test_all_segments_share_one_layer_and_the_whole_extent(self, tmp_path: Path):
        header = header_text(written(tmp_path, label_map(), oblique()))
        assert re.findall(r"Segment\d_Layer:=(.*)", header) == ["0"] * 3
        assert re.findall(r"Segment\d_Extent:=(.*)", header) == ["0 4 0 5 0 6"] * 3

    def test_the_background_is_no_segment(self, tmp_path: Path):
        organs = dict(enumerate(label_set("amos").organs))
        header = header_text(written(tmp_path, label_map(), oblique(), organs))
        assert "Background" not in header
        assert len(re.findall(r"_LabelValue:=", header)) == 15

    def test_an_empty_map_keeps_its_segments_for_drawing(self, tmp_path: Path):
        header = header_text(written(tmp_path, np.zeros((2, 3, 4), np.uint8), oblique()))
        assert header.count("Segmentation.Status:notstarted") == 3

    def test_an_empty_map_of_no_organs_is_a_file_without_segments(self, tmp_path: Path):
        path = written(tmp_path, np.zeros((2, 3, 4), np.uint8), oblique(), {})
        assert slicerio.read_segmentation(str(path))["segments"] == []

    def test_one_organ_under_two_values_gets_two_ids(self, tmp_path: Path):
        header = header_text(written(tmp_path, label_map(), oblique(), {1: LIVER, 2: LIVER}))
        assert re.findall(r"Segment\d_ID:=(.*)", header) == ["liver_1", "liver_2"]

    def test_equal_inputs_give_equal_bytes_without_a_date(self, tmp_path: Path):
        first = written(tmp_path, label_map(), oblique()).read_bytes()
        assert written(tmp_path, np.asfortranarray(label_map()), oblique()).read_bytes() == first
        assert not re.search(rb"# on \d{4}-", first)

    def test_text_cannot_add_fields_or_break_tags(self, tmp_path: Path):
        hostile = dataclasses.replace(LIVER, name="a|b~c^d", title="Leber\nSegment0_LabelValue:=9 größe")
        header = header_text(written(tmp_path, label_map() == 1, oblique(), {1: hostile}))
        assert re.findall(r"Segment0_LabelValue:=(.*)", header) == ["1"]
        assert "Segment0_ID:=a_b_c_d\n" in header
        assert "Segment0_Name:=Leber_Segment0_LabelValue_=9 groe" in header


class TestUnknownValues:
    def test_they_get_a_name_and_a_warning(self, tmp_path: Path):
        with pytest.warns(UserWarning, match=r"case\.seg\.nrrd: no organ is known for label value 2;"):
            path = written(tmp_path, label_map(), oblique(), {1: LIVER})
        segments = slicerio.read_segmentation(str(path))["segments"]
        assert [(s["name"], s["labelValue"]) for s in segments] == [("Liver", 1), ("Label 2", 2)]
        assert segments[1]["terminology"]["type"] == ["SCT", "85756007", "Tissue"]

    def test_a_long_list_is_cut(self, tmp_path: Path):
        labels = np.arange(30, dtype=np.uint8).reshape(2, 3, 5)
        with pytest.warns(UserWarning, match=r"1, 2, 3, 4, 5, 6, 7, 8, 9, 10, \.\.\.;"):
            written(tmp_path, labels, oblique(), {})


class TestRefusals:
    @pytest.mark.parametrize("name", ["case.nrrd", "case.nii.gz", "seg.nrrd.txt"])
    def test_another_suffix_is_refused(self, tmp_path: Path, name: str):
        with pytest.raises(UsageError, match=r"\.seg\.nrrd"):
            write_seg_nrrd(tmp_path / name, label_map(), oblique(), ORGANS)

    @pytest.mark.parametrize("labels", [label_map().astype(np.float32), label_map()[0], label_map()[None]])
    def test_what_is_no_label_map_is_refused(self, tmp_path: Path, labels: np.ndarray):
        with pytest.raises(UsageError, match="3 axes of integers"):
            written(tmp_path, labels, oblique())

    def test_negative_values_are_refused(self, tmp_path: Path):
        with pytest.raises(InputError, match="label value -1"):
            written(tmp_path, label_map() - 1, oblique())

    def test_values_that_slicer_cannot_hold_are_refused(self, tmp_path: Path):
        with pytest.raises(InputError, match="2147483647"):
            written(tmp_path, label_map().astype(np.int64) * 2**31, oblique(), {})

    @pytest.mark.parametrize("affine", [np.eye(3), np.diag([1.0, 0, 1, 1]), np.full((4, 4), np.nan)])
    def test_an_affine_without_a_grid_is_refused(self, tmp_path: Path, affine: np.ndarray):
        with pytest.raises(UsageError, match="invertible"):
            written(tmp_path, label_map(), affine)

    def test_a_failed_write_leaves_what_was_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        path = written(tmp_path, label_map(), oblique())
        before = path.read_bytes()
        monkeypatch.setattr(Path, "write_bytes", lambda self, data: len(data))  # a disk that swallows
        with pytest.raises(StorageError, match="reads back other"):
            written(tmp_path, label_map() * 0, oblique())
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    def test_a_missing_folder_is_a_storage_error(self, tmp_path: Path):
        with pytest.raises(StorageError):
            write_seg_nrrd(tmp_path / "no" / "case.seg.nrrd", label_map(), oblique(), ORGANS)


class TestBesideSlicersOwnFile:
    @pytest.fixture
    def slicers(self, real_data: Path) -> Path:
        return real_data / "slicer_segnrrd" / "labels" / "Segmentation.seg.nrrd"

    @pytest.fixture
    def ours(self, slicers: Path, tmp_path: Path) -> Path:
        theirs = slicerio.read_segmentation(str(slicers))
        organs = {s["labelValue"]: dataclasses.replace(LIVER, name=s["name"]) for s in theirs["segments"]}
        return written(tmp_path, theirs["voxels"], RAS_TO_LPS @ theirs["ijkToLPS"], organs)

    def test_the_fields_are_the_same(self, slicers: Path, ours: Path):
        theirs = nrrd.read_header(str(slicers))
        made = nrrd.read_header(str(ours))
        assert set(made) == set(theirs)
        for field in ("dimension", "space", "kinds", "encoding", "Segmentation_MasterRepresentation"):
            assert made[field] == theirs[field]
        assert list(made["sizes"]) == list(theirs["sizes"])
        assert made["Segmentation_ReferenceImageExtentOffset"] == theirs["Segmentation_ReferenceImageExtentOffset"]

    def test_the_voxels_and_their_places_are_the_same(self, slicers: Path, ours: Path):
        theirs, made = sitk.ReadImage(str(slicers)), sitk.ReadImage(str(ours))
        assert made.GetPixelIDTypeAsString() == theirs.GetPixelIDTypeAsString()
        np.testing.assert_array_equal(sitk.GetArrayFromImage(made), sitk.GetArrayFromImage(theirs))
        np.testing.assert_allclose(made.GetOrigin(), theirs.GetOrigin())
        np.testing.assert_allclose(made.GetSpacing(), theirs.GetSpacing())
        assert made.GetDirection() == theirs.GetDirection()

    def test_the_reference_geometry_is_spelt_as_slicer_spells_it(self, slicers: Path, ours: Path):
        def geometry(path: Path) -> list[float]:
            parameters = nrrd.read_header(str(path))["Segmentation_ConversionParameters"]
            assert parameters.endswith("&")
            (value,) = re.findall(r"Reference image geometry\|([^|]*;)\|", parameters)
            return [float(number) for number in value.rstrip(";").split(";")]

        np.testing.assert_allclose(geometry(ours), geometry(slicers), atol=1e-6)


class TestColorTable:
    def test_the_columns_are_those_of_slicer(self, tmp_path: Path):
        write_color_table(tmp_path / "case_seg.csv", label_set("amos"))
        head, *rows = (tmp_path / "case_seg.csv").read_bytes().decode().split("\n")[:-1]
        assert head == (
            "LabelValue,Name,Color_R,Color_G,Color_B,Color_A,Category_CodingScheme,Category_CodeValue,"
            "Category_CodeMeaning,Type_CodingScheme,Type_CodeValue,Type_CodeMeaning,TypeModifier_CodingScheme,"
            "TypeModifier_CodeValue,TypeModifier_CodeMeaning,Region_CodingScheme,Region_CodeValue,Region_CodeMeaning,"
            "RegionModifier_CodingScheme,RegionModifier_CodeValue,RegionModifier_CodeMeaning"
        )
        # the right kidney as Slicer's developer guide gives it, but for its label value
        assert (
            rows[1] == "2,right_kidney,185,102,83,255,SCT,123037004,Anatomical Structure,SCT,64033007,Kidney,"
            "SCT,24028007,Right,,,,,,"
        )

    def test_it_lists_every_value_but_the_background(self, tmp_path: Path):
        write_color_table(tmp_path / "t.csv", label_set("amos"))
        with open(tmp_path / "t.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(int(row["LabelValue"]), row["Name"]) for row in rows] == [
            (value, name) for value, name in enumerate(label_set("amos").names) if value
        ]

    def test_a_set_with_the_background_alone_gives_the_head_line(self, tmp_path: Path):
        write_color_table(tmp_path / "t.csv", LabelSet("none", (find_organ("background"),)))
        assert (tmp_path / "t.csv").read_text().count("\n") == 1

    def test_another_suffix_is_refused(self, tmp_path: Path):
        with pytest.raises(UsageError, match=r"\.csv"):
            write_color_table(tmp_path / "t.ctbl", label_set("amos"))
