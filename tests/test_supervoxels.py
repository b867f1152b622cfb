import json

import nibabel as nib
import numpy as np
import pytest

from medfs.supervoxels import felzenszwalb_3d


@pytest.mark.parametrize("index", range(5))
def test_reference_supervoxels(reference, real_data, index):
    cases = json.loads((reference / "supervoxels" / "index.json").read_text())
    for case in cases[index::5]:
        image = nib.load(real_data / case["image"])
        labels = felzenszwalb_3d(
            np.asarray(image.dataobj),
            scale=case["scale"],
            sigma_mm=case["sigma"],
            min_size=case["min_size"],
            spacing_mm=[float(size) for size in image.header.get_zooms()],
        )
        expected = np.asarray(nib.load(reference / "supervoxels" / case["partition"]).dataobj)
        assert np.array_equal(labels, expected), case["partition"]
