"""The memory that is announced before a folder is begun."""

import numpy as np

from medfs.inference.memory import largest_bytes
from medfs.io import Volume, write_image


def scan(path, shape, spacing_mm=1.0):
    volume = Volume.from_array(np.zeros(shape, np.float32), np.diag([-spacing_mm, spacing_mm, spacing_mm, 1.0]))
    write_image(path, volume.array, volume)
    return path


def test_the_largest_scan_counts_and_unreadable_ones_do_not(tmp_path):
    small, large = scan(tmp_path / "s.nii.gz", (10, 10, 10)), scan(tmp_path / "l.nii.gz", (100, 80, 60))
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    alone = largest_bytes([large], None, 4)
    assert largest_bytes([small, tmp_path / "bad.nii.gz", large, tmp_path / "missing.nii"], None, 4) == alone
    assert alone > largest_bytes([small], None, 4) > 0
    assert largest_bytes([tmp_path / "bad.nii.gz"], None, 4) == 0


def test_a_finer_working_grid_and_more_scores_take_more(tmp_path):
    path = scan(tmp_path / "a.nii.gz", (50, 40, 30), spacing_mm=2.0)
    coarse, fine = (largest_bytes([path], [mm] * 3, 10) for mm in (2.0, 1.0))
    more = largest_bytes([path], [1.0] * 3, 20)
    assert fine - coarse == 7 * 60_000 * 4 * 16
    assert more - fine == 8 * 60_000 * 4 * 10
