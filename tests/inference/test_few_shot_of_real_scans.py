"""A real scan as support of another: how a file is stored does not matter."""

import nibabel as nib
import numpy as np
import pytest

from medfs.anatomy import label_set
from medfs.inference.fewshot import FewShotSegmenter, untrained_segmentor
from medfs.inference.working_grid import LabelledScan
from medfs.io import Volume, read_image


@pytest.fixture(scope="module")
def segmenter(real_data):
    chaos = real_data / "chaost2_mr"
    support = LabelledScan.read(chaos / "images" / "image_1.nii.gz", chaos / "labels" / "label_1.nii.gz")
    return FewShotSegmenter(untrained_segmentor(), [support], label_set("chaos"), size=48, calibrate=True)


@pytest.mark.parametrize("codes", ["RAS", "PSR", "ILA"])
def test_a_scan_stored_in_another_axis_order_gets_the_same_labels(segmenter, real_data, codes):
    volume = read_image(real_data / "chaost2_mr" / "images" / "image_22.nii.gz")  # oblique
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(volume.affine), nib.orientations.axcodes2ornt(codes)
    )
    array = np.ascontiguousarray(nib.orientations.apply_orientation(volume.array, turn))
    affine = volume.affine @ nib.orientations.inv_ornt_aff(turn, volume.array.shape)
    plain, turned = segmenter(volume), segmenter(Volume.from_array(array, affine))
    assert len(np.unique(plain)) > 2
    agreement = (turned == nib.orientations.apply_orientation(plain, turn)).mean()
    assert agreement > 0.999
