"""Pages of commands: written to a file, and opened in the browser of this machine."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from mamp.outputs import output_file, write_whole


def add_page_options(parser: argparse.ArgumentParser) -> None:
    """Add where the page is written, and whether it is opened."""
    parser.add_argument("-o", "--output", type=Path, metavar="PAGE.html", help="the page [NAME.view.html here]")
    parser.add_argument("--no-browser", action="store_true", help="write the page, and do not open it")


def page_file(args: argparse.Namespace, name: str) -> Path:
    """The file to write a page to; by default one in the current folder that is named after what it shows.

    Raises:
        MAMPError: It cannot be written.
    """
    return output_file(args.output or Path(f"{Path(name).name}.view.html"))


def show_page(text: str, path: Path, browse: bool) -> str:
    """Write a page, and open it; returns what became of it, in a line."""
    write_whole(path, text)
    line = f"{path}: {len(text.encode()) / 1e6:.1f} MB"
    if not browse:
        return line
    opened = webbrowser.open(path.resolve().as_uri())
    return line if opened else f"{line}; no browser was found here, open the file in one"
