"""glTF and GLB: animated skeletons, compared with another way to compute them; and Xsens MVNX."""

from __future__ import annotations

import base64
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readers_helpers import person
from scipy.spatial.transform import Rotation

from mamp.errors import LayoutError, ReadError
from mamp.layouts import get_layout
from mamp.readers import find_format, load

# Mixamo's names, the joint above each, and where each lies from it in a body that stands, in metres.
REST: dict[str, tuple[str | None, tuple[float, float, float]]] = {
    "Hips": (None, (0, 0.95, 0)), "Spine": ("Hips", (0, 0.1, 0)), "Spine1": ("Spine", (0, 0.15, 0)),
    "Spine2": ("Spine1", (0, 0.12, 0)), "Neck": ("Spine2", (0, 0.15, 0)), "Head": ("Neck", (0, 0.1, 0.02)),
    **{f"{side}{name}": (above.format(side), (sign * x, y, z)) for side, sign in (("Left", 1), ("Right", -1))
       for name, above, (x, y, z) in (
           ("Shoulder", "Spine2", (0.05, 0.1, 0)), ("Arm", "{}Shoulder", (0.13, 0, 0)),
           ("ForeArm", "{}Arm", (0.05, -0.27, 0)), ("Hand", "{}ForeArm", (0.02, -0.25, 0.03)),
           ("UpLeg", "Hips", (0.1, -0.02, 0)), ("Leg", "{}UpLeg", (0, -0.43, 0.02)),
           ("Foot", "{}Leg", (0, -0.41, -0.02)),
           ("ToeBase", "{}Foot", (0.01, -0.06, 0.14)))},
}  # fmt: skip
NAMES = list(REST)
FRAMES = 9


def turns(seed: int = 0) -> np.ndarray:
    """[T, V, 4] quaternions (x, y, z, w) of small turns that grow."""
    axes = np.random.default_rng(seed).normal(size=(1, len(NAMES), 3)) * 0.3
    angles = np.linspace(0, 1, FRAMES)[:, None, None] * axes
    return Rotation.from_rotvec(angles.reshape(-1, 3)).as_quat().reshape(FRAMES, len(NAMES), 4)


def expected(quaternions: np.ndarray, places: np.ndarray) -> np.ndarray:
    """[T, V, 3] by scipy's rotations, with the hips at ``places`` [T, 3]."""
    found = np.zeros((FRAMES, len(NAMES), 3))
    for t in range(FRAMES):
        world: dict[str, tuple[Rotation, np.ndarray]] = {}
        for at, (name, (above, offset)) in enumerate(REST.items()):
            turn = Rotation.from_quat(quaternions[t, at])
            if above is None:
                world[name] = (turn, places[t])
            else:
                parent, origin = world[above]
                world[name] = (parent * turn, origin + parent.apply(offset))
            found[t, at] = world[name][1]
    return found


def gltf(scale: float = 1.0, kind: str = "f4", cubic: bool = False, **more: Any) -> tuple[dict[str, Any], bytes]:
    """A file's JSON, and its numbers: a body in ``scale`` units a metre below a node that undoes the scale."""
    numbers = b""
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []

    def put(values: np.ndarray, type: str, component: str = "f4") -> int:
        nonlocal numbers
        code = {"f4": 5126, "i2": 5122}[component]
        data = values.astype("<" + component).tobytes()
        views.append({"buffer": 0, "byteOffset": len(numbers), "byteLength": len(data)})
        numbers += data.ljust(-(-len(data) // 4) * 4, b"\0")
        accessors.append({"bufferView": len(views) - 1, "componentType": code, "count": len(values), "type": type})
        if component == "i2":
            accessors[-1]["normalized"] = True
        return len(accessors) - 1

    def spline(values: np.ndarray) -> np.ndarray:
        return np.stack([values * 0, values, values * 0], axis=1).reshape(-1, values.shape[1]) if cubic else values

    keys = put(np.arange(FRAMES)[:, None] / 25, "SCALAR")
    samplers, channels = [], []
    quaternions = turns()
    for at in range(len(NAMES)):
        values = spline(quaternions[:, at])
        output = put(values * (32767 if kind == "i2" else 1), "VEC4", kind)
        samplers.append({"input": keys, "output": output, "interpolation": "CUBICSPLINE" if cubic else "LINEAR"})
        channels.append({"sampler": at, "target": {"node": at + 1, "path": "rotation"}})
    way = spline(np.linspace([0, 0.95, 0], [0.3, 0.95, 0.5], FRAMES) * scale)
    samplers.append({"input": keys, "output": put(way, "VEC3"), **({"interpolation": "CUBICSPLINE"} if cubic else {})})
    channels.append({"sampler": len(NAMES), "target": {"node": 1, "path": "translation"}})
    nodes: list[dict[str, Any]] = [{"name": "Armature", "scale": [1 / scale] * 3, "children": [1]}]
    for name, (_, offset) in REST.items():
        children = [at + 1 for at, (above, _) in enumerate(REST.values()) if above == name]
        nodes.append({"name": f"mixamorig:{name}", "translation": [scale * v for v in offset], "children": children})
    content = {
        "asset": {"version": "2.0"}, "nodes": nodes, "skins": [{"joints": list(range(1, len(NAMES) + 1))[::-1]}],
        "animations": [{"name": "walk", "samplers": samplers, "channels": channels}],
        "accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": len(numbers)}], **more,
    }  # fmt: skip
    return content, numbers


