"""Files that go wrong in practice, by the row of the table they come from, and what is to be said about each."""

import gzip
import io
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nifti_bytes as nb
import numpy as np

SHAPE = (9, 8, 7)
ARRAY = nb.voxels(SHAPE)


@dataclass(frozen=True)
class Bad:
    """One file: either ``refused`` or read with the values ``expected`` and, unless empty, a ``remark``."""

    row: int
    name: str
    make: Callable[[Path], Path]
    refused: str = ""
    remark: str = ""
    expected: np.ndarray | None = None
    labels: bool = False

    @property
    def id(self) -> str:
        return f"{self.row:02}_{self.name}"


def raw(name, content):
    return lambda folder: _written(folder / name, content() if callable(content) else content)


def nifti(name="a.nii", array=ARRAY, **fields):
    return lambda folder: nb.write_nifti(folder / name, array, **fields)


def changed(change, name="a.nii.gz", array=ARRAY, **fields):
    """A good file whose bytes go through ``change``."""

    def make(folder):
        path = nb.write_nifti(folder / name, array, **fields)
        return _written(path, change(path.read_bytes()))

    return make


def filled(value, array=ARRAY):
    copy = array.astype(np.float32)
    copy[1, 2, :3] = value
    return copy


def _written(path, content):
    path.write_bytes(content)
    return path


def _flip(position):
    return lambda content: content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :]


def _content():
    return nb.header_bytes(SHAPE) + ARRAY.tobytes(order="F")


def _members():
    content = _content()
    return b"".join(gzip.compress(content[i : i + 100]) for i in range(0, len(content), 100))


def _nifti2(dims, magic=b"n+2\0\r\n\x1a\n"):
    content = bytearray(544)
    struct.pack_into("<i8s", content, 0, 540, magic)
    struct.pack_into("<q", content, 16, dims)
    return bytes(content)


def _objects():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"an": "object"}]), allow_pickle=True)
    return buffer.getvalue()


def _special(kind):
    def make(folder):
        path = folder / "a.nii.gz"
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(path if kind == "loop" else "/dev/zero")
        return path

    return make


def claim(*dim, name="a.nii.gz"):
    return nifti(name, dim=[*dim, *[1] * (8 - len(dim))])


def srow(*values):
    return [float(v) for v in values]


SHEARED = srow(0.8, 0, 0, -10, 0, 0.9, 1.0, 20, 0, 0, 2.5, 30)
OBLIQUE = srow(0.7, -0.3, 0, -10, 0.3, 0.8, 0, 20, 0, 0, 2.5, 30)
NAN, INF = float("nan"), float("inf")
PIXDIM = {size: [1, 0.8, size, 2.5, 0, 0, 0, 0] for size in (0, -0.9, NAN)}
BIG_ENDIAN_LABEL = np.array([0, 2**24 + 1, 2147483653], np.uint32).reshape(3, 1, 1)

