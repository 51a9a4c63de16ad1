"""Files of pose estimators and mocap tools, made up, as those tools write them, of a body that is known."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import numpy as np

from mamp.layouts import get_layout

# A standing person who faces +z in metres, y up, right-handed: the left side is at +x, feet and nose point to +z.
_CENTRE = {
    "pelvis": (0, 0.95, 0), "root": (0, 0.95, 0), "midhip": (0, 0.95, 0),
    "bodycenter": (0, 0.95, 0), "spine": (0, 1.15, 0), "spine1": (0, 1.05, 0),
    "spine2": (0, 1.18, 0), "spine3": (0, 1.3, 0), "spinenavel": (0, 1.1, 0), "spinechest": (0, 1.28, 0),
    "thorax": (0, 1.42, 0), "neck": (0, 1.48, 0), "neckbase": (0, 1.55, 0.02), "head": (0, 1.66, 0.02),
    "nose": (0, 1.62, 0.12), "spinebase": (0, 0.95, 0), "spinemid": (0, 1.2, 0), "spineshoulder": (0, 1.42, 0),
}  # fmt: skip
_SIDE = {
    "hip": (0.1, 0.93, 0), "knee": (0.11, 0.5, 0.06), "ankle": (0.11, 0.09, 0), "foot": (0.12, 0.03, 0.14),
    "footindex": (0.12, 0.02, 0.16), "heel": (0.11, 0.03, -0.05), "bigtoe": (0.1, 0.02, 0.16),
    "smalltoe": (0.15, 0.02, 0.14), "shoulder": (0.18, 1.42, 0), "clavicle": (0.05, 1.45, 0), "collar": (0.05, 1.4, 0),
    "elbow": (0.25, 1.15, -0.02), "wrist": (0.28, 0.9, 0.05), "hand": (0.29, 0.82, 0.07), "handtip": (0.3, 0.75, 0.08),
    "thumb": (0.27, 0.84, 0.1), "index": (0.29, 0.8, 0.1), "pinky": (0.31, 0.8, 0.06), "ear": (0.08, 1.66, 0.0),
    "eye": (0.03, 1.68, 0.1), "eyeinner": (0.02, 1.68, 0.1), "eyeouter": (0.04, 1.68, 0.09), "mouth": (0.03, 1.57, 0.1),
}  # fmt: skip


def person(layout: str, frames: int = 1, seed: int = 0) -> np.ndarray:
    """[T, V, 3] the person in the joints of a layout, who moves a little from frame to frame."""
    points = []
    for joint in get_layout(layout).joints:
        name = re.sub(r"^([LRlr])(?=[A-Z])", lambda match: {"l": "left_", "r": "right_"}[match[1].lower()], joint)
        name = name.lower()
        sign = 1 if "left" in name else -1
        part = re.sub(r"left|right|_", "", name)
        if layout == "h36m17" and part == "foot":
            part = "ankle"
        if "left" in name or "right" in name:
            x, y, z = _SIDE[part]
            points.append((sign * x, y, z))
        else:
            points.append(_CENTRE[part])
    steps = np.random.default_rng(seed).normal(scale=0.003, size=(frames, 1, 3)).cumsum(0)
    return (np.array(points) + steps).round(5)


def camera(points: np.ndarray) -> np.ndarray:
    """World coordinates (y up) in those of a camera that the person faces: x right, y down, z away."""
    return points * np.array([1, -1, -1])


def landmarks(points: np.ndarray, visibility: float | None = 0.9, **more: float) -> list[dict[str, float]]:
    extra = {} if visibility is None else {"visibility": visibility}
    return [dict(zip("xyz", point, strict=True)) | extra | more for point in points.tolist()]


def world(frames: int = 1, seed: int = 0) -> np.ndarray:
    """[T, 33, 3] what MediaPipe calls world landmarks: of the camera, the middle of the hips at the origin."""
    points = camera(person("mediapipe33", frames, seed))
    joints = get_layout("mediapipe33").joints
    hips = points[:, [joints.index("left_hip"), joints.index("right_hip")]].mean(1, keepdims=True)
    return points - hips


def mediapipe_json(frames: int = 3) -> bytes:
    content = [
        {"frame": number, "timestamp_ms": 40 * number, "pose_world_landmarks": [landmarks(points)]}
        for number, points in enumerate(world(frames))
    ]
    return json.dumps(content).encode()


def mediapipe_csv(frames: int = 3) -> bytes:
    header = ["frame", *(f"{axis}{i}" for i in range(33) for axis in "xyzv")]
    rows = [",".join(header)]
    for number, points in enumerate(world(frames)):
        rows.append(",".join(map(str, [number, *np.c_[points, np.full(33, 0.9)].ravel().round(5)])))
    return "\n".join(rows).encode()


def openpose_frame(*bodies: np.ndarray, person_id: list[int] | None = None) -> dict[str, Any]:
    """A frame with people of [25, 3] in millimetres of the camera."""
    people = []
    for number, points in enumerate(bodies):
        table = np.c_[points * 1000, np.ones(len(points))]
        people.append(
            {
                "person_id": [-1 if person_id is None else person_id[number]],
                "pose_keypoints_2d": np.c_[points[:, :2] * 100 + 500, np.ones(len(points))].ravel().tolist(),
                "face_keypoints_2d": [],
                "pose_keypoints_3d": table.ravel().tolist(),
            }
        )
    return {"version": 1.3, "people": people}


def openpose_json(frames: int = 3) -> bytes:
    return json.dumps([openpose_frame(camera(points)) for points in person("body25", frames)]).encode()


def mmpose_points(points: np.ndarray) -> np.ndarray:
    """What MMPose saves of a body [17, 3]: (-x, z, -y) of the camera's axes, the lowest joint at zero."""
    x, y, z = np.moveaxis(camera(points), -1, 0)
    saved = np.stack([-x, z, -y], axis=-1)
    saved[:, 2] -= saved[:, 2].min()
    return saved


