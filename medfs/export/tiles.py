"""Pages of small pictures, each with the outline of a mask and a caption."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from medfs.errors import UsageError
from medfs.io import atomic_path
from medfs.io.names import shown

_DOWNWARD = "LRPAIS"  # the later of two axes in this order runs down the picture


@dataclass(frozen=True, eq=False, slots=True)
class Tile:
    """One picture.

    Attributes:
        picture: (rows, columns) intensities.
        mask: (rows, columns) bool, outlined where it is true.
        spacing_mm: distance of neighbouring rows and of neighbouring columns.
        caption: lines above it.
        group: outlines of one group have one colour.
    """

    picture: np.ndarray
    mask: np.ndarray
    spacing_mm: tuple[float, float]
    caption: tuple[str, ...]
    group: int = 0

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height."""
        rows, columns = self.picture.shape
        return columns * self.spacing_mm[1], rows * self.spacing_mm[0]


def hung_tile(
    picture: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    axes: tuple[int, int],
    caption: tuple[str, ...],
    group: int,
) -> Tile:
    """A tile as radiologists hang it, the patient's right at the viewer's left and front or head up.

    Args:
        picture: (rows, columns).
        mask: (rows, columns).
        affine: 4 x 4 of the volume.
        axes: the axes of the volume that rows and columns run along.
        caption: of the tile.
        group: of the tile.
    """
    letters = [nib.orientations.aff2axcodes(affine)[axis] for axis in axes]
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = (float(lengths[axes[0]]), float(lengths[axes[1]]))
    turn = tuple(slice(None, None, -1 if letter in "RAS" else 1) for letter in letters)
    picture, mask = picture[turn], mask[turn]
    if _DOWNWARD.index(letters[0]) < _DOWNWARD.index(letters[1]):
        picture, mask, spacing = picture.T, mask.T, spacing[::-1]
    return Tile(picture, mask, spacing, caption, group)


def write_tiles(path: str | Path, rows: Sequence[Sequence[Tile]], heading: tuple[str, str]) -> None:
    """Write a PNG with rows of tiles.

    Args:
        path: the file, ``*.png``; its folder must exist.
        rows: from above; at least one tile.
        heading: what is shown, and a line below it.

    Raises:
        UsageError: the name has another suffix, or there is no tile.
        StorageError: the file cannot be written.
    """
    from medfs.export import figure  # matplotlib only where a picture is drawn

    path = Path(path)
    if path.suffix.lower() != ".png" or not any(rows):
        raise UsageError(f"{shown(path)}: expected a name that ends in .png and at least one picture to draw")
    with atomic_path(path) as temporary:
        figure.save_tiles(temporary, [row for row in rows if row], heading)
