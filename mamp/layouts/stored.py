"""Layouts as JSON: beside stores and weights of a body of its own, and in files that users write.

```json
{
  "name": "gripper5",
  "joints": {"wrist": null, "left_knuckle": "wrist", "left_tip": "left_knuckle",
             "right_knuckle": "wrist", "right_tip": "right_knuckle"},
  "pairs": [["left_knuckle", "right_knuckle"], ["left_tip", "right_tip"]],
  "parts": {"left": ["left_knuckle", "left_tip"], "right": ["wrist", "right_knuckle", "right_tip"]},
  "center": "wrist"
}
```

``joints`` names the parent of each joint, in the order of the positions. Everything after it may be left out; see
:class:`~mamp.layouts.layout.Layout`. ``body`` and ``mapping`` make it another layout of a known body.
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

from mamp.errors import LayoutError
from mamp.layouts import layout as registry
from mamp.layouts.layout import Layout, check_mapping, get_layout, mirror_pairs, register

LARGEST = 1 << 20  # bytes
BUILT_IN: set[str] = set()
"""Names of the layouts of the package, which every copy of it knows."""

_FIELDS = ("name", "joints", "pairs", "parts", "center", "body", "mapping", "facing")


def layout_to_dict(layout: Layout) -> dict[str, Any]:
    """A layout as plain values."""
    names = (*layout.joints, None)
    values: dict[str, Any] = {
        "name": layout.name,
        "joints": {joint: names[parent] for joint, parent in zip(layout.joints, layout.parents, strict=True)},
        "pairs": [list(pair) for pair in layout.pairs],
        "parts": {part: list(joints) for part, joints in layout.parts.items()},
        "center": layout.center,
        "body": layout.body,
    }
    if layout.mapping:
        values["mapping"] = {joint: one if isinstance(one, str) else dict(one) for joint, one in layout.mapping.items()}
    if layout.facing != layout.pairs:
        values["facing"] = [list(pair) for pair in layout.facing]
    return values


def layout_from_dict(values: Any, where: str) -> Layout:
    """A layout from plain values.

    Raises:
        LayoutError: They are no layout.
    """
    joints = values.get("joints") if isinstance(values, dict) else None
    if not isinstance(joints, dict) or not isinstance(values.get("name"), str):
        raise LayoutError(f'{where}: expected an object with "name" and "joints" (joint: its parent, or null).')
    if unknown := sorted(set(values) - set(_FIELDS)):
        raise LayoutError(f"{where}: unknown field {unknown[0]!r}. Known fields: {', '.join(_FIELDS)}.")
    names = list(joints)
    if wrong := [up for up in joints.values() if up is not None and up not in names]:
        raise LayoutError(f"{where}: {str(wrong[0])!r} is the parent of a joint, but no joint.")
    pairs, mapping = values.get("pairs"), values.get("mapping")
    try:
        return Layout(
            values["name"],
            tuple(names),
            tuple(-1 if up is None else names.index(up) for up in joints.values()),
            tuple(mirror_pairs(tuple(names)) if pairs is None else map(tuple, pairs)),
            dict(mapping or {}),
            values.get("body", values["name"] if mapping is None else "ntu25"),
            dict(values.get("parts") or {}),
            values.get("center") or "",
            tuple(map(tuple, values.get("facing") or ())),
        )
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, LayoutError):
            raise LayoutError(f"{where}: {error}") from None
        raise LayoutError(f"{where}: expected lists of pairs, and parts with lists of joints ({error}).") from None


def read_layout(path: str | PathLike[str]) -> Layout:
    """Read a layout from a JSON file, and register it.

    Raises:
        LayoutError: The file cannot be read, is no layout, or another layout has its name.
    """
    try:
        with Path(path).open("rb") as file:
            values = json.loads(file.read(LARGEST).decode("utf-8-sig"))
    except OSError as error:
        raise LayoutError(f"{path}: cannot read the layout ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"{path}: expected a layout as JSON, found something else ({error}).") from None
    return adopt(layout_from_dict(values, str(path)), str(path))


def write_layout(layout: Layout, path: str | PathLike[str]) -> None:
    """Write a layout to a JSON file."""
    Path(path).write_text(json.dumps(layout_to_dict(layout), indent=2) + "\n", encoding="utf-8")


def adopt(layout: Layout, where: str) -> Layout:
    """Register a layout that a file defines, unless it is registered already.

    Raises:
        LayoutError: Another layout has its name.
    """
    known = registry.REGISTRY.get(layout.name)
    if known is None:
        if not layout.is_body:
            check_mapping(layout, get_layout(layout.body))
        return register(layout)
    if layout_to_dict(known) != layout_to_dict(layout):
        raise LayoutError(f"{where}: a different layout is registered as {layout.name!r}; choose another name.")
    return known


def stored_body(layout: Layout | str) -> dict[str, Any]:
    """What files beside stores and weights say of a layout: ``body``, its definition, unless it is of the package.

    Nothing is known of a name that is not registered.
    """
    found = registry.REGISTRY.get(layout) if isinstance(layout, str) else layout
    return {} if found is None or found.name in BUILT_IN else {"body": layout_to_dict(found)}


def adopt_body(values: dict[str, Any], where: str) -> None:
    """Register the layout that :func:`stored_body` described, if any.

    Raises:
        LayoutError: It is no layout, or another layout has its name.
    """
    if values.get("body") is not None:
        adopt(layout_from_dict(values["body"], f"{where}: body"), where)
