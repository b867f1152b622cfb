"""The ``medfs`` command in this process."""

import signal
from typing import NamedTuple

import pytest


class Outcome(NamedTuple):
    """What a finished command leaves."""

    code: int
    out: str
    err: str


@pytest.fixture
def medfs(capsys, monkeypatch):
    """Run ``medfs`` with some arguments, as the shell would."""
    from medfs.cli.main import main

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("COLUMNS", "100")
    for command in ("segment", "scans", "pictures", "supervoxels"):  # a child process would print elsewhere
        monkeypatch.setattr(f"medfs.cli.{command}.supervise", lambda output, timeout_min: None)

    def run(*arguments) -> Outcome:
        monkeypatch.setattr("sys.argv", ["medfs", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        return Outcome(caught.value.code, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, before)
