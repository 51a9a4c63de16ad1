"""Markers of optical motion capture become joints: by their names, by a marker set, or as the caller says.

Labels may be those of joints, or of a usual marker set (:mod:`mamp.readers.markersets`), with or without the subject
before them; several subjects are several people. For others ``markers={"knee_left": ["LKNE", "LKNI"], ...}``, or a
JSON file of that, puts each joint of ``layout`` (the model's ``ntu25`` if not given) in the middle of its markers. A
joint is not tracked in frames in which one of its markers is not.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError, ReadError
from mamp.layouts import MODEL_LAYOUT, Layout, find_layout
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble, choose_layout
from mamp.readers.files import StrPath
from mamp.readers.format import Contents, Format
from mamp.readers.infer import Body
from mamp.readers.jsonfile import describe, read_json
from mamp.readers.markersets import Points, find_points, is_body, is_marker_set, place_joints
from mamp.readers.units import LONG_NAMES, UNITS
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

_CLUSTERED = re.compile(r"[\s_.-]*(?:markers?|mkr|cluster)?[\s_.-]*\d+$", re.IGNORECASE)

MarkerTable = Mapping[str, "str | Sequence[str]"]


@dataclass(frozen=True, eq=False)
class Markers:
    """What a file of markers says.

    Attributes:
        labels: Of the N markers.
        positions: [T, N, 3], NaN where they were not seen.
        fps: Frames per second.
        unit: Name of the unit.
        up: The axis that points up.
        joints: Whether they are joints of skeletons, and no markers on skin.
    """

    labels: list[str]
    positions: NDArray[np.float64]
    fps: float | None = None
    unit: str | None = None
    up: str | None = None
    joints: bool = False


def marker_format(
    name: str,
    suffixes: tuple[str, ...],
    about: str,
    parse: Callable[[StrPath], Markers],
    fits: Callable[[Contents], int] | None = None,
) -> Format:
    """A format of files of markers, whose ``parse`` raises ReadError where a file is missing or malformed."""

    def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
        return assemble_markers(parse(path), path, name, options)

    return Format(name, suffixes, about, read, fits)


def assemble_markers(markers: Markers, path: StrPath, format: str, options: Options) -> Skeleton:
    """Make a recording.

    Raises:
        ReadError: There are not the markers that are asked for, or no frames.
        LayoutError: The labels are not understood, and no ``markers`` are given.
    """
    info: dict[str, Any] = {"markers": tuple(markers.labels)}
    zero = (markers.positions == 0).all(-1)
    gaps = zero & ~zero.all(0)  # some writers put what was not seen at zero; a root that is always there is at zero
    markers = replace(markers, positions=np.where(gaps[..., None], np.nan, markers.positions))
    if options.markers is not None:
        layout = MODEL_LAYOUT if options.layout is None else choose_layout(options.layout, 0, path)
        positions = _average(markers, marker_table(options.markers), layout, path)[None]
    elif options.layout is not None:
        layout, positions = _named(markers, choose_layout(options.layout, 0, path)), markers.positions[None]
    else:
        layout, positions, placed = _find_joints(markers, path)
        info |= {"joints_from": placed} if placed else {}
    if markers.up is not None and options.up is None and len(layout.joints) == positions.shape[2]:
        stands, sure = Body(positions, layout).guess_up()
        if sure and stands != markers.up:
            logger.warning(
                "%s says that %s points up, but the body lies: it stands along %s. Say up=%r if the file is wrong.",
                path, markers.up, stands, stands,
            )  # fmt: skip
    raw = Raw(
        positions, path, format, layout=layout, fps=markers.fps, unit=markers.unit, up=markers.up, zeros="keep",
        info=info,
    )  # fmt: skip
    return assemble(raw, replace(options, layout=layout))


def marker_table(given: Any) -> MarkerTable:
    """Joint -> marker or markers, from a mapping or the path of a JSON file.

    Raises:
        ReadError: It is something else.
    """
    table = read_json(given) if isinstance(given, str) or hasattr(given, "__fspath__") else given
    where = "markers" if table is given else f"{given}"
    if not isinstance(table, Mapping):
        raise ReadError(f"{where}: expected an object of joints and their markers, found {describe(table)}.")
    for joint, names in table.items():
        if not isinstance(names, str) and not (
            isinstance(names, Sequence) and all(isinstance(name, str) for name in names)
        ):
            raise ReadError(f"{where}: expected the label of {joint!r}, or a list of labels; found {describe(names)}.")
    return table


def known_unit(name: str) -> str | None:
    """The unit of that name, or ``None`` where it is not known."""
    name = name.strip().lower()
    name = LONG_NAMES.get(name, name)
    return name if name in UNITS else None


def _average(markers: Markers, table: MarkerTable, layout: Layout, path: StrPath) -> NDArray[np.float64]:
    """Positions [T, V, 3] of the joints of a layout in the middle of their markers; NaN for joints without."""
    labels = markers.labels
    places = {_bare(label): index for index, label in reversed(list(enumerate(labels)))}
    places |= {label: index for index, label in reversed(list(enumerate(labels)))}
    positions = np.full((len(markers.positions), len(layout.joints), 3), np.nan)
    for joint, given in table.items():
        names = [given] if isinstance(given, str) else list(given)
        if joint not in layout.joints:
            raise ReadError(
                f"markers: {joint!r} is no joint of layout {layout.name!r}, which has {', '.join(layout.joints)}."
            )
        if missing := [name for name in names if name not in places]:
            raise ReadError(f"{path}: there are no markers {', '.join(missing)}; found {', '.join(labels)[:400]}.")
        if names:
            positions[:, layout.joints.index(joint)] = markers.positions[:, [places[name] for name in names]].mean(1)
    return positions


def _named(markers: Markers, layout: Layout) -> Layout:
    """The layout in the file's order, if the labels are its joints."""
    names = [_bare(label) for label in markers.labels]
    if set(names) == set(layout.joints) and len(names) == len(layout.joints):
        return layout.reordered(names)
    return layout


