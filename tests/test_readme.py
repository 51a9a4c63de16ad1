"""Every python and bash block of the README is run, in order, in one empty folder.

The one exception, and it is visible: lines that set up a machine (SETUP below) are not run but checked.
"""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import operator
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mamp.layouts import layout as registry

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [
    (README.count("\n", 0, match.start()) + 1, match[1], match[2])
    for match in re.finditer(r"^```(python|bash|console|sh)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
]

SETUP = re.compile(r"^(git clone|cd|make|pip install|python -m pip install)\b")
# What cannot run in a tree that has no bundled weights (yet), or needs the output of what cannot.
NEEDS_WEIGHTS = re.compile(
    r"from_pretrained\(\)|mamp (embed|demo)|openmocap|examples/(quickstart|embed)|recordings/|embeddings\.npz"
)
NEEDS_SEARCH = re.compile(r"mamp (index|search)\b|mamp\.search")
HAS_LANCE = importlib.util.find_spec("lancedb") is not None
BUNDLED = (ROOT / "weights" / "openmocap" / "model.safetensors").exists()


def check_setup(line: str) -> None:
    """A line that is not run must at least be possible."""
    makefile = (ROOT / "Makefile").read_text()
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    for target in re.findall(r"\bmake (\w+)", line):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target} in the Makefile"
    for extra in re.findall(r"\[(\w+)\]", line):
        assert extra in config["options.extras_require"], f"no extra {extra} in setup.cfg"


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """An empty folder with what the README takes as given, and an environment in which ``mamp`` is a command."""
    folder, binaries = tmp_path / "folder", tmp_path / "bin"
    folder.mkdir()
    binaries.mkdir()
    for name, module in (("mamp", "-m mamp"), ("python", "")):
        (binaries / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (binaries / name).chmod(0o755)
    (folder / "examples").symlink_to(ROOT / "examples")  # the README is read in a checkout
    env = {name: value for name, value in os.environ.items() if name != "MAMP_WEIGHTS"}
    path = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    return folder, env | {"PATH": f"{binaries}{os.pathsep}{env['PATH']}", "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


def test_every_block_runs(place: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, env = place
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MAMP_WEIGHTS", raising=False)
    monkeypatch.setattr("mamp.layouts.layout.REGISTRY", dict(registry.REGISTRY))  # blocks may register layouts
    left_out, without = [], []
    for number, language, text in BLOCKS:
        if language != "python":
            lines = [line.removeprefix("$ ") for line in text.splitlines()]
            for line in lines:
                if SETUP.match(line):
                    check_setup(line)
            text = "\n".join(line for line in lines if not SETUP.match(line))
        if NEEDS_WEIGHTS.search(text) and not BUNDLED:
            left_out.append(number)
            continue
        if NEEDS_SEARCH.search(text) and not HAS_LANCE:
            without.append(number)
            text = "\n".join(line for line in text.splitlines() if not NEEDS_SEARCH.search(line))
        if language == "python":
            exec(compile(text, f"README.md, block at line {number}", "exec"), {"__name__": "__main__"})
        elif text:
            command = ["bash", "-euo", "pipefail", "-c", text]
            done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
            assert done.returncode == 0, f"README.md line {number}:\n{text}\n{done.stdout}{done.stderr}"
    if left_out:
        pytest.skip(f"no weights/openmocap yet: not run are the blocks at lines {left_out}")
    if without:
        pytest.skip(
            f"needs lancedb (make setup-all): mamp index and search of the blocks at lines {without} were not run"
        )


def test_blocks_are_found() -> None:
    assert len(BLOCKS) == len(re.findall(r"^```(?!bibtex)\w+$", README, re.MULTILINE)) >= 7
    quick = next(text for _, language, text in BLOCKS if language == "python")
    assert len([line for line in quick.splitlines() if line]) <= 5


def test_what_the_readme_names_exists() -> None:
    for path in re.findall(r"`((?:mamp|docs|weights|examples|tests|\.ci)/[\w./-]*)`", README):
        if not path.startswith("weights/openmocap") or BUNDLED:
            assert (ROOT / path).exists(), path
    for target in re.findall(r"`make (\w+)`", README):
        check_setup(f"make {target}")


def test_readme_is_short() -> None:
    assert README.count("\n") <= 150


def test_paper_is_where_the_readme_says() -> None:
    table = README.partition("## The paper, and where it is")[2].partition("## ")[0]
    rows = re.findall(r"^\| .* \| `(mamp/[\w/]+)\.py` \| (.*) \|$", table, re.MULTILINE)
    assert len(rows) == 5
    for file, names in rows:
        module = importlib.import_module(file.replace("/", "."))
        for name in re.findall(r"`([\w.]+)`", names):
            found = operator.attrgetter(name)(module)
            assert found.__module__ == module.__name__, f"{name} is in {found.__module__}"


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_pictures_are_small() -> None:
    for path in (ROOT / "docs" / "images").glob("*.*"):
        assert path.stat().st_size < (1_500_000 if path.suffix == ".gif" else 200_000), path.name
