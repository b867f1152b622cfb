"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).is_dir():
        pytest.skip(f"{variable} names no folder")
    return Path(value)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real labelled scans."""
    return _folder("MEDFS_REAL_DATA")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of inputs and outputs of the published networks."""
    return _folder("MEDFS_REFERENCE")
