"""What the tests of frozen protocols share: a small labelled store, small weights, and a job.

As a program, ``python evaluate_helpers.py ARGUMENTS`` is ``python -m mamp.evaluate ARGUMENTS`` with small parts, so
that a small store has several.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mamp import MAMPConfig, MAMPEncoder
from mamp.config import Preprocessing
from mamp.data import StoreWriter
from mamp.evaluate.data import open_labelled
from mamp.evaluate.protocol import Job
from mamp.layouts import get_layout
from mamp.train.distributed import World

CLASSES = ["left arm", "right arm", "legs"]
MOVING = {0: ("elbow_left", "wrist_left"), 1: ("elbow_right", "wrist_right"), 2: ("knee_left", "knee_right")}
ROOT = Path(__file__).resolve().parents[1]


def make_clip(label: int, rng: np.random.Generator, frames: int, layout: str = "ntu25") -> Any:
    """Positions [1, T, V, 3] of someone who lifts the joints of a class and swings them about; the pose varies."""
    joints = get_layout(layout).joints
    rest = np.random.default_rng(7).normal(0, 0.4, (1, 1, len(joints), 3)) + rng.normal(0, 0.02, (1, 1, len(joints), 3))
    positions = np.repeat(rest, frames, axis=1)
    swing = 0.4 * np.sin(np.arange(frames) / 4.0 + rng.uniform(0, 6))
    for joint in MOVING[label % 3]:
        positions[0, :, list(joints).index(joint)] += 1 + swing[:, None]
    return positions.astype(np.float32)


def make_store(
    path: Path,
    per_class: int = 6,
    labels: list[Any] | None = None,
    split: list[str] | None = None,
    without: tuple[str, ...] = (),
    layout: str = "ntu25",
    seed: int = 0,
    **columns: list[Any],
) -> Path:
    """A store of three classes of which every third clip is a test clip."""
    rng = np.random.default_rng(seed)
    count = len(labels) if labels is not None else 3 * per_class
    known: dict[str, list[Any]] = {
        "label": labels if labels is not None else [clip % 3 for clip in range(count)],
        "split": split or ["test" if clip // 3 % 3 == 2 else "train" for clip in range(count)],
        "subject": [clip // 3 % 3 for clip in range(count)],
        **columns,
    }
    known = {name: values for name, values in known.items() if name not in without}
    with StoreWriter(path, get_layout(layout), {"source": "swings", "classes": CLASSES}) as writer:
        for clip in range(count):
            kind = known["label"][clip] if labels is None and "label" in known else clip
            positions = make_clip(int(kind), rng, 20 + clip, layout)
            writer.add(f"clip-{clip:02d}", positions, 30.0, **{name: values[clip] for name, values in known.items()})
    return path


def make_weights(path: Path, seed: int = 0, **changes: Any) -> Path:
    """Fresh weights of a tiny encoder, in a folder."""
    torch.manual_seed(seed)
    MAMPEncoder(tiny(**changes)).save_pretrained(path)
    return path


def tiny(**changes: Any) -> MAMPConfig:
    return MAMPConfig(
        **{
            "dim_feat": 16,
            "depth": 1,
            "num_heads": 2,
            "num_frames": 16,
            "preprocessing": Preprocessing(max_people=1),
            **changes,
        }
    )


def make_job(store: Path, weights: Path | str, output: Path, config: Any, **changes: Any) -> Job:
    output.mkdir(parents=True, exist_ok=True)
    alone = World(0, 1, torch.device("cpu"))
    given = {"seeds": (0,), "world": alone, **changes}
    return Job(data=open_labelled(store), weights=str(weights), output=output, config=config, **given)


def count_encodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of clips of each call of encode from now on."""
    counted: list[int] = []
    real = MAMPEncoder.encode

    def encode(self: Any, recordings: Any, **options: Any) -> Any:
        counted.append(len(recordings))
        return real(self, recordings, **options)

    monkeypatch.setattr(MAMPEncoder, "encode", encode)
    return counted


def environment(**more: str) -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths)), **more}


if __name__ == "__main__":
    from mamp.evaluate import features
    from mamp.evaluate.cli import main

    torch.set_num_threads(1)
    features.BATCH, features.PART = 2, 4
    sys.exit(main())
