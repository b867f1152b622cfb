"""PNG, JPEG and BMP pictures: colours, grey values or label values, as stored."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np

from medfs.errors import InputError, root_cause
from medfs.io.atomic import atomic_path
from medfs.io.names import shown
from medfs.io.stream import open_regular
from medfs.io.volume import Volume

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_LARGEST = 200_000_000  # pixels
_KEPT_MODES = ("1", "L", "P", "I;16", "RGB")
_WITH_ALPHA = {"LA": "L", "RGBA": "RGB"}


def read_picture(path: str | Path) -> np.ndarray:
    """Read the pixels of a picture as they are stored.

    The size is checked before anything is decoded. A palette picture gives its indices, which is what label maps are
    stored as. An EXIF rotation is not applied: annotations are drawn on the stored pixels. Transparency is dropped if
    there is none.

    Returns:
        ``(columns, rows)`` of grey values, labels or 0 and 1, or ``(columns, rows, 3)`` of red, green and blue; uint8,
        or uint16 for 16-bit grey values.

    Raises:
        InputError: no such picture, damaged, larger than 200 million pixels, animated, transparent in places, or of
            another kind, such as CMYK.
    """
    return _decoded(Path(path), _pixels)


def read_colours(path: str | Path) -> np.ndarray:
    """Read a picture as it is seen: as :func:`read_picture`, but a palette picture gives the colours of its palette.

    Returns:
        As :func:`read_picture`.

    Raises:
        InputError: as :func:`read_picture`.
    """
    return _decoded(Path(path), _seen)


def picture_volume(array: np.ndarray, path: str | Path) -> Volume:
    """A picture as a volume of one slice, hung as it is seen: columns grow to the left, rows to the back.

    Pictures have neither millimetres nor a patient's directions; the pixels count as 1 mm.

    Args:
        array: ``(columns, rows)``.
        path: the file it came from.

    Returns:
        ``array`` is ``(columns, rows, 1)``.
    """
    return Volume.from_array(array[..., None], np.diag([-1.0, -1.0, 1.0, 1.0]), path)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write pixels ``(rows, columns)`` or ``(rows, columns, 3)``, uint8, as PNG.

    Raises:
        StorageError: the file cannot be written.
    """
    from PIL import Image

    content = BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())


def _decoded(path: Path, pixels: "Callable[[PIL.Image.Image, str], np.ndarray]") -> np.ndarray:  # type: ignore[name-defined]  # noqa: F821
    from PIL import Image, UnidentifiedImageError

    name = shown(path)
    with open_regular(path) as file:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # checked below, with the name of the file
        try:
            with Image.open(file, formats=_FORMATS) as picture:
                _check(picture.size, getattr(picture, "n_frames", 1), name)
                picture.load()
                return pixels(picture, name)
        except InputError:
            raise
        except UnidentifiedImageError as error:
            raise InputError(f"{name}: no picture in one of the formats {', '.join(_FORMATS)}") from error
        except Exception as error:  # decoders raise anything
            raise InputError(f"{name}: damaged picture: {root_cause(error)}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check(size: tuple[int, int], frames: int, name: str) -> None:
    if size[0] * size[1] > _LARGEST:
        raise InputError(f"{name}: {size[0]} x {size[1]} pixels; at most {_LARGEST:.0e} are read: shrink it first")
    if frames > 1:
        raise InputError(f"{name}: {frames} frames; expected one picture")


def _seen(picture: "PIL.Image.Image", name: str) -> np.ndarray:  # type: ignore[name-defined]  # noqa: F821
    if picture.mode == "P":
        picture = picture.convert("RGBA")
    return _pixels(picture, name)


def _pixels(picture: "PIL.Image.Image", name: str) -> np.ndarray:  # type: ignore[name-defined]  # noqa: F821
    if picture.mode in _WITH_ALPHA:
        if picture.getchannel("A").getextrema() != (255, 255):
            raise InputError(f"{name}: transparent in places; expected an opaque picture")
        picture = picture.convert(_WITH_ALPHA[picture.mode])
    if picture.mode == "I" and picture.format == "PNG":  # 16 bits in Pillow's 32
        return np.asarray(picture).astype(np.uint16).T
    if picture.mode not in _KEPT_MODES:
        raise InputError(f"{name}: pixels of kind {picture.mode}; expected grey values, a palette or RGB")
    array = np.asarray(picture)
    array = array.astype(np.uint8) if array.dtype == bool else array
    return np.ascontiguousarray(np.swapaxes(array, 0, 1))
