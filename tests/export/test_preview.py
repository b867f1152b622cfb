"""What previews show and where: planes, sides, proportions, windows, outlines."""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from medfs.anatomy import find_organ, label_set
from medfs.errors import UsageError
from medfs.export import write_preview
from medfs.export.planes import display_window, telling_slices, three_planes
from medfs.io import Volume, read_image, read_labels

AMOS = dict(enumerate(label_set("amos").organs))
LIVER = label_set("amos").names.index("liver")
SPACING = np.array([0.8, 1.5, 4.0])


def ras_case() -> tuple[Volume, np.ndarray]:
    """A ramp with a liver on the patient's right, in front and high up, in RAS order: axes grow to R, A and S."""
    shape = (20, 24, 14)
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    labels = np.zeros(shape, np.uint8)
    labels[13:18, 14:22, 9:13] = LIVER
    return Volume.from_array((x + 2 * y + 3 * z).astype(np.float32), np.diag([*SPACING, 1])), labels


def stored_in_all_orders() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(o, s) for o in itertools.permutations(range(3)) for s in itertools.product((1, -1), repeat=3)]


def restored(order: tuple[int, ...], signs: tuple[int, ...]) -> tuple[Volume, np.ndarray]:
    """The same case, its axes stored in another order and direction."""
    image, labels = ras_case()
    turn = np.array([*zip(order, signs, strict=True)], dtype=float)
    affine = image.affine @ nib.orientations.inv_ornt_aff(turn, labels.shape)
    arrays = (nib.orientations.apply_orientation(array, turn) for array in (image.array, labels))
    picture, labels = (np.ascontiguousarray(array) for array in arrays)
    return Volume.from_array(picture, affine), labels


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def near(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture - np.array(color)).sum(axis=-1) < 40


class TestPlanes:
    @pytest.mark.parametrize(("order", "signs"), stored_in_all_orders())
    def test_they_do_not_depend_on_how_the_file_orders_its_axes(self, order: tuple, signs: tuple):
        expected = three_planes(*ras_case())
        for plane, reference in zip(three_planes(*restored(order, signs)), expected, strict=True):
            np.testing.assert_array_equal(plane.picture, reference.picture)
            np.testing.assert_array_equal(plane.labels, reference.labels)
            assert plane.spacing_mm == pytest.approx(reference.spacing_mm)
            assert plane.edges == reference.edges

    def test_they_hang_in_radiological_convention(self):
        axial, coronal, sagittal = three_planes(*ras_case())
        assert axial.edges == ("R", "L", "A", "P")
        assert coronal.edges == ("R", "L", "S", "I")
        assert sagittal.edges == ("A", "P", "S", "I")
        for plane in (axial, coronal, sagittal):  # the liver is right, in front and high: upper left in every plane
            rows, columns = np.nonzero(plane.labels)
            assert rows.mean() < plane.labels.shape[0] / 2
            assert columns.mean() < plane.labels.shape[1] / 2

    def test_they_have_the_proportions_of_the_patient(self):
        axial, coronal, sagittal = three_planes(*ras_case())
        assert axial.picture.shape == (24, 20)
        assert axial.spacing_mm == pytest.approx((1.5, 0.8))
        assert coronal.picture.shape == (14, 20)
        assert coronal.spacing_mm == pytest.approx((4.0, 0.8))
        assert sagittal.picture.shape == (14, 24)
        assert sagittal.spacing_mm == pytest.approx((4.0, 1.5))

    @pytest.mark.parametrize(("order", "signs"), stored_in_all_orders())
    def test_the_slice_number_is_that_of_the_file(self, order: tuple, signs: tuple):
        image, labels = restored(order, signs)
        axial = three_planes(image, labels)[0]
        name, number, length = axial.title.replace(",", "").replace("slice ", "").replace("of ", "").split()
        assert name == "Axial"
        assert int(length) == labels.shape[order[2]]
        shown = np.moveaxis(image.array, order[2], 0)[int(number) - 1]
        np.testing.assert_array_equal(np.sort(shown, axis=None), np.sort(axial.picture, axis=None))

    def test_an_oblique_scan_has_two_letters_at_its_edges(self):
        image, labels = ras_case()
        affine = np.eye(4)
        affine[:3, :3] = Rotation.from_euler("z", 30, degrees=True).as_matrix() @ np.diag(SPACING)
        axial = three_planes(Volume.from_array(image.array, affine), labels)[0]
        # the first axis is turned from right towards anterior, the second from anterior towards left
        assert axial.edges == ("RA", "LP", "AL", "PR")

    def test_a_slight_tilt_keeps_single_letters(self):
        image, labels = ras_case()
        affine = np.eye(4)
        affine[:3, :3] = Rotation.from_euler("x", 8, degrees=True).as_matrix() @ np.diag(SPACING)
        assert three_planes(Volume.from_array(image.array, affine), labels)[0].edges == ("R", "L", "A", "P")


class TestSlices:
    def test_a_small_organ_has_the_say_of_a_large_one(self):
        labels = np.zeros((30, 30, 30), np.uint8)
        labels[5:25, 5:25, 2:20] = 1
        labels[10, 10, 17] = 2
        labels[12, 12, 17] = 3
        assert telling_slices(labels) == (17, 10, 10)

    def test_without_organs_it_is_the_middle(self):
        assert telling_slices(np.zeros((9, 21, 4), np.int16)) == (2, 10, 4)

    @pytest.mark.parametrize("value", [True, 2**40])
    def test_masks_and_huge_values_work_too(self, value: int):
        labels = np.zeros((5, 6, 7), type(value) if value is True else np.int64)
        labels[1, 2, 3] = value
        assert telling_slices(labels) == (3, 2, 1)
        labels[:, :5] = value
        assert telling_slices(labels) == (0, 0, 0)


