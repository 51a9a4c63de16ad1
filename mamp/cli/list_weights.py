"""``mamp list``: the names of weights that ``from_pretrained`` knows."""

from __future__ import annotations

import argparse

from mamp.console import say_result
from mamp.hub import describe, list_pretrained

DESCRIPTION = "List the names of pretrained weights, and which of them are on this machine."
EXAMPLE = "mamp list"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command: it has none."""


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    found = map(describe, list_pretrained())
    entries = {facts["name"]: facts for facts in found}  # aliases have the entry of the full name
    lines = []
    for name, facts in entries.items():
        also = f" (or {', '.join(facts['aliases'])})" if facts["aliases"] else ""
        here = "on this machine" if facts["available"] else "not on this machine"
        lines += [f"{name}{also}: {here}", f"    {facts['description']}", f"    licence: {facts['licence']}"]
    say_result(args.json, {"weights": list(entries.values())}, "\n".join(lines))
    return 0