def mmpose_json(frames: int = 3) -> bytes:
    content = [
        {
            "frame_id": number,
            "instances": [
                {"keypoints": mmpose_points(points).tolist(), "keypoint_scores": [0.8] * 17, "bbox": [[0, 0, 9, 9]]}
            ],
        }
        for number, points in enumerate(person("h36m17", frames))
    ]
    return json.dumps(content).encode()


def azure_content(frames: int = 3) -> dict[str, Any]:
    names = [name.upper() for name in get_layout("azure32").joints]
    return {
        "bone_list": [["PELVIS", "SPINE_NAVEL"]],
        "frames": [
            {
                "bodies": [{"body_id": 7, "joint_positions": (camera(points) * 1000 + [0, 0, 2500]).tolist()}],
                "frame_id": number,
                "num_bodies": 1,
                "timestamp_usec": 33_333 * number,
            }
            for number, points in enumerate(person("azure32", frames))
        ],
        "joint_names": names,
        "k4abt_sdk_version": "1.1.2",
        "source_file": "clip.mkv",
    }


def azure_json(frames: int = 3) -> bytes:
    return json.dumps(azure_content(frames)).encode()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def rest() -> np.ndarray:
    """[24, 3] rest joints of a made-up body, in the axes of SMPL: y up, facing z."""
    return person("smpl24")[0] - person("smpl24")[0, 0]


def amass_npz(frames: int = 3, joints: int = 52) -> bytes:
    """A body that stands along z as in AMASS: only the root is turned, by a quarter about x."""
    poses = np.zeros((frames, 3 * joints))
    poses[:, 0] = np.pi / 2
    trans = np.c_[np.linspace(0, 1, frames), np.zeros(frames), np.full(frames, 0.95)]
    return npz(
        poses=poses, trans=trans, betas=np.zeros(16), gender=np.array("male"), mocap_framerate=np.array(120.0),
        dmpls=np.zeros((frames, 8)), labels=np.array([{"object": 1}], dtype=object),
    )  # fmt: skip