CUT = [
    Bad(5, f"cut_at_{part}_64ths", changed(lambda c, p=part: c[: len(c) * p // 64]), "truncated")
    for part in range(1, 64)
] + [
    Bad(6, f"without_last_{n}", changed(lambda c, n=n: c[:-n]), "truncated: the gzip stream ends early")
    for n in range(1, 9)
]

CONTAINER = [
    Bad(1, "empty", raw("a.nii.gz", b""), "empty file"),
    Bad(2, "text", raw("a.nii.gz", b"Dear radiologist,\n" * 99), "not a NIfTI file"),
    Bad(3, "plain_named_gz", raw("a.nii.gz", _content), remark="content is uncompressed", expected=ARRAY),
    Bad(4, "gz_named_plain", raw("a.nii", lambda: gzip.compress(_content())), remark="is gzip", expected=ARRAY),
    *CUT,
    Bad(7, "wrong_checksum", changed(_flip(-8)), "checksum does not fit"),
    Bad(7, "wrong_length", changed(_flip(-3)), "incorrect length check"),
    *[Bad(8, f"flipped_at_{p}", changed(_flip(p)), "damaged gzip|truncated") for p in (150, 300, 450, 600)],
    Bad(9, "garbage", changed(lambda c: c + b"garbage"), remark="7 bytes after the gzip stream", expected=ARRAY),
    Bad(9, "zeros", changed(lambda c: c + bytes(512)), remark="512 bytes after the gzip stream", expected=ARRAY),
    Bad(10, "members", raw("a.nii.gz", _members), expected=ARRAY),
    Bad(11, "one_byte_short", changed(lambda c: c[:-1], "a.nii"), "truncated: needs 1360 bytes, has 1359"),
    Bad(11, "half", changed(lambda c: c[: len(c) // 2], "a.nii"), "truncated: needs 1360 bytes, has 680"),
    Bad(12, "short_header", raw("a.nii", nb.header_bytes(SHAPE)[:200]), "truncated: 200 bytes; the header"),
    Bad(12, "short_header_gz", raw("a.nii.gz", gzip.compress(nb.header_bytes(SHAPE)[:200])), "truncated: 200"),
    Bad(16, "bomb_behind", raw("a.nii.gz", lambda: gzip.compress(_content() + bytes(3 << 20))), "extra bytes"),
    Bad(16, "small_tail", raw("a.nii.gz", lambda: gzip.compress(_content() + bytes(99))), remark="99 bytes after",
        expected=ARRAY),
    Bad(25, "hdr_alone", raw("a.hdr", nb.header_bytes(SHAPE, magic=b"ni1\0")[:348]), r"a\.img is missing"),
    Bad(25, "img_alone", raw("a.img", ARRAY.tobytes()), r"a\.hdr is missing"),
    *[Bad(56, kind, _special(kind), why) for kind, why in
      (("folder", "is a folder"), ("pipe", "device or pipe"), ("zero", "device or pipe"), ("loop", "cannot be read"))],
    Bad(58, "pickle", raw("a.nii", _objects), "not a NIfTI file"),
]  # fmt: skip

DIMENSIONS = [
    Bad(13, "30000_cubed", claim(3, 30000, 30000, 30000, name="a.nii"), r"2\.7e\+13 voxels exceeds"),
    Bad(13, "30000_cubed_in_gzip", claim(3, 30000, 30000, 30000), r"2\.7e\+13 voxels exceeds"),
    Bad(14, "8_gigabytes", claim(3, 2000, 2000, 1000), r"4e\+09 voxels exceeds the limit"),
    Bad(14, "2_gigabytes", claim(3, 1000, 1000, 1000), "truncated: .* bytes of gzip cannot hold"),
    Bad(15, "bomb_beyond_the_limit", changed(lambda c: gzip.compress(gzip.decompress(c) + bytes(1 << 22)),
        dim=[3, 1200, 1200, 1200, 1, 1, 1, 1]), r"1\.73e\+09 voxels exceeds"),
    Bad(17, "negative", claim(3, 9, -32, 7), "expected positive"),
    Bad(18, "zero", claim(3, 9, 0, 7), "empty volume"),
    Bad(18, "no_dimension", claim(0, 9, 8, 7), "empty volume"),
    Bad(19, "8_dimensions", claim(8, 9, 8, 7), "states 8 dimensions"),
    Bad(19, "minus_1_dimensions", claim(-1, 9, 8, 7), "states -1 dimensions"),
    Bad(43, "flat", claim(2, 9, 56), "2D; needs 3D"),
    Bad(43, "line", claim(1, 504), "1D; needs 3D"),
    Bad(44, "single_slice", nifti(array=ARRAY[..., :1]), expected=ARRAY[..., :1]),
    Bad(45, "one_volume_of_4d", nifti(array=ARRAY[..., None]), expected=ARRAY),
    Bad(46, "three_volumes", claim(4, 3, 8, 7, 3), "4D with 3 volumes"),
    Bad(47, "five_axes", claim(5, 3, 8, 7, 1, 3), "5D with 3 volumes"),
    Bad(57, "nifti2_of_200", raw("a.nii", _nifti2(200)), "states 200 dimensions"),
    Bad(57, "nifti2_as_text", raw("a.nii", _nifti2(3, b"n+2\0\n\x1a\n\0")), "text-mode transfer"),
    Bad(72, "one_voxel", nifti(array=ARRAY[:1, :1, :1]), remark="all voxels are", expected=ARRAY[:1, :1, :1]),
    Bad(73, "huge", claim(3, 2000, 2000, 1500), r"6e\+09 voxels exceeds"),
]  # fmt: skip

NUMBERS = [
    *[Bad(20, f"datatype_{code}", nifti(datatype=code), "unknown datatype code") for code in (0, 777, -4)],
    Bad(20, "one_bit", nifti(datatype=1), "1-bit voxels"),
    Bad(20, "float128", nifti(datatype=1536), "128-bit floats"),
    Bad(21, "bitpix", nifti(bitpix=32), remark="bitpix 32 does not fit", expected=ARRAY),
    *[Bad(row, f"vox_offset_{value:g}", nifti(vox_offset=value), "vox_offset .* whole number of at least 352")
      for row, values in ((22, (0, 100, 348)), (23, (NAN, INF, 1e30, -352, 352.5))) for value in values],
    Bad(24, "magic", nifti(magic=b"XXXX"), "no NIfTI magic"),
    Bad(24, "magic_of_a_pair", nifti(magic=b"ni1\0", vox_offset=0), r"expected \.hdr and \.img"),
    Bad(26, "slope_0", nifti(scl_slope=0), expected=ARRAY),
    Bad(26, "slope_0_inter_5", nifti(scl_slope=0, scl_inter=5), remark="used as stored", expected=ARRAY),
    *[Bad(27, f"slope_{slope:g}_inter_{inter:g}", nifti(scl_slope=slope, scl_inter=inter), "expected finite numbers")
      for slope, inter in ((NAN, 0), (INF, 0), (1, NAN), (1, -INF), (NAN, NAN))],
    Bad(27, "labels_with_slope_nan", nifti(scl_slope=NAN), remark="stored integers are used", expected=ARRAY,
        labels=True),
    Bad(28, "slope_negative", nifti(scl_slope=-2), remark="negative scl_slope", expected=-2 * ARRAY),
    Bad(28, "slope_3e38", nifti(scl_slope=3e38), "overflow float32"),
    Bad(40, "nan", nifti(array=filled(NAN)), "3 of 504 voxels are NaN"),
    Bad(41, "inf", nifti(array=filled(INF)), "3 of 504 voxels are infinite"),
    Bad(41, "nan_and_inf", nifti(array=filled([NAN, INF, -INF])), "2 of 504 voxels are infinite"),
    Bad(42, "all_nan", nifti(array=np.full(SHAPE, NAN, np.float32)), "all voxels are NaN"),
    Bad(42, "constant", nifti(array=np.full(SHAPE, 7, np.int16)), remark="all voxels are 7",
        expected=np.full(SHAPE, 7)),
    Bad(48, "rgb", nifti(datatype=128), "RGB colours"),
    Bad(48, "rgba", nifti(datatype=2304), "RGBA colours"),
    *[Bad(49, f"complex_{code}", nifti(datatype=code), "complex voxels") for code in (32, 1792, 2048)],
    Bad(50, "uint32_labels", nifti(array=BIG_ENDIAN_LABEL), expected=BIG_ENDIAN_LABEL, labels=True),
    Bad(50, "int64_labels", nifti(array=BIG_ENDIAN_LABEL.astype(np.int64) << 30), labels=True,
        expected=BIG_ENDIAN_LABEL.astype(np.int64) << 30),
    Bad(52, "label_of_a_half", nifti(array=filled(0.5)), "label value 0.5 among 3", labels=True),
    Bad(52, "label_of_nan", nifti(array=filled(NAN)), "label value nan among 3", labels=True),
]  # fmt: skip

PLACE = [
    Bad(29, "no_orientation", nifti(qform_code=0, sform_code=0), "no orientation"),
    Bad(30, "forms_apart", nifti(qoffset=[-10, 24, 33]), remark="up to 5 mm apart; the sform is used", expected=ARRAY),
    Bad(30, "forms_mirrored", nifti(pixdim=[-1, 0.8, 0.9, 2.5, 0, 0, 0, 0]), remark="mirror it", expected=ARRAY),
    *[Bad(31, f"pixdim_{size:g}", nifti(pixdim=pixdim), remark="pixdim states a spacing", expected=ARRAY)
      for size, pixdim in PIXDIM.items()],
    *[Bad(31, f"pixdim_{size:g}_without_sform", nifti(pixdim=pixdim, sform_code=0), f"spacing {size:g} mm along y")
      for size, pixdim in PIXDIM.items()],
    Bad(32, "srow_nan", nifti(srow=[NAN] + [0.0] * 11), "sform holds NaN"),
    Bad(32, "srow_inf", nifti(srow=[INF] + [0.0] * 11), "sform holds NaN or infinity"),
    Bad(32, "srow_zero", nifti(srow=[0.0] * 12), "sform is singular"),
    *[Bad(33, f"quaternion_{name}", nifti(quatern=values, sform_code=0), "qform is invalid and there is no sform")
      for name, values in (("too_long", [2, 2, 2]), ("nan", [NAN, 0, 0]), ("inf", [0, INF, 0]))],
    Bad(33, "quaternion_not_needed", nifti(quatern=[2, 2, 2]), remark="qform is invalid", expected=ARRAY),
    Bad(34, "singular", nifti(srow=srow(1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0)), "sform is singular"),
    Bad(34, "flat_axis", nifti(srow=srow(1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)), "sform is singular"),
    Bad(35, "shear", nifti(srow=SHEARED, qform_code=0), remark="sheared by 22 degrees", expected=ARRAY),
    Bad(36, "oblique", nifti(srow=OBLIQUE, qform_code=0), remark="pixdim", expected=ARRAY),
    *[Bad(38, f"spacing_{size:g}", nifti(srow=srow(0.8, 0, 0, 0, 0, 0.9, 0, 0, 0, 0, size, 0)), "implausible spacing")
      for size in (1e-8, 1e6)],
    Bad(39, "metres", nifti(xyzt_units=1), "implausible spacing"),
    Bad(39, "micrometres", nifti(xyzt_units=3), remark="micrometres", expected=ARRAY),
    Bad(39, "unknown_unit", nifti(xyzt_units=5), remark="unknown spatial unit", expected=ARRAY),
]  # fmt: skip

BAD = [*CONTAINER, *DIMENSIONS, *NUMBERS, *PLACE]