class TestWindow:
    def test_ct_is_shown_in_a_soft_tissue_window(self):
        window = display_window(np.array([[[-1000.0, 40, 1200]]]))
        assert (window.low, window.high) == (-160, 240)
        assert window.text == "window 400 HU, level 40 HU"

    def test_mr_is_shown_between_percentiles_of_what_is_not_background(self):
        tissue = np.random.default_rng(0).gamma(4, 50, 40_000)
        array = np.concatenate([np.zeros(60_000), tissue]).reshape(100, 100, 10)
        window = display_window(array)
        assert (window.low, window.high) == pytest.approx(tuple(np.percentile(tissue, (1, 99.5))))

    def test_a_constant_scan_has_a_window(self):
        window = display_window(np.full((3, 3, 3), 7.0))
        assert window.low < window.high


class TestPicture:
    @pytest.mark.parametrize(("order", "signs"), [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1))])
    def test_an_organ_on_the_right_is_outlined_at_the_viewers_left(self, tmp_path: Path, order: tuple, signs: tuple):
        image, labels = restored(order, signs)
        write_preview(tmp_path / "p.png", image, labels, {LIVER: AMOS[LIVER]})
        picture = pixels(tmp_path / "p.png")
        axial = near(picture[75:, :375], AMOS[LIVER].color)
        columns = np.nonzero(axial)[1]
        assert len(columns) > 50
        assert columns.max() < 375 / 2

    def test_outlines_leave_the_inside_of_an_organ_alone(self, tmp_path: Path):
        image, labels = ras_case()
        write_preview(tmp_path / "p.png", image, labels, {LIVER: AMOS[LIVER]})
        outline = near(pixels(tmp_path / "p.png")[75:, :375], AMOS[LIVER].color)
        rows, columns = (np.flatnonzero(outline.any(axis)) for axis in (1, 0))
        inside = outline[rows[0] + 5 : rows[-1] - 4, columns[0] + 5 : columns[-1] - 4]
        assert inside.size > 2000
        assert not inside.any()

    def test_an_organ_that_fills_the_scan_is_outlined_at_its_border(self, tmp_path: Path):
        image, labels = ras_case()
        write_preview(tmp_path / "p.png", image, np.full_like(labels, LIVER), AMOS)
        assert near(pixels(tmp_path / "p.png")[:, :375], AMOS[LIVER].color).sum() > 200

    def test_equal_inputs_give_equal_bytes(self, tmp_path: Path):
        image, labels = ras_case()
        for name in ("a.png", "b.png"):
            write_preview(tmp_path / name, image, labels, AMOS)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    @pytest.mark.parametrize("shape", [(1, 1, 1), (40, 30, 1), (1, 30, 40), (40, 1, 30), (300, 2, 2)])
    @pytest.mark.parametrize("value", [0, LIVER, 99])
    def test_thin_and_empty_volumes_are_drawn(self, tmp_path: Path, shape: tuple, value: int):
        image = Volume.from_array(np.zeros(shape, np.float32), np.diag([*SPACING, 1]))
        write_preview(tmp_path / "p.png", image, np.full(shape, value, np.uint8), AMOS)
        assert pixels(tmp_path / "p.png").shape[1] == 1400

    def test_many_organs_fit(self, tmp_path: Path):
        image, _ = ras_case()
        labels = np.random.default_rng(0).integers(0, 120, image.array.shape)
        write_preview(tmp_path / "p.png", image, labels, AMOS)
        assert pixels(tmp_path / "p.png").shape[0] < 600

    @pytest.mark.parametrize("name", ["$x^2$.nii.gz", "a_{b}\\frac.nii", "größe\n<b>.nii.gz", "n" * 190 + ".nii.gz"])
    def test_any_case_name_is_shown_as_it_is(self, tmp_path: Path, name: str):
        image, labels = ras_case()
        write_preview(tmp_path / "p.png", Volume.from_array(image.array, image.affine, name), labels, AMOS)
        assert (tmp_path / "p.png").stat().st_size > 10_000

    def test_other_shapes_and_suffixes_are_refused(self, tmp_path: Path):
        image, labels = ras_case()
        with pytest.raises(UsageError, match=r"p\.png: labels of shape \(20, 24, 13\)"):
            write_preview(tmp_path / "p.png", image, labels[..., 1:], AMOS)
        with pytest.raises(UsageError, match=r"\.png"):
            write_preview(tmp_path / "p.jpg", image, labels, AMOS)
        assert not list(tmp_path.iterdir())


def test_the_liver_of_a_real_scan_is_at_the_viewers_left(real_data: Path, tmp_path: Path):
    image = read_image(real_data / "chaost2_mr" / "images" / "image_31.nii.gz")  # stored as LAS, slightly oblique
    labels = read_labels(real_data / "chaost2_mr" / "labels" / "label_31.nii.gz").array
    write_preview(tmp_path / "p.png", image, labels, dict(enumerate(label_set("chaos").organs)))
    axial = pixels(tmp_path / "p.png")[75:, :375]
    liver, spleen = (np.nonzero(near(axial, find_organ(name).color))[1] for name in ("liver", "spleen"))
    assert liver.mean() < 375 / 2 < spleen.mean()
