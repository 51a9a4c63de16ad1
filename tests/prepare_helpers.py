"""Files shaped like those of NTU RGB+D, made quickly: for tests and benchmarks of preparation."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

from mamp.prepare.ntu import missing_skeletons, sample_name

POSES = 400  # of one body, formatted once
IDS = (72057594037932577, 72057594037934149)

# A person who stands, in the joints and metres of Kinect v2; and the joints of the arms and legs, outwards.
STANDING = (
    (0, 0, 0), (0, 0.25, 0), (0, 0.55, 0), (0, 0.7, 0),
    (0.18, 0.45, 0), (0.25, 0.2, 0), (0.28, -0.02, 0), (0.29, -0.1, 0),
    (-0.18, 0.45, 0), (-0.25, 0.2, 0), (-0.28, -0.02, 0), (-0.29, -0.1, 0),
    (0.1, -0.05, 0), (0.11, -0.45, 0), (0.11, -0.85, 0), (0.12, -0.9, 0.12),
    (-0.1, -0.05, 0), (-0.11, -0.45, 0), (-0.11, -0.85, 0), (-0.12, -0.9, 0.12),
    (0, 0.45, 0), (0.3, -0.18, 0), (0.27, -0.1, 0.05), (-0.3, -0.18, 0), (-0.27, -0.1, 0.05),
)  # fmt: skip
LIMBS = ((5, 6, 7, 21, 22), (9, 10, 11, 23, 24), (13, 14, 15), (17, 18, 19))


def sample_names(count: int, setups: int = 17) -> list[str]:
    """Names of samples that every protocol keeps, spread over setups, cameras and subjects."""
    missing = missing_skeletons(120)
    every = product(range(1, 3), range(1, 61), range(1, 4), range(1, 41), range(1, setups + 1))
    names = (sample_name(s, c, p, r, a) for r, a, c, p, s in every)
    return [name for _, name in zip(range(count), (name for name in names if name not in missing), strict=False)]


def formatted_poses(poses: int = POSES, seed: int = 0) -> list[str]:
    """Lines of all joints of one body in each of some frames, in the columns and precision of the Kinect's files."""
    rng = np.random.default_rng(seed)
    rest = rng.normal(0, [0.15, 0.5, 0.1], (25, 3)) + np.array([0, 0, 3])
    swing = rng.normal(0, 0.1, (25, 3)) * np.sin(np.arange(poses) / 9)[:, None, None]
    places = rest + swing + rng.normal(0, 0.003, (poses, 25, 3))
    texts = []
    for joints in places:
        lines = []
        for x, y, z in joints.tolist():
            image = (250 + 70 * x, 200 - 70 * y, 960 + 360 * x, 540 - 360 * y, 0.19 + x / 9, 0.9, -0.05, 0.26 + y / 9)
            lines.append(" ".join(f"{value:.7g}" for value in (x, y, z, *image)) + " 2")
        texts.append("\n".join(lines) + "\n")
    return texts


def skeleton_text(poses: list[str], frames: int, people: int, rng: np.random.Generator) -> str:
    """One file of so many frames and people."""
    starts = rng.integers(0, len(poses), people)
    parts = [f"{frames}\n"]
    for frame in range(frames):
        parts.append(f"{people}\n")
        for person, start in enumerate(starts):
            parts.append(f"{IDS[person]} 0 1 1 0 0 0 0.0430029 -0.0239081 2\n25\n")
            parts.append(poses[(start + frame) % len(poses)])
    return "".join(parts)


def skeleton_files(count: int, frames: int = 100, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Names and texts; a quarter of the files holds two people, lengths vary by a fifth."""
    poses, rng = formatted_poses(max(POSES // 4, min(POSES, 4 * frames))), np.random.default_rng(seed)
    for number, name in enumerate(sample_names(count)):
        length = int(frames * rng.uniform(0.8, 1.2))
        yield name, skeleton_text(poses, max(2, length), 2 if number % 4 == 3 else 1, rng)


def acted_text(action: int, frames: int, seed: int) -> str:
    """A file of one person who moves in a way that tells the action: which arm or leg, and how fast."""
    rng = np.random.default_rng(seed)
    rest = np.array(STANDING) + np.array([rng.normal(0, 0.2), 0, 3 + rng.normal(0, 0.2)])
    limb, speed = LIMBS[action % len(LIMBS)], 1 + action // len(LIMBS)
    phase = rng.uniform(0, 2 * np.pi) + speed * np.arange(frames) / 6
    swing = np.zeros((frames, 25, 3))
    for share, joint in zip((0.3, 0.7, 1.0, 1.0, 1.0), limb, strict=False):
        swing[:, joint, 1] = share * 0.25 * (1 + np.sin(phase))
        swing[:, joint, 2] = share * 0.2 * np.cos(phase)
    places = rest + swing + rng.normal(0, 0.004, (frames, 25, 3))
    parts = [f"{frames}\n"]
    for joints in places.tolist():
        parts.append(f"1\n{IDS[0]} 0 1 1 0 0 0 0.0430029 -0.0239081 2\n25\n")
        parts += [f"{x:.7g} {y:.7g} {z:.7g} 250 200 960 540 0.19 0.9 -0.05 0.26 2\n" for x, y, z in joints]
    return "".join(parts)


def write_acted_archive(folder: Path, actions: int = 4, subjects: int = 3, frames: int = 40) -> Path:
    """Files of NTU RGB+D whose labels can be learned, from all three cameras; every third subject is for testing."""
    folder.mkdir(parents=True, exist_ok=True)
    train, test = (1, 2, 4, 5, 8, 9), (3, 6, 7)  # by the cross-subject split
    chosen = [test[i // 3] if i % 3 == 2 else train[i - i // 3] for i in range(subjects)]
    for number, (action, camera, subject) in enumerate(product(range(1, actions + 1), range(1, 4), chosen)):
        path = folder / f"{sample_name(1, camera, subject, 1, action)}.skeleton"
        path.write_text(acted_text(action - 1, frames + number % 7, number), encoding="ascii")
    return folder


def write_archive(folder: Path, count: int, frames: int = 100, zipped: float = 0.5) -> Path:
    """Write a share of the files into a zip file and the others into folders, one for each setup."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "skeletons.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, (name, text) in enumerate(skeleton_files(count, frames)):
            if number < zipped * count:
                archive.writestr(f"nturgb+d_skeletons/{name}.skeleton", text)
            else:
                path = folder / name[:4] / f"{name}.skeleton"
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="ascii")
    return folder
