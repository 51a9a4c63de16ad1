"""Xsens MVNX: positions of the segments of a body suit, in metres, z up.

XML with the ``segments`` of a subject, and ``frame`` elements of type ``normal`` with ``position``: x, y and z of the
origin of each segment, which is the joint at its beginning (:data:`mamp.layouts.tables.XSENS23`). Props and fingers
behind the 23 segments of the body are left out. The rate is that of the subject.
"""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import numpy as np

from mamp.errors import ReadError
from mamp.layouts import get_layout
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath, decimal_comma, read_text
from mamp.readers.format import Format
from mamp.readers.tracks import parse_rate
from mamp.skeleton import Skeleton

LAYOUT = get_layout("xsens23")


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file.

    Raises:
        ReadError: The file is missing, no such XML, cut, or without positions of the 23 segments.
    """
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", read_text(path))  # which may name an encoding that editors have changed
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ReadError(f"{path}: expected MVNX, found XML that defines entities of its own; refused.")
    segments: list[str] = []
    frames: list[np.ndarray] = []
    fps: float | None = None
    try:
        for event, element in ElementTree.iterparse(io.BytesIO(text.strip().encode()), events=("start", "end")):
            tag = element.tag.rsplit("}", 1)[-1]
            if event == "start" and tag == "subject":
                fps = parse_rate(element.get("frameRate"))
            elif event == "end" and tag == "segment":
                segments.append(str(element.get("label")))
            elif event == "end" and tag == "frame":
                position = next((child for child in element if child.tag.rsplit("}", 1)[-1] == "position"), None)
                if element.get("type") in (None, "normal") and position is not None:
                    frames.append(_numbers(position.text or "", f"{path}, frame {len(frames)}"))
                element.clear()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path}: not XML as MVNX is, or cut ({str(error)[:100]}).") from None
    missing = [joint for joint in LAYOUT.joints if joint not in segments]
    if missing or not frames:
        found = f"no segments {', '.join(missing)}" if missing else "no frames with positions"
        raise ReadError(f"{path}: expected MVNX with positions of the body's segments; found {found[:200]}.")
    if any(len(frame) != 3 * len(segments) for frame in frames):
        raise ReadError(f"{path}: expected 3 numbers for each of {len(segments)} segments in every frame. Is it cut?")
    order = [segments.index(joint) for joint in LAYOUT.joints]
    positions = np.stack(frames).reshape(len(frames), len(segments), 3)[None, :, order]
    return assemble(Raw(positions, path, "mvnx", layout=LAYOUT, fps=fps, unit="m", up="z"), options)


def _numbers(text: str, where: str) -> np.ndarray:
    try:
        return np.array([float(word) for word in text.split()])
    except ValueError as error:
        raise ReadError(f"{where}: {str(error)[:80]}.{decimal_comma(text)}") from None


FORMAT = Format("mvnx", (".mvnx",), "Xsens MVNX: positions of the segments of a body suit", read)
