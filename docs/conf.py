"""How Sphinx builds the site: ``make docs``, or ``python -m sphinx -W docs build/site``."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import mamp

ROOT = Path(__file__).resolve().parents[1]
# Files beside docs/ have pages here, which include them; search.html is the page on which Sphinx shows what it found.
MOVED = {"../README": "index", "../CONTRIBUTING": "contributing", "../CHANGELOG": "changelog", "search": "archive"}

project = "mamp"
author = copyright = "the authors of mamp"
release = version = mamp.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["search.md", "_examples", "gallery/*.ipynb"]
templates_path = ["_templates"]

# Pages are written in Markdown that GitHub shows too.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]

html_theme = "furo"
html_title = "mamp"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#5b2bb5", "color-brand-content": "#5b2bb5"},
    "dark_css_variables": {"color-brand-primary": "#b79bff", "color-brand-content": "#b79bff"},
}
pygments_style, pygments_dark_style = "friendly", "github-dark"
copybutton_exclude = ".linenos, .gp, .go"

# Signatures as they are written, types included.
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"FloatArray": "numpy.ndarray", "ArrayLike": "ArrayLike"}
autodoc_default_options = {"members": True, "show-inheritance": False}
autosummary_generate = True
python_maximum_signature_line_length = 90
napoleon_use_rtype = False
napoleon_use_ivar = True

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing of the site needs a network, and nothing is to ask for one
RUN = (
    "quickstart",
    "plot_neighbours",
    "plot_timeline",
    "plot_repetitions",
    "time_series",
)  # the others need files or a camera


def in_order(file: str) -> tuple[int, str]:
    """Where an example stands in the gallery: those with output come first."""
    name = file.removesuffix(".py")
    return (RUN.index(name) if name in RUN else len(RUN), name)


# The scripts alone: sphinx-gallery takes a folder with a README, such as examples/app, for a gallery of its own.
SCRIPTS = Path(__file__).with_name("_examples")
shutil.rmtree(SCRIPTS, ignore_errors=True)
SCRIPTS.mkdir()
for script in (ROOT / "examples").iterdir():
    if script.is_file():
        shutil.copy2(script, SCRIPTS)
sphinx_gallery_conf = {
    "examples_dirs": "_examples",
    "gallery_dirs": "gallery",
    "filename_pattern": rf"/({'|'.join(RUN)})\.py$",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "capture_repr": (),
    "min_reported_time": 1000,
    "within_subsection_order": in_order,
    "abort_on_example_error": True,
}


def _relink(app: Any, docname: str, source: list[str]) -> None:
    """Lead links to where a page is here."""
    for file, page in MOVED.items():
        source[0] = source[0].replace(f"]({file}.md", f"]({page}.md")
    source[0] = re.sub(r"\]\(\.\./examples/(\w+)\.py", r"](gallery/\1.rst", source[0])


def _mathml(translator: Any, node: nodes.math | nodes.math_block) -> None:
    """Formulas as MathML, which browsers draw themselves: no script, no network."""
    block = isinstance(node, nodes.math_block)
    text = tex2mathml(node.astext(), as_block=block)
    translator.body.append(f'<div class="math">{text}</div>' if block else text)
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _relink)
    app.add_html_math_renderer("mathml", inline_renderers=(_mathml, None), block_renderers=(_mathml, None))
