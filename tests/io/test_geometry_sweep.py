"""Every axis order, straight or oblique, under every pair of forms: labels keep the geometry bytes of their image."""

import itertools

import nibabel as nib
import nifti_bytes as nb
import numpy as np
import pytest
from geometries import FORM_CODES, each_turn

from medfs.io import read_image, read_labels, write_labels

SHAPE = (4, 3, 2)
ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
SPACING_MM = (0.8, 0.9, 2.5)


def fields(order, angles, forms):
    """The header fields of one geometry; where the forms differ, the sform is turned a little and moved."""
    axes, signs = order
    matrix = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[axis, column] = sign
    rotation = nib.eulerangles.euler2mat(*angles) @ matrix
    qfac = -1.0 if np.linalg.det(rotation) < 0 else 1.0
    quaternion = nib.quaternions.mat2quat(rotation * [1, 1, qfac])
    other = nib.eulerangles.euler2mat(0.1, 0, 0) @ rotation if forms == "differing" else rotation
    offset = [-10.5, 20.25, 30.125]
    shift = 7.0 if forms == "differing" else 0.0
    qform_code, sform_code = FORM_CODES[forms]
    return {
        "pixdim": [qfac, *SPACING_MM, 0, 0, 0, 0],
        "quatern": (quaternion[1:] * np.sign(quaternion[0] or 1)).tolist(),
        "qoffset": offset,
        "srow": np.column_stack([other * SPACING_MM, np.add(offset, shift)]).ravel().tolist(),
        "qform_code": qform_code,
        "sform_code": sform_code,
        "xyzt_units": 2,
    }


@pytest.mark.parametrize("forms", FORM_CODES)
@each_turn
def test_geometry_bytes_are_those_of_the_image(tmp_path, angles, forms):
    assert len(ORDERS) == 48
    labels = np.arange(24, dtype=np.uint8).reshape(SHAPE)
    for order, endian, suffix in itertools.product(ORDERS, "<>", (".nii", ".nii.gz")):
        if (endian == "<") == (suffix == ".nii"):
            continue
        header = fields(order, angles, forms)
        source = nb.write_nifti(tmp_path / f"image{suffix}", nb.voxels(SHAPE), order=endian, **header)
        image, target = read_image(source), tmp_path / f"labels{suffix}"
        write_labels(target, labels, like=image)
        written, expected = nb.content_of(target), nb.header_bytes(SHAPE, **header)
        assert all(written[block] == expected[block] for block in nb.GEOMETRY), order
        again = read_labels(target)
        np.testing.assert_array_equal(again.affine, image.affine)
        np.testing.assert_array_equal(again.array, labels)
        assert nib.load(target).shape == SHAPE
        used = nib.load(source).get_qform() if forms == "qform" else nib.load(source).get_sform()
        np.testing.assert_allclose(image.affine, used, atol=1e-5)
        apart = [line for line in image.warnings if "apart" in line]
        assert bool(apart) == (forms == "differing")
