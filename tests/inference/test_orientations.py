"""The same scan in every axis order, straight or oblique, in memory or through files, gives the same labels."""

import nibabel as nib
import numpy as np
import pytest
import torch
from geometries import FORM_CODES, ORIENTATIONS, TURNS, turned
from scipy import ndimage
from tiny_run import NAMES, make_run
from torch import nn

from medfs.inference import Segmenter
from medfs.io import Volume, read_image

QUARTER_TURN = np.array([[0.0, -1, 0, 7], [1, 0, 0, -5], [0, 0, 1, 3], [0, 0, 0, 1]])


class Bands(nn.Module):
    """A fixed network: bands of the mean of a voxel and its neighbours to the right, in front and above."""

    def __init__(self):
        super().__init__()
        kernel = torch.zeros(1, 1, 3, 3, 3)
        kernel[0, 0, 1, 1, 1], kernel[0, 0, 2, 1, 1], kernel[0, 0, 1, 2, 1], kernel[0, 0, 1, 1, 2] = 0.4, 0.3, 0.2, 0.1
        self.register_buffer("kernel", kernel)
        self.register_buffer("levels", torch.linspace(0.1, 0.9, len(NAMES)).view(1, -1, 1, 1, 1))

    def forward(self, image):
        mean = nn.functional.conv3d(nn.functional.pad(image, (1,) * 6, mode="replicate"), self.kernel)
        return -((mean - self.levels) ** 2)


@pytest.fixture(scope="module")
def analytic(tmp_path_factory):
    segmenter = Segmenter(make_run(tmp_path_factory.mktemp("run")), device="cpu")
    segmenter.network = Bands()
    return segmenter


def scan(angles):
    """Blobs on a coarse grid whose spacings are no simple fractions of the working one."""
    array = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(13, 11, 9)), 1.5)
    affine = np.diag([14.3, 12.4, 17.0, 1.0])
    affine[:3, :3] = nib.eulerangles.euler2mat(*angles) @ affine[:3, :3]
    affine[:3, 3] = (-80, -60, 20)
    return Volume.from_array((array / np.abs(array).max() * 200 + 75).astype(np.float32), affine)


@pytest.mark.parametrize("angles", TURNS)
def test_all_48_axis_orders_give_the_same_labels(analytic, angles):
    volume = scan(angles)
    expected = analytic(volume)
    assert len(np.unique(expected)) == len(NAMES)
    assert len(ORIENTATIONS) == 48
    for codes in ORIENTATIONS:
        other, back = turned(volume, codes)
        assert (back(analytic(other)) != expected).mean() < 0.002, codes


@pytest.mark.parametrize("forms", FORM_CODES)
@pytest.mark.parametrize("angles", TURNS)
def test_files_in_48_axis_orders_give_the_labels_of_the_exact_geometry(analytic, tmp_path, angles, forms):
    """Headers hold single precision: nothing may depend on the last digits, whichever form places the scan."""
    volume, path = scan(angles), tmp_path / "scan.nii"
    expected = analytic(volume)
    for codes in ORIENTATIONS:
        other, back = turned(volume, codes)
        image = nib.Nifti1Image(other.array, other.affine)
        elsewhere = QUARTER_TURN @ other.affine if forms == "differing" else other.affine  # not what places the scan
        qform_code, sform_code = FORM_CODES[forms]
        image.set_qform(elsewhere, code=qform_code)
        image.set_sform(other.affine, code=sform_code)
        nib.save(image, path)
        assert (back(analytic(read_image(path))) != expected).mean() < 0.002, codes


def test_eleven_real_axis_orders_give_one_segmentation(analytic, real_data):
    results = []
    for path in sorted((real_data / "awkward_files" / "orientations").iterdir()):
        volume = read_image(path)
        scaled = Volume.from_array(volume.array * (400 / volume.array.max()) - 125, volume.affine)
        results.append(nib.apply_orientation(analytic(scaled), nib.io_orientation(volume.affine)))
    assert len(results) == 11
    assert len(np.unique(results[0])) > 2
    for other in results[1:]:
        assert (other != results[0]).mean() < 0.002