def c3d_bytes(
    labels: list[str],
    points: np.ndarray,
    unit: str = "mm",
    rate: float = 100.0,
    *,
    processor: int = 84,
    scale: float = -1.0,
    header_scale: float | None = None,
    first: int = 1,
    screen: str | None = None,
    analog: int = 0,
    header_analog: int | None = None,
    twice: bool = False,
    trial: bool = False,
    poses: bool = False,
) -> bytes:
    """A C3D file of positions [T, markers, 3]; NaN becomes an invalid marker.

    Args:
        processor: 84 Intel, 85 DEC, 86 SGI.
        scale: Of POINT:SCALE; above zero the positions are integers of that unit.
        header_scale: What the header says, if it differs.
        first: Number of the first frame.
        screen: POINT:Y_SCREEN.
        analog: Analog samples a frame.
        header_analog: How many the header says, if it differs.
        twice: Repeat a parameter, as Vicon does.
        trial: Say the number of frames in TRIAL, which holds more than 65,535.
        poses: Write the positions as origins of segments, with their poses and without markers, as Theia does.
    """
    frames, markers, _ = points.shape
    order = ">" if processor == 86 else "<"
    short = lambda value: np.array([int(value) & 0xFFFF], order + "u2").tobytes()  # noqa: E731

    def floats(values: Any) -> bytes:
        array = np.atleast_1d(np.asarray(values, np.float32))
        if processor != 85:
            return array.astype(order + "f4").tobytes()
        return (array * np.float32(4)).astype("<f4").view("<u2").reshape(-1, 2)[:, ::-1].tobytes()

    def parameter(group: int, name: str, kind: int, dims: list[int], data: bytes) -> bytes:
        body = bytes([kind & 0xFF, len(dims), *dims]) + data + b"\0"
        return bytes([len(name), group]) + name.encode() + short(len(body) + 2) + body

    def group(number: int, name: str) -> bytes:
        return bytes([len(name), 256 - number]) + name.encode() + short(3) + b"\0"

    width = max(map(len, labels))
    records = group(1, "POINT")
    records += parameter(1, "USED", 2, [], short(markers))
    records += parameter(1, "FRAMES", 2, [], short(frames))
    records += parameter(1, "DATA_START", 2, [], short(22))
    records += parameter(1, "SCALE", 4, [], floats(scale))
    records += parameter(1, "RATE", 4, [], floats(rate))
    records += parameter(1, "UNITS", -1, [len(unit)], unit.encode())
    if screen is not None:
        records += parameter(1, "Y_SCREEN", -1, [len(screen)], screen.encode())
    text = "".join(label.ljust(width) for label in labels).encode()
    records += parameter(1, "LABELS", -1, [width, markers], text)
    if analog:
        records += group(2, "ANALOG") + parameter(2, "USED", 2, [], short(analog))
        records += parameter(2, "RATE", 4, [], floats(rate)) + parameter(2, "SCALE", 4, [], floats(0.5))
    if twice:
        records += parameter(1, "RATE", 4, [], floats(rate)) * 2
    if trial:
        records += group(3, "TRIAL") + parameter(3, "ACTUAL_START_FIELD", 2, [2], short(1) + short(0))
        records += parameter(3, "ACTUAL_END_FIELD", 2, [2], short(frames) + short(frames >> 16))
    if poses:
        records = records.replace(b"LABELS", b"LEBALS") + group(4, "ROTATION")
        records = records.replace(parameter(1, "USED", 2, [], short(markers)), parameter(1, "USED", 2, [], short(0)))
        records += parameter(4, "USED", 2, [], short(markers)) + parameter(4, "DATA_START", 2, [], short(22))
        records += parameter(4, "LABELS", -1, [width, markers], text) + parameter(4, "RATIO", 2, [], short(1))
    section = (bytes([1, 0x50, 20, processor]) + records + b"\0\0").ljust(512 * 20, b"\0")
    header = bytearray(512)
    header[0:2] = bytes([2, 0x50])
    header[2:4] = short(markers)
    header[4:6] = short(analog if header_analog is None else header_analog)
    header[6:8], header[8:10] = short(first), short(first + frames - 1)
    header[12:16] = floats(scale if header_scale is None else header_scale)
    header[16:18] = short(22)
    header[18:20] = short(1)
    header[20:24] = floats(rate)
    seen = np.isfinite(points).all(-1, keepdims=True)
    rows = np.concatenate([np.where(seen, points, 0) / max(scale, 0 if scale > 0 else 1), np.where(seen, 0, -1)], -1)
    rows = np.concatenate([rows.reshape(frames, -1), np.ones((frames, analog))], axis=1)
    if poses:
        rows = np.tile([*np.eye(4).ravel().tolist(), 1.0], (frames, markers, 1))
        rows[..., 12:15], rows[..., 16] = np.where(seen, points, 0), np.where(seen[..., 0], 1, -1)
        rows = rows.reshape(frames, -1)
    data = floats(rows) if scale < 0 else np.rint(rows).astype(order + "i2").tobytes()
    return bytes(header) + section + data.ljust(-(-len(data) // 512) * 512, b"\0")


def c3d_file(frames: int = 3) -> bytes:
    """Markers named as the joints of ntu25, millimetres, z up."""
    x, y, z = np.moveaxis(person("ntu25", frames) * 1000, -1, 0)
    return c3d_bytes(list(get_layout("ntu25").joints), np.stack([x, -z, y], axis=-1))


# What the markers of Plug-in Gait stand on, of a body that is 1.7 m tall, faces -y and has z up, in millimetres.
PLUG_IN_GAIT = {
    "LFHD": (70, -90, 1700), "RFHD": (-70, -90, 1700), "LBHD": (70, 80, 1700), "RBHD": (-70, 80, 1700),
    "C7": (0, 70, 1450), "T10": (0, 100, 1250), "CLAV": (0, -60, 1390), "STRN": (0, -100, 1230),
    "LSHO": (180, 0, 1460), "RSHO": (-180, 0, 1460), "LELB": (250, 20, 1150), "RELB": (-250, 20, 1150),
    "LWRA": (275, -40, 900), "RWRA": (-275, -40, 900), "LWRB": (285, 0, 900), "RWRB": (-285, 0, 900),
    "LFIN": (290, -40, 820), "RFIN": (-290, -40, 820), "LASI": (120, -100, 1000), "RASI": (-120, -100, 1000),
    "LPSI": (50, 100, 1000), "RPSI": (-50, 100, 1000), "LTHI": (150, 0, 700), "RTHI": (-150, 0, 700),
    "LKNE": (150, -20, 500), "RKNE": (-150, -20, 500), "LTIB": (140, 0, 300), "RTIB": (-140, 0, 300),
    "LANK": (140, 0, 90), "RANK": (-140, 0, 90), "LHEE": (110, 60, 40), "RHEE": (-110, 60, 40),
    "LTOE": (120, -140, 30), "RTOE": (-120, -140, 30),
}  # fmt: skip
# Where the joints of that body are, in metres, y up: to be found within a hand's breadth.
PLUG_IN_GAIT_JOINTS = {
    "hip_left": (0.09, 0.93, 0.02), "knee_left": (0.1, 0.5, 0.02), "ankle_left": (0.105, 0.09, 0.0),
    "foot_left": (0.12, 0.03, 0.14), "shoulder_left": (0.19, 1.42, 0.0), "elbow_left": (0.25, 1.15, -0.02),
    "wrist_left": (0.28, 0.9, 0.02), "hand_left": (0.29, 0.82, 0.04), "spine_base": (0, 0.96, 0.0),
    "spine_shoulder": (0, 1.42, 0.0), "head": (0, 1.66, 0.0),
}  # fmt: skip


def walked(markers: dict[str, tuple[float, float, float]], frames: int = 4) -> np.ndarray:
    """[T, N, 3] of markers that move forward together, 20 mm a frame."""
    steps = np.arange(frames)[:, None, None] * np.array([0.0, -20.0, 0.0])
    return np.array(list(markers.values()), dtype=np.float64) + steps


def trc_text(
    labels: list[str], points: np.ndarray, unit: str = "mm", rate: float = 60.0, virtual: tuple[str, ...] = ()
) -> str:
    """A TRC file of positions [T, N, 3], as Cortex and OpenSim write it; NaN becomes an empty cell."""
    frames, markers, _ = points.shape
    rows = [
        "PathFileType\t4\t(X/Y/Z)\ttrial.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{frames}\t{markers}\t{unit}\t{rate}\t1\t{frames}",
        "Frame#\tTime\t" + "\t\t\t".join([*labels, *virtual]),
        "\t\t" + "\t".join(f"{axis}{number}" for number in range(1, markers + 1) for axis in "XYZ"),
        "",
    ]
    for number, row in enumerate(points.reshape(frames, -1)):
        cells = ["" if np.isnan(value) else f"{value:.5f}" for value in row]
        rows.append("\t".join([str(number + 1), f"{number / rate:.5f}", *cells]))
    return "\r\n".join(rows) + "\r\n"
