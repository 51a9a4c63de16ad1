"""The documentation site is built without a warning, its links lead somewhere, and its examples were run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# In the order of what a machine without the extra docs lacks first.
PACKAGES = ("sphinx", "myst_parser", "furo", "sphinx_gallery", "sphinx_design", "sphinx_copybutton", "sklearn")


def links() -> object:
    """docs/check_links.py as a module."""
    spec = importlib.util.spec_from_file_location("check_links", ROOT / "docs" / "check_links.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy: Sphinx writes beside its sources."""
    for package in PACKAGES:
        pytest.importorskip(package, reason="needs the extra docs: make setup-all")
    tree = tmp_path_factory.mktemp("site")
    for name in ("docs", "examples"):
        shutil.copytree(
            ROOT / name, tree / name, ignore=shutil.ignore_patterns("_examples", "api", "gallery", "__pycache__")
        )
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tree)
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "site"]
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tree / "site"


def test_every_link_and_anchor_leads_somewhere(site: Path) -> None:
    assert list(links().dead_links(site)) == []


def test_every_page_is_there_and_asks_for_no_network(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages == {path.stem for path in site.glob("*.html")} - {"genindex", "py-modindex"}
    assert "IVF" in (site / "archive.html").read_text()  # docs/search.md: search.html is Sphinx's own
    for path in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(https?:[^"]+)"', path.read_text())
        assert [link for link in loaded if "canonical" not in link] == [], path.name


def test_examples_were_run_and_drew_pictures(site: Path) -> None:
    for name, output in (("quickstart", "tokens"), ("plot_neighbours", "walk-1"), ("plot_repetitions", "repetitions")):
        page = (site / "gallery" / f"{name}.html").read_text(encoding="utf-8")
        assert "sphx-glr-script-out" in page and output in page, name
    drawn = {path.name for path in (site / "_images").glob("sphx_glr_plot_*_001.png")}
    assert drawn == {f"sphx_glr_plot_{name}_001.png" for name in ("neighbours", "repetitions", "timeline")}


def test_formulas_are_drawn_by_the_browser(site: Path) -> None:
    page = (site / "method.html").read_text(encoding="utf-8")
    assert page.count("<math ") > 8 and "<mfrac>" in page


def test_public_names_are_in_the_reference(site: Path) -> None:
    import mamp

    listed = (site / "api.html").read_text(encoding="utf-8")
    for name in mamp.__all__:
        anchor = f"mamp.{name}" if name != "MAMPError" else "mamp.errors.MAMPError"
        assert f"{anchor}" in listed, name


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<a href="other.html#here">a</a> <a href="other.html#gone">b</a> <a href="#own">c</a> <p id="own">'
        '<img src="missing.png"> <a href="https://example.org/x">d</a> <a href="folder/">e</a>'
    )
    (tmp_path / "other.html").write_text('<h1 id="here">')
    assert list(links().dead_links(tmp_path)) == [
        "index.html: other.html#gone", "index.html: missing.png", "index.html: folder/"
    ]  # fmt: skip


def test_pictures_of_the_docs_are_small() -> None:
    pictures = list((ROOT / "docs" / "images").glob("*.png"))
    assert all(path.stat().st_size < 250_000 for path in pictures), [path.name for path in pictures]
