"""The python and bash blocks of every page in docs/ are run, in order, each page in an empty folder."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from mamp import MAMPConfig
from mamp.layouts import layout as registry
from mamp.pretraining import MAMPForPretraining

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


SLOW = {"bodies", "evaluation", "pictures", "pretraining", "recordings", "segment", "view"}
# Packages of extras that pages need.
NEEDS = {
    "deploy": ("onnx", "onnxscript", "onnxruntime", "openvino"),
    "pictures": ("matplotlib", "imageio_ffmpeg", "sklearn"),
    "quickstart": ("lancedb",),
    "search": ("lancedb",),
    "segment": ("ruptures",),
    "view": ("lancedb",),
}


def marks(page: str) -> list[pytest.MarkDecorator]:
    missing = [package for package in NEEDS.get(page, ()) if find_spec(package) is None]
    lacking = pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: make setup-all")
    return [lacking, *([pytest.mark.slow] if page in SLOW else [])]


PAGES = [
    pytest.param(path.stem, marks=marks(path.stem))
    for path in sorted((ROOT / "docs").glob("*.md"))
    if BLOCK.search(path.read_text(encoding="utf-8"))
]


@pytest.fixture
def published_checkpoint(tmp_path: Path) -> Path:
    """A file such as the published code writes, with the keys and sizes of its pre-training model."""
    model = MAMPForPretraining(MAMPConfig(), decoder_depth=1)
    state = {"model": model.state_dict(), "epoch": 399, "args": argparse.Namespace(model_args={"num_heads": 8})}
    torch.save(state, tmp_path / "checkpoint-399.pth")
    return tmp_path / "checkpoint-399.pth"


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_a_page_run(
    page: str, tmp_path: Path, published_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    binaries, folder = tmp_path / "bin", tmp_path / "folder"
    binaries.mkdir()
    folder.mkdir()
    published_checkpoint.rename(folder / published_checkpoint.name)
    for name, module in (("mamp", "-m mamp"), ("python", "")):
        (binaries / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (binaries / name).chmod(0o755)
    monkeypatch.delenv("MAMP_WEIGHTS", raising=False)
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"HF_HUB_OFFLINE": "1", "PATH": path, "PYTHONPATH": str(ROOT)}
    monkeypatch.chdir(folder)
    monkeypatch.setattr("mamp.layouts.layout.REGISTRY", dict(registry.REGISTRY))
    names = {"__name__": "__main__"}  # later blocks go on with what earlier ones have
    for language, block in blocks:
        if language == "python":
            exec(compile(block, f"docs/{page}.md", "exec"), names)
            continue
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"


def test_formats_and_layouts_of_the_docs_are_those_of_the_package() -> None:
    from mamp import list_layouts
    from mamp.readers import formats

    table = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8").partition("## ")[0]
    for name, known in formats().items():
        assert f"| `{name}` |" in table, name
        for suffix in known.suffixes:
            assert f"`{suffix}`" in table, suffix
    overview = (ROOT / "docs" / "layouts.md").read_text(encoding="utf-8")
    bodies = (ROOT / "docs" / "bodies.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\| \[?`(\w+)`", overview + bodies, re.MULTILINE))
    assert {name for name in list_layouts() if name != "bvh"} <= shown


def test_weights_of_the_docs_are_those_of_the_package() -> None:
    from mamp import list_pretrained

    text = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    assert set(re.findall(r"`([\w-]+)`", " ".join(rows))) == set(list_pretrained())
