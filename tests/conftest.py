"""Fixtures that many tests share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A shell ignores Ctrl-C for what it starts in the background, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Small golden files of the published implementation, kept with the tests."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the full golden data and real recordings; tests that need it are skipped where it is absent."""
    path = ROOT.parent / "shared"
    if not (path / "reference").is_dir():
        pytest.skip("needs the shared reference data, which is not part of the project")
    return path
