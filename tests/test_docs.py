"""The blocks of the pages in docs/ that stand on their own are run, in order, each page in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mamp.layouts import registry

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["evaluation", "layouts", "recordings"])
def test_blocks_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    assert len(blocks) >= 2
    binaries, folder = tmp_path / "bin", tmp_path / "folder"
    binaries.mkdir()
    folder.mkdir()
    for name, module in (("mamp", "-m mamp"), ("python", "")):
        (binaries / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (binaries / name).chmod(0o755)
    env = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    monkeypatch.chdir(folder)
    monkeypatch.setattr("mamp.layouts.registry._registry", dict(registry._registry))
    names = {"__name__": "__main__"}  # later blocks go on with what earlier ones have
    for language, block in blocks:
        if language == "python":
            exec(compile(block, f"docs/{page}.md", "exec"), names)
            continue
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
