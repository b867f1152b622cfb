"""Episodes of pictures: PNG files, what the recipes write, and slices of scans."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from medfs.errors import InputError, UsageError
from medfs.fewshot import EpisodeBatches, PictureEpisodes, PictureSet, write_class_slices
from medfs.io.picture_sets import find_picture_cases, read_pictures
from medfs.phantom import scene_classes, write_scenes
from medfs.transforms.pictures import DEVIATION, MEAN
from preprocessing.command import main
from preprocessing.wbc import RECIPE


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, 60, size=32)
    return folder


def save_scan(folder: Path, name: str, image: np.ndarray, labels: np.ndarray) -> None:
    for part, array in (("images", image), ("labels", labels)):
        (folder / part).mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 5.0, 1.0])), folder / part / f"{name}.nii.gz")


def test_an_episode_is_the_same_whatever_was_drawn_before(scenes):
    first = PictureEpisodes(PictureSet(scenes, size=32), shots=2, seed=5)
    again = PictureEpisodes(PictureSet(scenes, size=32), shots=2, seed=5)
    _ = [first[place] for place in range(3)]
    for place in (7, 1004):
        one, two = first[place], again[place]
        assert one.class_name == two.class_name == (first.classes[place % len(first.classes)],)
        torch.testing.assert_close(one.query_image, two.query_image, rtol=0, atol=0)
        torch.testing.assert_close(one.support_mask, two.support_mask, rtol=0, atol=0)
    others = PictureEpisodes(PictureSet(scenes, size=32), shots=2, seed=6)
    assert any(first.draw(place) != others.draw(place) for place in range(4))


def test_masks_are_those_of_the_class_and_images_are_normalised(scenes):
    pictures = PictureSet(scenes, size=32)
    episodes = PictureEpisodes(pictures)
    assert set(episodes.classes) <= set(scene_classes().values())
    draw, episode = episodes.draw(3), episodes[3]
    stored = np.asarray(Image.open(find_picture_cases(scenes)[draw.query.case].images[0]))
    expected = (stored / 255 - np.array(MEAN)) / np.array(DEVIATION)
    np.testing.assert_allclose(episode.query_image[0].movedim(0, -1), expected, atol=1e-5)
    assert episode.query_mask is not None
    assert episode.query_mask.any()
    assert episode.support_mask.flatten(2).any(dim=2).all()


def test_the_query_is_never_its_own_support_and_no_support_comes_twice(scenes):
    episodes = PictureEpisodes(PictureSet(scenes, size=32), shots=4)
    for place in range(200):
        draw = episodes.draw(place)
        shown = [draw.query, *draw.supports]
        assert len(set(shown)) == 5
        assert all(item in episodes.pictures.items[draw.class_name] for item in shown)


def test_supports_of_scans_are_of_other_patients(tmp_path):
    for patient in range(4):
        labels = np.zeros((20, 18, 6), np.uint8)
        labels[4:9, 5:10, 1:5] = 1
        save_scan(tmp_path, f"p{patient}", np.float32(labels) * 900 + patient, labels)
    episodes = PictureEpisodes(PictureSet(tmp_path, ["liver"], size=16), shots=3)
    for place in range(60):
        draw = episodes.draw(place)
        assert len({item.case for item in (draw.query, *draw.supports)}) == 4
        assert all(1 <= item.place <= 4 for item in (draw.query, *draw.supports))
    with pytest.raises(UsageError, match="4 supports and a query"):
        PictureEpisodes(PictureSet(tmp_path, ["liver"], size=16), shots=4)


@pytest.mark.parametrize("codes", ["LAS", "RPS", "PLI"])
def test_slices_hang_alike_however_a_scan_is_stored(codes: str, tmp_path):
    canonical = np.random.default_rng(0).integers(0, 1000, (6, 5, 4)).astype(np.float32)  # axes to L, P, S
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LPS"), nib.orientations.axcodes2ornt(codes))
    stored = nib.orientations.apply_orientation(canonical, turn)
    affine = np.diag([-1.0, -1.0, 5.0, 1.0]) @ nib.orientations.inv_ornt_aff(turn, canonical.shape)
    nib.save(nib.Nifti1Image(stored, affine), tmp_path / "scan.nii.gz")
    seen = read_pictures([tmp_path / "scan.nii.gz"])
    low, high = np.percentile(canonical, (0.5, 99.5))
    expected = np.rint(np.clip((canonical - low) / (high - low), 0, 1) * 255).transpose(2, 1, 0)
    assert seen.shape == (4, 5, 6, 3)
    np.testing.assert_allclose(seen, np.repeat(expected[..., None], 3, axis=-1), atol=1)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (1.0, 5.0, 1.0), (5.0, 1.0, 1.0)])
@pytest.mark.parametrize("codes", ["LPS", "LAS", "LPI", "SLP", "PIR"])
def test_every_picture_of_a_class_shows_it_however_a_scan_is_stored(codes: str, spacing, tmp_path):
    labels = np.zeros((6, 7, 8), np.uint8)  # axes to L, P, S
    labels[1:3, 2:4, 5:7], labels[4, 6, 0] = 1, 2
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LPS"), nib.orientations.axcodes2ornt(codes))
    stored = nib.orientations.apply_orientation(labels, turn)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]) @ nib.orientations.inv_ornt_aff(turn, labels.shape)
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        nib.save(nib.Nifti1Image(stored, affine), tmp_path / part / "scan.nii.gz")
    names = {0: "background", 1: "liver", 2: "spleen"}
    write_class_slices(tmp_path / "class_slices.json", {"scan": tmp_path / "labels" / "scan.nii.gz"}, names)
    found = PictureSet(tmp_path, size=16)
    through = int(np.argmax(spacing))
    for value, name in ((1, "liver"), (2, "spleen")):
        expected = sorted(set((labels == value).nonzero()[through].tolist()))
        assert [item.place for item in found.items[name]] == expected


def test_what_a_recipe_writes_is_read_with_its_colours_and_class_names(tmp_path):
    random = np.random.default_rng(1)
    raw, written = tmp_path / "raw" / "Dataset 1", tmp_path / "set"
    raw.mkdir(parents=True)
    pictures = [random.integers(0, 256, (12, 9, 3), dtype=np.uint8) for _ in range(3)]
    for number, picture in enumerate(pictures, start=1):
        mask = np.zeros((12, 9), np.uint8)
        mask[2:5], mask[6:9] = 128, 255
        Image.fromarray(picture).save(raw / f"{number:03d}.bmp")
        Image.fromarray(mask).save(raw / f"{number:03d}.png")
    assert main(RECIPE, [str(raw.parent), str(written)]) == 0
    cases = find_picture_cases(written)
    assert [len(case.images) for case in cases] == [3, 3, 3]
    for case, picture in zip(cases, pictures, strict=True):
        np.testing.assert_array_equal(case.pictures()[0], picture)
    found = PictureSet(written, size=16)
    assert found.classes == {1: "cytoplasm", 2: "nucleus"}
    assert PictureEpisodes(found)[1].class_name == ("nucleus",)


def test_pixels_that_are_not_annotated_are_not_valid(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    for name in "ab":
        labels = np.zeros((16, 16), np.uint8)
        labels[2:6, 2:6], labels[6:8] = 1, 255
        Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tmp_path / "images" / f"{name}.jpg")
        Image.fromarray(labels).save(tmp_path / "labels" / f"{name}.png")
    episode = PictureEpisodes(PictureSet(tmp_path, ["cat"], size=16))[0]
    assert episode.query_valid is not None
    assert int((~episode.query_valid).sum()) == 32
    assert int(episode.support_mask.sum()) == 16


def test_episodes_make_batches(scenes):
    episodes = PictureEpisodes(PictureSet(scenes, size=32), shots=1)
    batch = next(iter(EpisodeBatches(episodes, steps=2, batch_size=4)))
    assert batch.query_image.shape == (4, 3, 32, 32)
    assert batch.class_name == episodes.classes[:4]


def test_wrong_requests_are_answered_in_one_line(scenes, tmp_path):
    with pytest.raises(UsageError, match="zebra: no class of"):
        PictureEpisodes(PictureSet(scenes), classes=["zebra"])
    with pytest.raises(UsageError, match="no labelled picture shows"):
        PictureSet(scenes, {77: "zebra"})
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    with pytest.raises(InputError, match="no class_slices"):
        PictureSet(tmp_path)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / "a.jpg")
    with pytest.raises(InputError, match="two pictures are called a"):
        find_picture_cases(tmp_path)


def test_cells_and_scans_of_real_data_make_episodes(real_data):
    cells = PictureEpisodes(PictureSet(real_data / "wbc_2d", ["cytoplasm", "nucleus"], size=96), shots=5)
    assert [len(cells.pictures.items[name]) for name in cells.classes] == [100, 100]
    assert cells[0].support_image.shape == (1, 5, 3, 96, 96)
    organs = ["liver", "right_kidney", "left_kidney", "spleen"]
    chaos = PictureEpisodes(PictureSet(real_data / "chaost2_mr", organs, size=96, min_pixels=100))
    draw, episode = chaos.draw(0), chaos[0]
    assert draw.query.case != draw.supports[0].case
    assert (episode.query_image.amax() - episode.query_image.amin()) > 3
    columns = torch.nonzero(episode.query_mask[0]).float().mean(dim=0)[1]  # the liver hangs at the viewer's left
    assert columns < 48
