"""Features of all clips of a store, extracted once by all processes together and kept in files.

They are those of :meth:`mamp.MAMPEncoder.encode`, extracted in parts of :data:`PART` clips. Each part is written when
it is finished, so that a run that was killed resumes there. A part is the same whichever process extracts it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from tqdm import tqdm

import mamp
from mamp.data import ClipStore
from mamp.errors import DataError, RecordingError
from mamp.evaluate.data import Labelled
from mamp.evaluate.protocol import Job
from mamp.evaluate.representation import Representation
from mamp.hub import fingerprint
from mamp.outputs import dump_json, write_whole, written_whole
from mamp.preprocessing import prepare_clip
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]
FeaturePool = Literal["clip", "clip+std", "joint"]

BATCH = 32  # clips that are encoded together, as encode does by default
PART = 4 * BATCH
POSE_FRAMES = 30


def extract(job: Job, seed: int, pool: FeaturePool = "clip") -> FloatArray | None:
    """Features [N, D] of every clip of the store, read from a file if they were extracted before.

    All processes call it; only the main one gets the features.

    Args:
        job: The evaluation.
        seed: Seed of random weights.
        pool: ``clip``: what ``encode`` returns; ``clip+std``: mean and standard deviation of the tokens, concatenated;
            ``joint``: the mean of each joint, concatenated. Poses have no pool.

    Raises:
        RecordingError: A clip cannot be encoded, or its features are not finite.
        DataError: The files cannot be written.
    """
    source, world, store = job.representation(seed), job.world, job.data.store
    facts = identity(source, job.data, pool)
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]
    folder = (job.cache or job.output.parent / "features") / name
    path = folder.with_suffix(".npy")
    found = read_features(path, len(store)) if world.is_main else None
    if world.sum([float(found is not None)])[0]:
        if world.is_main:
            shutil.rmtree(folder, ignore_errors=True)  # a process that was killed may have left its parts
        return found
    firsts = range(0, len(store), PART)
    mine = firsts[world.rank :: world.size]
    parts: list[tuple[int, FloatArray]] = []
    with (
        world.together(),
        tqdm(total=len(mine), unit="part", delay=2, disable=None if job.progress else True, desc="features") as bar,
    ):
        for first in mine:
            clips = range(first, min(first + PART, len(store)))
            part = read_features(folder / f"{first}.npy", len(clips))
            if part is None:
                part = _features(source, store, clips, pool)
                write_features(folder / f"{first}.npy", part)
            parts.append((first, part))
            bar.update()
    gathered = dict(world.gather(parts))
    if not world.is_main:
        return None
    features = np.concatenate([gathered[first] for first in firsts])
    write_whole(path.with_suffix(".json"), dump_json(facts) + "\n")
    write_features(path, features)  # last: where it is, everything is
    shutil.rmtree(folder, ignore_errors=True)
    return features


def identity(source: Representation, data: Labelled, pool: str) -> dict[str, Any]:
    """Everything that features depend on: the weights, and the clips themselves, whatever the store states."""
    digest = hashlib.sha256()
    for column in ("name", "people", "frames", "fps"):
        digest.update(np.ascontiguousarray(data.store.columns[column]).tobytes())
    return {
        "mamp": mamp.__version__,
        "weights": "poses" if source.encoder is None else fingerprint(source.encoder),
        "config": source.config.to_dict(),
        "pool": "poses" if source.encoder is None else pool,
        "positions": data.sha256,
        "clips": digest.hexdigest(),
    }


def poses(recordings: Sequence[Skeleton], source: Representation) -> FloatArray:
    """Normalised poses of the first person [n, 30 * V * 3], preprocessed as for the encoder."""
    clips = [prepare_clip(recording, source.config.preprocessing, POSE_FRAMES)[0][0] for recording in recordings]
    return np.stack([rearrange(clip, "t v c -> (t v c)") for clip in clips])


def _features(source: Representation, store: ClipStore, clips: Sequence[int], pool: FeaturePool) -> FloatArray:
    """Features [n, D] of some clips."""
    batches = [clips[first : first + BATCH] for first in range(0, len(clips), BATCH)]
    found = np.concatenate([_encode(source, [store.recording(clip) for clip in batch], pool) for batch in batches])
    bad = ~np.isfinite(found).all(axis=1)
    if bad.any():
        name = store.columns["name"][clips[int(np.argmax(bad))]]
        raise RecordingError(
            f"{name}: expected finite features, found NaN or infinity. Check the clip and the weights."
        )
    return found


def _encode(source: Representation, recordings: list[Skeleton], pool: FeaturePool) -> FloatArray:
    encoder = source.encoder
    if encoder is None:
        return poses(recordings, source)
    if pool == "clip":
        return np.asarray(encoder.encode(recordings, batch_size=BATCH))
    if pool == "joint":
        return rearrange(np.asarray(encoder.encode(recordings, pool="joint", batch_size=BATCH)), "n v d -> n (v d)")
    tokens = [rearrange(h, "m t v d -> (m t v) d") for h in encoder.encode(recordings, pool="tokens", batch_size=BATCH)]
    return np.stack([np.concatenate([h.mean(axis=0), h.std(axis=0)]) for h in tokens])


def read_features(path: Path, rows: int) -> FloatArray | None:
    """Features in a file; ``None`` if there is no file, or not one of this module."""
    try:
        found = np.load(path, allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, EOFError) as error:
        logger.warning("%s: damaged (%s); extracting the features again.", path, error)
        return None
    whole = found.ndim == 2 and len(found) == rows and found.dtype == np.float32
    return np.asarray(found) if whole else None


def write_features(path: Path, features: FloatArray) -> None:
    """Write features, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            np.save(file, features)
    except OSError as error:
        raise DataError(
            f"{path.parent}: cannot write the features here ({error}). Choose another folder for them."
        ) from None
