"""``mamp list``: the names of weights that ``from_pretrained`` knows."""

from __future__ import annotations

import argparse
from typing import Any

from mamp.cli.command import Command
from mamp.console import say_result
from mamp.hub import describe, list_pretrained


def _run(args: argparse.Namespace) -> int:
    entries: dict[str, dict[str, Any]] = {}
    for name in list_pretrained():
        facts = describe(name)
        entries.setdefault(facts["name"], facts)  # short names lead to the entry of the full one
    lines = []
    for name, facts in entries.items():
        also = f" (or {', '.join(facts['aliases'])})" if facts["aliases"] else ""
        here = "on this machine" if facts["available"] else "not on this machine"
        lines += [f"{name}{also}: {here}", f"    {facts['description']}", f"    licence: {facts['licence']}"]
    say_result(args.json, {"weights": list(entries.values())}, "\n".join(lines))
    return 0


COMMAND = Command(
    name="list",
    help="list the names of pretrained weights",
    example="mamp list",
    run=_run,
)
