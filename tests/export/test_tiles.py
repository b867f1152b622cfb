"""Pages of small pictures: how they hang, and what is refused."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medfs.errors import UsageError
from medfs.export.tiles import Tile, hung_tile, write_tiles

SIDES = {"L": (-1, 0, 0), "R": (1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
PLANES = {"axial": "LP", "coronal": "LI", "sagittal": "PI"}  # to the right and down


@pytest.mark.parametrize("plane", PLANES)
def test_a_slice_hangs_the_same_however_the_file_orders_it(plane):
    right, down = PLANES[plane]
    shape = (7, 6, 5)
    volume = np.random.default_rng(0).random(shape)  # axes to R, A, S
    through = next(k for k in range(3) if not {right, down} & set(("RL", "AP", "SI")[k]))
    mask = volume > 0.5
    seen = set()
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turn = np.array([*zip(order, signs, strict=True)], float)
            affine = np.diag([1.0, 2.0, 3.0, 1.0]) @ nib.orientations.inv_ornt_aff(turn, shape)
            stored, stored_mask = (nib.orientations.apply_orientation(a, turn) for a in (volume, mask))
            axis = order[through]
            middle = shape[through] // 2 if signs[through] > 0 else shape[through] - 1 - shape[through] // 2
            rows, columns = sorted({0, 1, 2} - {axis}, reverse=True)
            picture, shown = (np.moveaxis(a, axis, 0)[middle].T for a in (stored, stored_mask))
            tile = hung_tile(picture, shown, affine, (rows, columns), ("a",), 0)
            seen.add((tile.picture.tobytes(), tile.mask.tobytes(), tile.spacing_mm))
            assert tile.size_mm[0] == tile.spacing_mm[1] * tile.picture.shape[1]
    assert len(seen) == 1
    picture = np.frombuffer(next(iter(seen))[0]).reshape(tile.picture.shape)
    expected = np.take(volume, shape[through] // 2, through).T  # rows and columns run to S, A or R
    np.testing.assert_array_equal(picture, expected[::-1, ::-1])
    spacing = {"LP": (2, 1), "LI": (3, 1), "PI": (3, 2)}[right + down]
    assert tile.spacing_mm == pytest.approx(spacing)


def tile(seed=0, shape=(20, 30), masked=True, caption=("one", "two")):
    picture = np.random.default_rng(seed).random(shape)
    mask = np.zeros(shape, bool)
    mask[5:9, 6:14] = masked
    return Tile(picture, mask, (1.0, 1.5), caption, seed)


def test_rows_of_unequal_length_empty_masks_and_flat_pictures_are_drawn(tmp_path):
    flat = Tile(np.zeros((4, 9)), np.ones((4, 9), bool), (1, 1), ("$x_1$", "n" * 300))
    write_tiles(tmp_path / "p.png", [[tile(), tile(1)], [], [tile(2, masked=False)], [flat]], ("title", "facts"))
    assert Image.open(tmp_path / "p.png").size[0] == 700
    write_tiles(tmp_path / "q.png", [[tile(n) for n in range(6)]], ("title " * 90, ""))
    assert Image.open(tmp_path / "q.png").size[0] == 1400


def test_other_suffixes_and_empty_pages_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"p\.jpg"):
        write_tiles(tmp_path / "p.jpg", [[tile()]], ("", ""))
    with pytest.raises(UsageError, match="at least one picture"):
        write_tiles(tmp_path / "p.png", [[]], ("", ""))
    assert not list(tmp_path.iterdir())
