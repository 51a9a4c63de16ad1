"""NTU RGB+D ``.skeleton`` text: parsing, choice of the actors, and translation, as the published data were made.

The three stages are functions of their own, because preparing the data set needs them too:
:func:`parse_skeleton_file` -> :func:`denoise` -> :func:`translate`.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath, parse_int, parse_table, read_lines
from mamp.readers.format import Format
from mamp.readers.sets import facts_in
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

FPS = 30.0
JOINTS = 25
MIN_FRAMES = 12  # a body seen in fewer frames is noise, where another is longer
MAX_SPREAD = 0.8  # a body wider than this share of its height is noise in that frame
MAX_NOISY = 0.69754  # a body with this share of noisy frames is noise

NAME = re.compile(r"S(?P<setup>\d{3})C(?P<camera>\d{3})P(?P<subject>\d{3})R(?P<replication>\d{3})A(?P<label>\d{3})")
# By label: the first 60 are those of NTU RGB+D 60.
CLASSES = (
    "drink water", "eat meal", "brush teeth", "brush hair", "drop", "pick up", "throw", "sit down", "stand up",
    "clapping", "reading", "writing", "tear up paper", "put on jacket", "take off jacket", "put on a shoe",
    "take off a shoe", "put on glasses", "take off glasses", "put on a hat", "take off a hat", "cheer up",
    "hand waving", "kicking something", "reach into pocket", "hopping", "jump up", "phone call", "play with phone",
    "type on a keyboard", "point to something", "taking a selfie", "check time from watch", "rub two hands",
    "nod head", "shake head", "wipe face", "salute", "put palms together", "cross hands in front", "sneeze or cough",
    "staggering", "falling down", "headache", "chest pain", "back pain", "neck pain", "nausea or vomiting",
    "fan self", "punch or slap", "kicking", "pushing", "pat on back", "point finger", "hugging", "giving object",
    "touch pocket", "shaking hands", "walking towards", "walking apart", "put on headphone", "take off headphone",
    "shoot at basket", "bounce ball", "tennis bat swing", "juggle table tennis ball", "hush", "flick hair",
    "thumb up", "thumb down", "make OK sign", "make victory sign", "staple book", "counting money", "cutting nails",
    "cutting paper", "snap fingers", "open bottle", "sniff or smell", "squat down", "toss a coin", "fold paper",
    "ball up paper", "play magic cube", "apply cream on face", "apply cream on hand", "put on bag", "take off bag",
    "put object into bag", "take object out of bag", "open a box", "move heavy objects", "shake fist", "throw up cap",
    "hands up", "cross arms", "arm circles", "arm swings", "run on the spot", "butt kicks", "cross toe touch",
    "side kick", "yawn", "stretch oneself", "blow nose", "hit with object", "wield knife", "knock over", "grab stuff",
    "shoot with gun", "step on foot", "high-five", "cheers and drink", "carry object", "take a photo", "follow",
    "whisper", "exchange things", "support somebody", "rock-paper-scissors",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class RawBody:
    """One body of a file.

    Attributes:
        id: The tracker's number, near 7.2e16, so never a float.
        interval: [n] frame of each pose: counts from the first frame in which the body is seen, by one a pose, so a
            body that is lost for a while and found again is shifted earlier, as in the published data.
        joints: [n, 25, 3] float32, metres.
        motion: Summed variance of the coordinates; NaN where the file has one body only.
    """

    id: int
    interval: NDArray[np.int64]
    joints: NDArray[np.float32]
    motion: float


@dataclass(frozen=True, eq=False)
class RawRecording:
    """What a ``.skeleton`` file holds.

    Attributes:
        name: File name without suffix.
        num_frames: Frames with at least one body; frames without are dropped.
        bodies: In the order in which they first appear.
        empty_frames: Numbers of the dropped frames.
    """

    name: str
    num_frames: int
    bodies: tuple[RawBody, ...]
    empty_frames: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Denoised:
    """The actors of a recording.

    Attributes:
        positions: [T, 75] float32 for one actor, [T, 150] for two slots; zeros where an actor is not seen.
        dropped: ID -> why the body is not among the actors.
        removed_frames: Frames of the raw recording that were removed because nothing was left in them.
    """

    positions: NDArray[np.float32]
    dropped: dict[int, str] = field(default_factory=dict)
    removed_frames: tuple[int, ...] = ()


def parse_name(name: str) -> dict[str, int]:
    """Parse ``SsssCcccPpppRrrrAaaa``: setup, camera, subject, replication, label (action - 1); else empty."""
    return facts_in(name, NAME)


def parse_skeleton_file(path: StrPath) -> RawRecording:
    """Parse a file: frame count; per frame the body count; per body an info line, the joint count, 25 lines.

    Raises:
        ReadError: The file is missing, cut, malformed, or holds no body.
    """
    lines = read_lines(path)
    frames = parse_int(lines[0], f"{path}, line 1", "the number of frames")
    at, frame = 1, 0
    starts: list[int] = []
    seen: dict[int, list[int]] = {}  # ID -> its rows in `starts`
    first: dict[int, int] = {}  # ID -> first frame
    empty = []
    while frame < frames:
        if at >= len(lines):
            raise ReadError(f"{path}: the file is cut: {frames} frames announced, it ends in frame {frame + 1}.")
        bodies = parse_int(lines[at], f"{path}, line {at + 1}", "the number of bodies")
        at += 1
        if bodies == 0:
            empty.append(frame)
        for _ in range(bodies):
            if at + 2 + JOINTS > len(lines):
                raise ReadError(f"{path}: the file is cut: {frames} frames announced, it ends in frame {frame + 1}.")
            body = parse_int(lines[at].split(None, 1)[0], f"{path}, line {at + 1}", "a body ID")
            joints = parse_int(lines[at + 1], f"{path}, line {at + 2}", "the number of joints")
            if joints != JOINTS:
                raise ReadError(f"{path}, line {at + 2}: expected {JOINTS} joints (Kinect v2), found {joints}.")
            first.setdefault(body, frame - len(empty))
            seen.setdefault(body, []).append(len(starts))
            starts.append(at + 2)
            at += 2 + JOINTS
        frame += 1
    if not starts:
        raise ReadError(f"{path}: no tracked person in {frames} frames; leave this recording out.")
    if at < len(lines):
        logger.warning("%s: %d lines after the last of %d frames are ignored.", path, len(lines) - at, frames)
    rows = [line for start in starts for line in lines[start : start + JOINTS]]
    if len(rows[-1].split()) != len(rows[0].split()):
        raise ReadError(f"{path}: the file is cut in its last joint: {rows[-1].strip()[:60]!r}.")
    table = parse_table(rows, f"{path}, rows of joints", first=3)
    poses = table.astype(np.float32).reshape(-1, JOINTS, table.shape[1])
    found = []
    for body, index in seen.items():
        joints_of = poses[index]
        motion = _motion(joints_of) if len(seen) > 1 else float("nan")
        found.append(RawBody(body, first[body] + np.arange(len(index)), joints_of, motion))
    return RawRecording(Path(path).name.split(".")[0], frames - len(empty), tuple(found), tuple(empty))


def denoise(recording: RawRecording) -> Denoised:
    """Choose up to two actors: drop short and noisy bodies, the one that moves most first.

    Where every body of several is short, the longest is kept, with a warning (the published code crashes).
    """
    if len(recording.bodies) == 1:
        only = recording.bodies[0]
        return Denoised(only.joints.reshape(len(only.joints), -1).copy())
    dropped: dict[int, str] = {}
    bodies = _drop_short(recording, dropped)
    bodies, motion = _drop_noisy(bodies, dropped)
    if len(bodies) == 1:
        positions = np.zeros((recording.num_frames, 75), dtype=np.float32)
        _place(positions, 0, bodies[0])
    else:
        bodies = sorted(bodies, key=lambda body: motion[body.id], reverse=True)
        positions = _two_slots(bodies, recording.num_frames, dropped)
    filled = positions.sum(-1) != 0
    return Denoised(positions[filled], dropped, tuple(np.flatnonzero(~filled).tolist()))


def translate(positions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move [T, 75 or 150] so that joint 2 of the first actor is at the origin in the first frame that has it.

    Body-frames whose values summed to zero before are zero after, in recordings with two slots.
    """
    present = np.flatnonzero((positions[:, :75] != 0).any(1))
    origin = positions[present[0] if len(present) else 0, 3:6]
    moved = positions - np.tile(origin, positions.shape[1] // 3)
    if positions.shape[1] == 150:
        for slot in (slice(0, 75), slice(75, 150)):
            moved[positions[:, slot].sum(-1) == 0, slot] = 0
    return moved


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a ``.skeleton`` file: the chosen actors in camera coordinates, NaN where an actor is not seen."""
    recording = parse_skeleton_file(path)
    chosen = denoise(recording)
    if not len(chosen.positions):
        raise ReadError(f"{path}: no tracked person is left (all coordinates are zero); leave this recording out.")
    positions = np.moveaxis(chosen.positions.reshape(len(chosen.positions), -1, JOINTS, 3), 1, 0).copy()
    positions[positions.reshape(*positions.shape[:2], -1).sum(-1) == 0] = np.nan
    info = {**parse_name(recording.name), "dropped_bodies": chosen.dropped, "empty_frames": recording.empty_frames}
    raw = Raw(positions, path, "ntu", layout="ntu25", fps=FPS, unit="m", up="y", info=info)
    return assemble(raw, options)


def _motion(joints: NDArray[np.float32]) -> float:
    """Summed variance of the coordinates of all joints in all frames."""
    return float(np.sum(np.var(joints.reshape(-1, joints.shape[-1]), axis=0)))


def _drop_short(recording: RawRecording, dropped: dict[int, str]) -> list[RawBody]:
    kept = [body for body in recording.bodies if len(body.joints) >= MIN_FRAMES]
    if not kept:
        kept = [max(recording.bodies, key=lambda body: len(body.joints))]
        logger.warning(
            "%s: every body is seen in fewer than %d frames; the longest (%d frames) is kept.",
            recording.name, MIN_FRAMES, len(kept[0].joints),
        )  # fmt: skip
    for body in recording.bodies:
        if body not in kept:
            dropped[body.id] = f"seen in {len(body.joints)} frames only"
    return kept


def _drop_noisy(bodies: list[RawBody], dropped: dict[int, str]) -> tuple[list[RawBody], dict[int, float]]:
    """Drop bodies that are too wide too often, one always stays; motion is measured in good frames where it is less."""
    kept = list(bodies)
    motion = {body.id: body.motion for body in bodies}
    for body in bodies:
        if len(kept) == 1:
            break
        size = body.joints.max(1) - body.joints.min(1)
        good = size[:, 0] <= MAX_SPREAD * size[:, 1]
        noisy = 1 - good.sum() / len(good)
        if noisy >= MAX_NOISY:
            kept.remove(body)
            dropped[body.id] = f"wider than {MAX_SPREAD:g} of its height in {noisy:.0%} of its frames"
        elif noisy > 0:
            motion[body.id] = min(body.motion, _motion(body.joints[good]))
    return kept, motion


def _two_slots(bodies: list[RawBody], frames: int, dropped: dict[int, str]) -> NDArray[np.float32]:
    """Write bodies into two slots, each into the first in which it overlaps with nobody; [frames, 150]."""
    positions = np.zeros((frames, 150), dtype=np.float32)
    _place(positions, 0, bodies[0])
    used = [(int(bodies[0].interval[0]), int(bodies[0].interval[-1])), (0, 0)]
    for body in bodies[1:]:
        start, end = int(body.interval[0]), int(body.interval[-1])
        for slot, (low, high) in enumerate(used):
            # An overlap of one frame counts as none, as in the published data.
            if min(high, end) - max(low, start) <= 0:
                _place(positions, slot, body)
                used[slot] = (min(low, start), max(high, end))
                break
        else:
            dropped[body.id] = "overlaps with two bodies that move more"
    return positions


def _place(positions: NDArray[np.float32], slot: int, body: RawBody) -> None:
    at = body.interval[body.interval < len(positions)]
    positions[at, slot * 75 : slot * 75 + 75] = body.joints.reshape(len(body.joints), -1)[: len(at)]


FORMAT = Format(
    "ntu", (".skeleton", ".txt"), "NTU RGB+D skeleton text (Kinect v2)", read,
    fits=lambda contents: contents.has_words(1), looks="the number of frames (NTU RGB+D)",
)  # fmt: skip
