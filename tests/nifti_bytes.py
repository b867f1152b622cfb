"""NIfTI-1 files put together byte by byte from the standard's table, so that no library repairs them on the way."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

FIELDS = {
    "sizeof_hdr": (0, "i"),
    "dim": (40, "8h"),
    "intent_code": (68, "h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow": (280, "12f"),
    "magic": (344, "4s"),
}
CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}

# What ends up in another file on the same grid: dim[1..3], pixdim[0..3], units, and qform_code to srow_z.
GEOMETRY = [slice(42, 48), slice(76, 92), slice(123, 124), slice(252, 328)]


def header_bytes(shape, kind="i2", *, order="<", **fields) -> bytes:
    """352 bytes; ``fields`` override the defaults: 0.8 x 0.9 x 2.5 mm, RAS, sform and qform equal."""
    defaults = {
        "sizeof_hdr": 348,
        "dim": [len(shape), *shape, *[1] * (7 - len(shape))],
        "datatype": CODES.get(kind, 0),
        "bitpix": 8 * int(kind[1]),
        "pixdim": [1, 0.8, 0.9, 2.5, 0, 0, 0, 0],
        "vox_offset": 352,
        "scl_slope": 1,
        "xyzt_units": 10,
        "qform_code": 1,
        "sform_code": 1,
        "qoffset": [-10, 20, 30],
        "srow": [0.8, 0, 0, -10, 0, 0.9, 0, 20, 0, 0, 2.5, 30],
        "magic": b"n+1\0",
    }
    raw = bytearray(352)
    for name, value in (defaults | fields).items():
        offset, fmt = FIELDS[name]
        struct.pack_into(order + fmt, raw, offset, *(value if isinstance(value, list) else [value]))
    return bytes(raw)


def voxels(shape, kind="i2", seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 100, shape).astype(kind)


def write_nifti(path: Path, array: np.ndarray, *, order="<", **fields) -> Path:
    kind = array.dtype.str[1:]
    raw = header_bytes(array.shape, kind, order=order, **fields)
    raw += array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
    path.write_bytes(gzip.compress(raw, mtime=0) if path.name.endswith(".gz") else raw)
    return path


def content_of(path: Path) -> bytes:
    raw = path.read_bytes()
    return zlib.decompress(raw, 31) if raw[:2] == b"\x1f\x8b" else raw