def glb(content: dict[str, Any], numbers: bytes) -> bytes:
    text = json.dumps(content).encode()
    text = text.ljust(-(-len(text) // 4) * 4)
    chunks = len(text).to_bytes(4, "little") + b"JSON" + text + len(numbers).to_bytes(4, "little") + b"BIN\0" + numbers
    return b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunks)).to_bytes(4, "little") + chunks


def save(tmp_path: Path, data: bytes, name: str = "clip.glb") -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


WANTED = expected(turns(), np.linspace([0, 0.95, 0], [0.3, 0.95, 0.5], FRAMES))


@pytest.mark.parametrize("made", [{}, {"scale": 100.0}, {"kind": "i2"}, {"cubic": True}])
def test_glb(tmp_path: Path, made: dict[str, Any]):
    path = save(tmp_path, glb(*gltf(**made)))
    assert find_format(path) == "gltf"
    skeleton = load(path)
    assert (skeleton.fps, skeleton.info["unit"], skeleton.info["up"], skeleton.info["up_from"]) == (
        25,
        "m",
        "y",
        "format",
    )
    names = [name.removeprefix("mixamorig:") for name in skeleton.info["joints"]]
    found = skeleton.positions[0][:, [names.index(name) for name in NAMES]]
    np.testing.assert_allclose(found, WANTED, atol=1e-3 if "kind" in made else 1e-5)
    body = skeleton.to_layout("ntu25").positions[0]
    joints = get_layout("ntu25").joints
    np.testing.assert_allclose(body[:, joints.index("knee_left")], WANTED[:, NAMES.index("LeftLeg")], atol=1e-3)


def test_gltf_with_numbers_inside_and_beside(tmp_path: Path):
    content, numbers = gltf()
    inside = f"data:application/octet-stream;base64,{base64.b64encode(numbers).decode()}"
    for uri in (inside, "walk%20one.bin"):
        (tmp_path / "walk one.bin").write_bytes(numbers)
        text = json.dumps(content | {"buffers": [{"byteLength": len(numbers), "uri": uri}]})
        found = load(save(tmp_path, text.encode(), "clip.gltf"))
        assert found.positions.shape == (1, FRAMES, len(NAMES), 3)


def test_of_several_animations_the_first_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    content, numbers = gltf()
    content["animations"].append({"name": "idle", "samplers": [], "channels": []})
    with caplog.at_level(logging.WARNING, logger="mamp"):
        load(save(tmp_path, glb(content, numbers)))
    assert "2 animations (walk, idle); the first is read" in caplog.text


def broken(**more: Any) -> bytes:
    content, numbers = gltf()
    return glb(content | more, numbers)


BAD = {
    "cut": (glb(*gltf())[:-500], "the file is cut"),
    "no JSON": (b"glTF" + bytes(40), "not glTF, or cut"),
    "other JSON": (b"{}", "expected glTF with an asset"),
    "no animation": (broken(animations=[]), "expected an animation, found a skeleton at rest"),
    "a circle": (broken(nodes=[{"children": [1]}, {"children": [0]}], skins=[{"joints": [0]}]), "are no tree"),
    "no nodes": (broken(nodes=[]), "damaged|expected a skin|no tree"),
    "numbers elsewhere": (broken(buffers=[{"uri": "../../etc/passwd"}]), "only files beside it are read"),
    "numbers on the net": (broken(buffers=[{"uri": "https://example.org/a.bin"}]), "only files beside it are read"),
    "too many numbers": (broken(accessors=[{"bufferView": 0, "componentType": 5126, "count": 10**9, "type": "SCALAR"}]
                                * 50), "past the end"),
    "texts for numbers": (broken(accessors="abc"), "damaged glTF"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD)
def test_bad_gltf(tmp_path: Path, data: bytes, message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, data))


