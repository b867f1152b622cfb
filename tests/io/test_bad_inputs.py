"""Every row of the table of bad inputs has a test; those about files are these."""

import ast
import re
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from bad_input_rows import ELSEWHERE
from bad_inputs import BAD

from medfs.errors import ExitCode, InputError
from medfs.io import read_image, read_labels

LONGEST_S = 10.0
MOST_BYTES = 64 << 20  # for files of a few hundred voxels; a claim of gigabytes takes no more


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_a_bad_file_is_one_line_or_read_right_within_bounds(tmp_path, bad):
    path = bad.make(tmp_path)
    read = read_labels if bad.labels else read_image
    tracemalloc.start()
    start = time.perf_counter()
    try:
        if bad.refused:
            with pytest.raises(InputError, match=bad.refused) as caught:
                read(path)
            assert caught.value.exit_code is ExitCode.SOME_FAILED
            lines = [str(caught.value)]
        else:
            volume = read(path)
            np.testing.assert_array_equal(volume.array, bad.expected)
            assert np.isfinite(volume.affine).all()
            lines = list(volume.warnings)
            assert bool(lines) == bool(bad.remark)
            assert any(bad.remark in line for line in lines) or not bad.remark
    finally:
        seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert all(line.startswith(f"{path.name}: ") and "\n" not in line for line in lines)
    assert seconds < LONGEST_S
    assert peak < MOST_BYTES


def test_every_row_of_the_table_is_tested_here_or_there_or_is_open():
    here = {bad.row for bad in BAD}
    assert here | set(ELSEWHERE) == set(range(1, 87))
    assert len(BAD) >= 120
    assert len({bad.id for bad in BAD}) == len(BAD)


@pytest.mark.parametrize("row", ELSEWHERE, ids=lambda row: f"row_{row}")
def test_a_row_that_is_tested_elsewhere_is(row):
    root = Path(__file__).parents[1]
    for test in ELSEWHERE[row]:
        file, _, name = test.partition("::")
        tree = ast.parse((root / file).read_text("utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, test
        assert re.match("test_", name)