def _find_joints(markers: Markers, path: StrPath) -> tuple[Layout, NDArray[np.float64], dict[str, list[str]]]:
    """Layout, positions [M, T, V, 3], and, where these are of a marker set, the markers that each joint is among."""
    if markers.joints:
        return *_skeletons(markers, path), {}
    people = [find_points(labels, points) for labels, points in _subjects(markers)]
    bodies = _bodies([person for person in people if is_marker_set(person[0])], markers)
    if bodies is None:
        if (averaged := _clusters(markers)) is not None:
            with suppress(LayoutError):
                return _find_joints(averaged, path)
        names = [_bare(label) for label in markers.labels]
        with suppress(LayoutError):
            if len(set(names)) == len(names):
                return find_layout(names), markers.positions[None], {}
            if len(people) > 1:
                return *_skeletons(markers, path), {}
        bodies = _bodies(people, markers)
    if bodies is None:
        raise LayoutError(
            f"{path}: markers are not joints, and their labels are not understood: "
            f"{', '.join(markers.labels)[:400]}. Say markers={{joint: [labels], ...}}, the markers around each joint "
            f"of the model ({', '.join(MODEL_LAYOUT.joints)}), or of the layout=NAME that you give."
        )
    return MODEL_LAYOUT, *bodies


def _bodies(
    people: Sequence[tuple[Points, dict[str, str]]], markers: Markers
) -> tuple[NDArray[np.float64], dict[str, list[str]]] | None:
    """Positions [M, T, V, 3] in the model's joints, NaN for those that are not there, and the markers of each joint."""
    found: list[NDArray[np.float64]] = []
    among: dict[str, list[str]] = {}
    for points, labels in people:
        joints, of = place_joints(points)
        if is_body(joints):
            body = np.full((len(markers.positions), len(MODEL_LAYOUT.joints), 3), np.nan)
            for joint, place in joints.items():
                body[:, MODEL_LAYOUT.joints.index(joint)] = place
            found.append(body)
            among = {joint: [labels[point] for point in parts] for joint, parts in of.items()} | among
    return (np.stack(found), among) if found else None


def _clusters(markers: Markers) -> Markers | None:
    """Clusters of markers (``Foot_Marker1``, ``Foot_Marker2``, ...) as one marker each; ``None`` if most are none."""
    members: dict[str, list[int]] = {}
    for place, label in enumerate(markers.labels):
        members.setdefault(_CLUSTERED.sub("", label), []).append(place)
    several = sum(len(places) > 1 for places in members.values())
    if not 2 * several > len(members) or "" in members:
        return None
    middles = np.stack([markers.positions[:, places].mean(axis=1) for places in members.values()], axis=1)
    return replace(markers, labels=list(members), positions=middles)


def _skeletons(markers: Markers, path: StrPath) -> tuple[Layout, NDArray[np.float64]]:
    """Layout and positions [M, T, V, 3] of skeletons of the same joints."""
    people = _subjects(markers)
    names = [_bare(label) for label in people[0][0]]
    for labels, _ in people[1:]:
        if [_bare(label) for label in labels] != names:
            raise ReadError(f"{path}: expected skeletons of the same joints; export them one by one.")
    return find_layout(names), np.stack([positions for _, positions in people])


def _subjects(markers: Markers) -> list[tuple[list[str], NDArray[np.float64]]]:
    """Labels and markers of each subject; all markers where they have no subjects."""
    labels = markers.labels
    prefixes = [label.rsplit(":", 1)[0] if ":" in label else "" for label in labels]
    named = [prefix for prefix, count in Counter(prefixes).items() if prefix and count >= 6]
    if len(named) > 1:
        chosen = [[place for place, own in enumerate(prefixes) if own == prefix] for prefix in named]
        return [([labels[place] for place in places], markers.positions[:, places]) for places in chosen]
    if not named:  # Ann_LKNE, where most labels begin so
        starts = Counter(match[0] for label in labels if (match := re.match(r".+?[_. -](?=.{2})", label)))
        start, count = next(iter(starts.most_common(1)), ("", 0))
        if len(start) > 3 and count >= 6 and 2 * count > len(labels):
            labels = [label.removeprefix(start) for label in labels]
    return [(labels, markers.positions)]


def _bare(label: str) -> str:
    """A label without the subject before it (``Ann:LKNE``)."""
    return label.rsplit(":", 1)[-1].strip()