def test_names_that_say_nothing(tmp_path: Path):
    content, numbers = gltf()
    content["skins"] = [{"joints": [1, 2, 3]}]
    with pytest.raises(LayoutError):
        load(save(tmp_path, glb(content, numbers)))


def test_fbx_says_how_to_export_bvh(tmp_path: Path):
    with pytest.raises(ReadError, match=r"Export FBX as BVH: in Blender"):
        load(save(tmp_path, b"Kaydara FBX Binary", "clip.fbx"))


SEGMENTS = get_layout("xsens23").joints


def mvnx(points: np.ndarray, more: str = "") -> str:
    """An MVNX file of positions [T, 23, 3]."""
    segments = "".join(f'<segment label="{name}" id="{at + 1}"/>' for at, name in enumerate(SEGMENTS))
    pose = '<frame time="0" type="tpose"><position>' + "0 " * 69 + "</position></frame>"
    frames = "".join(
        f'<frame time="{40 * t}" index="{t}" type="normal"><orientation>{"1 0 0 0 " * 23}</orientation>'
        f"<position>{' '.join(map(str, frame.ravel()))}</position></frame>"
        for t, frame in enumerate(points)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><mvnx version="4" xmlns="http://www.xsens.com/mvn/mvnx">'
        f'<subject label="Ann" frameRate="60" segmentCount="23"><segments>{segments}</segments>'
        f"<frames>{pose}{frames}{more}</frames></subject></mvnx>"
    )


def suit(frames: int) -> np.ndarray:
    """[T, 23, 3] a body in the segments of a suit, z up."""
    model = get_layout("ntu25").joints
    body = person("ntu25", frames)
    of = {"Pelvis": "spine_base", "T12": "spine_mid", "Neck": "neck", "Head": "head", "UpperArm": "shoulder",
          "ForeArm": "elbow", "Hand": "wrist", "UpperLeg": "hip", "LowerLeg": "knee", "Foot": "ankle", "Toe": "foot",
          "Shoulder": "shoulder"}  # fmt: skip
    points = np.empty((frames, 23, 3))
    for at, name in enumerate(SEGMENTS):
        side = next((side for side in ("Left", "Right") if name.startswith(side)), "")
        joint = of.get(name.removeprefix(side), "spine_mid") + (f"_{side.lower()}" if side else "")
        points[:, at] = body[:, model.index(joint)]
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([x, -z, y], axis=-1)


def test_mvnx(tmp_path: Path):
    path = save(tmp_path, mvnx(suit(5)).encode(), "clip.mvnx")
    assert find_format(path) == "mvnx"
    skeleton = load(path)
    assert (skeleton.fps, skeleton.info["unit"], skeleton.info["up"], skeleton.layout.name) == (60, "m", "z", "xsens23")
    assert skeleton.positions.shape[1] == 5, "the pose of the calibration is no frame"
    found = skeleton.to_layout("ntu25").positions[0]
    body, model = person("ntu25", 5), get_layout("ntu25").joints
    for joint in ("spine_base", "shoulder_left", "elbow_right", "wrist_left", "hip_right", "knee_left", "ankle_right"):
        np.testing.assert_allclose(found[:, model.index(joint)], body[:, model.index(joint)], atol=1e-5)


GOOD = mvnx(suit(2))
BAD_MVNX = {
    "cut": (GOOD[:-40], "not XML as MVNX is, or cut"),
    "other XML": ("<a/>", "expected MVNX with positions"),
    "no frames": (mvnx(suit(2)[:0]), "no frames with positions"),
    "short": (
        re.sub(r" \S+</position></frame></frames>", "</position></frame></frames>", GOOD),
        "expected 3 numbers for each of 23 segments",
    ),
    "a word": (GOOD.replace("</position></frame></frames>", "x</position></frame></frames>"), "could not convert"),
    "entities": ('<!DOCTYPE a [<!ENTITY b "c">]>' + GOOD.partition("?>")[2], "entities of its own"),
}


@pytest.mark.parametrize(("text", "message"), BAD_MVNX.values(), ids=BAD_MVNX)
def test_bad_mvnx(tmp_path: Path, text: str, message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, text.encode(), "clip.mvnx"))
