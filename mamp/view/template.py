"""Pages in one file: a template with style, script, description and arrays put in."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from mamp.outputs import plain


def asset(name: str) -> str:
    """A file that ``viewer/build.mjs`` built: ``viewer.js``, ``players.js``, ``viewer.css``, ``page.html``, ..."""
    return (files("mamp.view") / "assets" / name).read_text(encoding="utf-8")


def json_for_page(value: Any) -> str:
    """JSON that can stand in a ``script`` element."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def fill(template: str, parts: Mapping[str, str]) -> str:
    """Put parts in the place of ``{{name}}``; what is put in is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def whole_page(title: str, description: Any, block: str) -> str:
    """The page that plays what is described."""
    parts = {
        "title": html.escape(title),
        "style": asset("viewer.css"),
        "script": asset("viewer.js").replace("</script", "<\\/script"),
        "data": json_for_page(description),
        "block": block,
    }
    return fill(asset("page.html"), parts)
