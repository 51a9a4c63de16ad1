"""glTF 2.0 (``.glb``, ``.gltf``): the joints of a skin, moved by the first animation; y up, right-handed.

Rotations, translations and scales of the nodes are interpolated at even times, as often as the keys of the animation
are, and multiplied down the tree. Joints are matched by name as in BVH. glTF is in metres, but files in centimetres are
common, so the unit is inferred.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from mamp.errors import MAMPError, ReadError
from mamp.layouts import find_layout
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath, check_numbers, distinct_names, read_bytes
from mamp.readers.format import Format
from mamp.readers.jsonfile import describe
from mamp.skeleton import SLOWEST, Skeleton

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

JSON_CHUNK, BINARY_CHUNK = b"JSON", b"BIN\0"
TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
SIZES = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
LARGEST = {"<i1": 127, "<u1": 255, "<i2": 32767, "<u2": 65535}  # of normalised integers, which stand for 1
PATHS = {"translation": 3, "rotation": 4, "scale": 3}
MOST, SMALL = 20_000_000, 1_000_000  # nodes times frames of any file, and of a small one
MAX_JOINTS = 5000
DEEPEST = 500  # nodes above each other
RATE = 30.0  # frames per second of an animation whose keys are uneven


@dataclass(frozen=True, eq=False)
class Scene:
    """Nodes of a file: names, parents (-1 for a root), and indices of the joints of the skin."""

    names: list[str]
    parents: list[int]
    nodes: list[Mapping[str, Any]]
    joints: list[int]


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read the first animation of a file.

    Raises:
        ReadError: The file is missing, damaged, or has no animated skeleton.
        LayoutError: The joint names are not understood, and no ``layout`` is given.
    """
    where = str(path)
    content, binary = _split(read_bytes(path), where)
    try:
        scene = _scene(content, where)
        nodes = _needed(scene)
        buffers = _Buffers(content, binary, Path(path), where)
        curves = _curves(content, buffers, where)
        times, fps = _times([keys for keys, _ in curves.values()], len(nodes), buffers.size, where)
        positions = _positions(scene, nodes, curves, times)
    except MAMPError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ReadError(f"{where}: damaged glTF ({type(error).__name__}: {str(error)[:80]}).") from None
    check_numbers(positions, where, nan=False)
    names, parents = _skeleton(scene)
    layout = options.layout
    if layout is None:
        layout = find_layout(names, parents, positions[:: max(1, len(positions) // 50)])
    raw = Raw(
        positions[None], path, "gltf", layout=layout, fps=fps, up="y", zeros="keep", info={"joints": tuple(names)}
    )
    return assemble(raw, options)


def _split(data: bytes, where: str) -> tuple[Mapping[str, Any], bytes]:
    """The JSON of a file, and its binary chunk if it has one."""
    binary = b""
    if data[:4] == b"glTF":
        chunks: dict[bytes, bytes] = {}
        at = 12
        while at + 8 <= len(data):
            size, kind = int.from_bytes(data[at : at + 4], "little"), data[at + 4 : at + 8]
            if at + 8 + size > len(data):
                raise ReadError(f"{where}: the file is cut: a part of {size} bytes announced, {len(data) - at} found.")
            chunks.setdefault(kind, data[at + 8 : at + 8 + size])
            at += 8 + size
        data, binary = chunks.get(JSON_CHUNK, b""), chunks.get(BINARY_CHUNK, b"")
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{where}: not glTF, or cut ({str(error)[:80]}).") from None
    if not isinstance(content, Mapping) or "asset" not in content:
        raise ReadError(f"{where}: expected glTF with an asset, found {describe(content)}.")
    return content, binary


def _scene(content: Mapping[str, Any], where: str) -> Scene:
    nodes = content.get("nodes") or []
    parents = [-1] * len(nodes)
    for index, node in enumerate(nodes):
        for child in node.get("children", ()):
            if not 0 <= child < len(nodes) or parents[child] >= 0:
                raise ReadError(f"{where}: the nodes of the file are no tree.")
            parents[child] = index
    depth = {-1: 0}
    for at in range(len(nodes)):
        chain: list[int] = []
        while at not in depth and len(chain) <= DEEPEST:
            chain.append(at)
            at = parents[at]
        if depth.get(at, DEEPEST) + len(chain) > DEEPEST:
            raise ReadError(f"{where}: the nodes of the file are no tree, or too deep.")
        depth.update({node: depth[at] + above for above, node in enumerate(reversed(chain), start=1)})
    skins = content.get("skins") or []
    joints = list(dict.fromkeys(skins[0]["joints"])) if skins else _animated(content)
    if not joints or not all(isinstance(joint, int) and 0 <= joint < len(nodes) for joint in joints):
        raise ReadError(f"{where}: expected a skin with joints, or an animation of nodes; found none.")
    if len(joints) > MAX_JOINTS:
        raise ReadError(f"{where}: more than {MAX_JOINTS} joints are no body; export the skeleton alone.")
    joints.sort(key=lambda joint: depth[joint])
    return Scene([str(node.get("name", f"node{at}")) for at, node in enumerate(nodes)], parents, nodes, joints)


def _animated(content: Mapping[str, Any]) -> list[int]:
    """Nodes that the animations move."""
    channels = [channel for animation in content.get("animations") or [] for channel in animation["channels"]]
    return sorted({channel["target"]["node"] for channel in channels if "node" in channel["target"]})


class _Buffers:
    """The numbers of a file, by accessor."""

    def __init__(self, content: Mapping[str, Any], binary: bytes, path: Path, where: str) -> None:
        self.content, self.binary, self.path, self.where = content, binary, path, where
        self._read: dict[int, bytes] = {}
        self._numbers: dict[int, Array] = {}

    @property
    def size(self) -> int:
        """Bytes that were read."""
        return sum(map(len, self._read.values()))

    def numbers(self, index: int) -> Array:
        """[N, C] of an accessor, normalised integers as what they stand for."""
        if index not in self._numbers:
            self._numbers[index] = self._unpacked(index)
        return self._numbers[index]

    def _unpacked(self, index: int) -> Array:
        accessor = self.content["accessors"][index]
        view = self.content["bufferViews"][accessor["bufferView"]]
        if "sparse" in accessor or "EXT_meshopt_compression" in view.get("extensions", {}):
            raise ReadError(f"{self.where}: compressed or sparse animations are not read; export it uncompressed.")
        kind, columns, count = TYPES[accessor["componentType"]], SIZES[accessor["type"]], accessor["count"]
        data = self._buffer(view["buffer"])
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        width = np.dtype(kind).itemsize * columns
        stride = view.get("byteStride") or width
        if min(count, start, stride - width) < 0 or start + stride * (count - 1) + width > len(data):
            raise ReadError(f"{self.where}: the file is cut: numbers announced past the end of {len(data)} bytes.")
        if not count:
            return np.zeros((0, columns))
        raw = np.ndarray((count, columns), kind, data, start, (stride, np.dtype(kind).itemsize))
        with np.errstate(invalid="ignore"):  # signalling NaN, which is refused as any other
            table = raw.astype(np.float64)
        return np.maximum(table / LARGEST[kind], -1.0) if accessor.get("normalized") else table

    def _buffer(self, index: int) -> bytes:
        if index not in self._read:
            uri = self.content["buffers"][index].get("uri")
            self._read[index] = self.binary if uri is None else self._fetch(str(uri))
        return self._read[index]

    def _fetch(self, uri: str) -> bytes:
        if uri.startswith("data:"):
            try:
                return base64.b64decode(uri.partition(",")[2], validate=True)
            except (binascii.Error, ValueError) as error:
                raise ReadError(f"{self.where}: damaged numbers in the file ({error}).") from None
        name = unquote(uri)
        if "/" in name.replace("\\", "/").removeprefix("./") or ":" in name or name in ("", ".", ".."):
            raise ReadError(f"{self.where}: its numbers are in {uri[:80]!r}; only files beside it are read.")
        return read_bytes(self.path.parent / name)


def _curves(content: Mapping[str, Any], buffers: _Buffers, where: str) -> dict[tuple[int, str], tuple[Array, Array]]:
    """(node, path) -> times [K] and values [K, C] of the first animation."""
    animations = content.get("animations") or []
    if not animations:
        raise ReadError(f"{where}: expected an animation, found a skeleton at rest, or none. Export it with animation.")
    if len(animations) > 1:
        names = ", ".join(str(one.get("name", number)) for number, one in enumerate(animations))
        logger.warning("%s holds %d animations (%s); the first is read.", where, len(animations), names[:200])
    curves: dict[tuple[int, str], tuple[Array, Array]] = {}
    read = 0
    for channel in animations[0]["channels"]:
        node, path = channel["target"].get("node"), channel["target"].get("path")
        if node is None or path not in PATHS:
            continue
        sampler = animations[0]["samplers"][channel["sampler"]]
        keys, values = buffers.numbers(sampler["input"])[:, 0], buffers.numbers(sampler["output"])
        read += len(keys)
        if read > _most(buffers.size):
            raise ReadError(f"{where}: {read} keys of animations in {buffers.size} bytes. Is it damaged?")
        if sampler.get("interpolation") == "CUBICSPLINE":
            values = values[1::3]  # between the tangents
        if len(keys) != len(values) or not len(keys) or values.shape[1] != PATHS[path] or (np.diff(keys) < 0).any():
            raise ReadError(f"{where}: the keys of an animation do not fit its values. Is it damaged?")
        check_numbers(keys, where, nan=False)
        check_numbers(values, where, nan=False)
        curves[int(node), str(path)] = (keys, values)
    if not curves:
        raise ReadError(f"{where}: the animation moves no joints.")
    return curves


def _most(size: int) -> int:
    """The most nodes times frames, or keys, that a file of ``size`` bytes has."""
    return min(MOST, max(SMALL, size))


def _times(keys: Sequence[Array], nodes: int, size: int, where: str) -> tuple[Array, float]:
    """Even times over an animation of ``size`` bytes, and how many a second."""
    start, end = min(one[0] for one in keys), max(one[-1] for one in keys)
    steps = np.diff(max(keys, key=len))
    step = float(np.median(steps)) if len(steps) else 0.0
    even = 1e-4 < step < 1 / SLOWEST and np.median(abs(steps - step)) < 0.1 * step
    rate = round(1 / step, 2) if even else RATE
    frames = round((end - start) * rate) + 1
    if not 0 < frames * nodes <= _most(size):
        raise ReadError(f"{where}: an animation of {end - start:.0f} s at {rate:g} frames per second is too long.")
    return start + np.arange(frames) / rate, rate


def _needed(scene: Scene) -> list[int]:
    """The joints and all nodes above them, each behind its parent."""
    needed: dict[int, None] = {}
    for joint in scene.joints:
        chain = []
        while joint >= 0 and joint not in needed:
            chain.append(joint)
            joint = scene.parents[joint]
        needed.update(dict.fromkeys(reversed(chain)))
    return list(needed)


def _positions(
    scene: Scene, nodes: Sequence[int], curves: Mapping[tuple[int, str], tuple[Array, Array]], times: Array
) -> Array:
    """[T, V, 3] of the joints in the axes of the scene."""
    world: dict[int, tuple[Array, Array]] = {}  # turn and scale [T, 3, 3], place [T, 3]
    for node in nodes:
        turn, place = _local(scene.nodes[node], node, curves, times)
        parent = scene.parents[node]
        if parent >= 0:
            above, origin = world[parent]
            place = origin + np.einsum("tij,tj->ti", above, place)
            turn = above @ turn
        world[node] = (turn, place)
    return np.stack([world[joint][1] for joint in scene.joints], axis=1)


def _local(
    node: Mapping[str, Any], index: int, curves: Mapping[tuple[int, str], tuple[Array, Array]], times: Array
) -> tuple[Array, Array]:
    """Turn with scale, [T, 3, 3], and place, [T, 3], of a node in the axes of its parent."""
    if "matrix" in node and not any((index, path) in curves for path in PATHS):
        matrix = np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
        return np.tile(matrix[:3, :3], (len(times), 1, 1)), np.tile(matrix[:3, 3], (len(times), 1))
    rest = {"translation": (0, 0, 0), "rotation": (0, 0, 0, 1), "scale": (1, 1, 1)}
    parts = {}
    for path, still in rest.items():
        if (index, path) in curves:
            parts[path] = _interpolate(*curves[index, path], times, turns=path == "rotation")
        else:
            value = np.array(node.get(path, still), dtype=np.float64).reshape(PATHS[path])
            parts[path] = np.tile(value, (len(times), 1))
    return _matrix(parts["rotation"]) * parts["scale"][:, None, :], parts["translation"]


def _interpolate(keys: Array, values: Array, times: Array, *, turns: bool) -> Array:
    """Values [T, C] between keys; quaternions go the short way."""
    if turns:
        flip = np.where(np.einsum("kc,kc->k", values[1:], values[:-1]) < 0, -1.0, 1.0).cumprod()
        values = values * np.concatenate([[1.0], flip])[:, None]
    return np.stack([np.interp(times, keys, column) for column in values.T], axis=-1)


def _matrix(quaternions: Array) -> Array:
    """Rotation matrices [T, 3, 3] of quaternions [T, 4] (x, y, z, w) of any length."""
    length = np.linalg.norm(quaternions, axis=-1, keepdims=True)
    x, y, z, w = (quaternions / np.where(length > 0, length, math.inf)).T
    w = np.where(length[:, 0] > 0, w, 1.0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _skeleton(scene: Scene) -> tuple[list[str], list[int]]:
    """Names of the joints, each once, and the joint above each."""
    place = {joint: at for at, joint in enumerate(scene.joints)}
    parents = []
    for joint in scene.joints:
        above = scene.parents[joint]
        while above >= 0 and above not in place:
            above = scene.parents[above]
        parents.append(place.get(above, -1))
    return distinct_names([scene.names[joint] for joint in scene.joints]), parents


FORMAT = Format("gltf", (".glb", ".gltf"), "glTF 2.0: the skeleton of a skin, moved by the first animation", read)
