import subprocess
import sys

import pytest

HEAVY = {"torch", "monai", "matplotlib", "SimpleITK", "scipy", "numpy", "nibabel", "transformers", "open_clip"}
PROBE = "import sys; {}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"


def loaded_by(statement):
    answer = subprocess.run([sys.executable, "-c", PROBE.format(statement)], check=True, capture_output=True, text=True)
    return set(answer.stdout.split())


@pytest.mark.subprocess
@pytest.mark.parametrize("module", ["medfs.cli.main", "medfs.anatomy", "medfs.errors"])
def test_what_every_command_needs_loads_nothing_heavy(module):
    assert not loaded_by(f"import {module}") & HEAVY


@pytest.mark.subprocess
def test_reading_and_writing_files_needs_neither_torch_nor_monai():
    assert not loaded_by("import medfs.io, medfs.io.bundles") & {"torch", "monai", "matplotlib"}
