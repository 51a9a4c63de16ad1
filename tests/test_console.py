"""How commands begin and end: Ctrl-C during imports, and standard streams that are closed or full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (
    ("mamp", "list"),
    ("mamp", "embed", "--help"),
    ("mamp.train", "--help"),
    ("mamp.evaluate", "--help"),
)
# Ctrl-C while torch is being imported; what it raises may be swallowed there.
INTERRUPTED_TORCH = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass
except BaseException:
    pass
raise ImportError("torch went on after Ctrl-C")
"""


def module(name: str, *words: str, redirect: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m name words`` with ``redirect`` of the shell, without unbuffered output."""
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"} | environment
    line = f'exec "$0" -m {" ".join((name, *words))} {redirect}'
    return subprocess.run(["sh", "-c", line, sys.executable], env=variables, capture_output=True, text=True)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_ctrl_c_during_imports(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(INTERRUPTED_TORCH)
    paths = os.pathsep.join([str(tmp_path), str(Path.cwd())])
    done = module(*command, PYTHONPATH=paths)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    "command", [("mamp", "--help"), ("mamp", "--version"), ("mamp.prepare", "--help")], ids=" ".join
)
def test_help_does_without_torch(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('torch takes seconds')")
    done = module(*command, PYTHONPATH=os.pathsep.join([str(tmp_path), str(Path.cwd())]))
    assert (done.returncode, done.stderr) == (0, "") and "mamp" in done.stdout


def test_ctrl_c_of_a_program_that_uses_the_package(tmp_path: Path) -> None:
    program = "import signal, mamp; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("command", "redirect", "status", "line"),
    [
        (("mamp", "list"), ">&-", 141, ""),
        (("mamp", "list"), ">/dev/full", 1, "mamp list: error: [Errno 28] No space left on device\n"),
        (("mamp", "--help"), ">/dev/full", 1, "mamp: error: [Errno 28] No space left on device\n"),
        (("mamp.train", "--list"), ">/dev/full", 1, "mamp: error: [Errno 28] No space left on device\n"),
        (("mamp.evaluate", "--list"), ">&-", 141, ""),
        (("mamp", "nothing"), "2>&-", 2, ""),
        (("mamp", "demo"), ">/dev/null 2>&-", 0, ""),
    ],
)
def test_standard_streams_that_take_nothing(command: tuple[str, ...], redirect: str, status: int, line: str) -> None:
    if "/dev/full" in redirect and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = module(*command, redirect=redirect)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", line)


@pytest.mark.parametrize(
    "command",
    [("mamp", "list"), ("mamp", "--help"), ("mamp.train", "--list"), ("mamp.evaluate", "--list", "--json")],
    ids=" ".join,
)
def test_reader_that_has_gone(command: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=variables, stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
