"""Scans that many tests draw from, written once."""

import pytest
from marked_cases import write_marked

from medfs.fewshot import prepare_case


@pytest.fixture(scope="session")
def marked_cases(tmp_path_factory):
    """Prepared marked cases, as many as wanted, of organs or of supervoxels."""
    folder = tmp_path_factory.mktemp("marked")
    cases = write_marked(folder, 6)
    ready = {
        organs: [
            prepare_case(c, c.label if organs else folder / "supervoxels" / c.image.name, folder / "cache")
            for c in cases
        ]
        for organs in (False, True)
    }
    return lambda mode, count=6: ready[mode.needs_organs][:count]
