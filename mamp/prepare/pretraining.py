"""Build a pre-training store from packed corpora."""

from __future__ import annotations

from pathlib import Path

from mamp.config import Preprocessing
from mamp.data import StoreWriter
from mamp.layouts import MODEL_LAYOUT
from mamp.prepare.packed import read_packed, split_glitches
from mamp.preprocessing import normalize
from mamp.skeleton import Skeleton

# Two partners of the same long dance, a third of the CMU takes in BVH: a group of their own, to weigh down.
SALSA = ("60_", "61_")


def corpus_of(recording: Skeleton, corpus: str) -> str:
    """Sampling group of a recording."""
    take = recording.name.split("/")[-1]
    return "cmu-salsa" if corpus.startswith("cmu") and take.startswith(SALSA) else corpus


def build_pretraining_store(
    corpora: list[Path], output: Path, max_speed: float = 12.0, min_frames: int = 30
) -> dict[str, int]:
    """Write the recordings of several corpora, each in the model's joints, into one store.

    Returns:
        Clips written from each corpus.
    """
    keep_place = Preprocessing(center="none", max_people=None, absent_person="none")
    counts = {}
    with StoreWriter(output, MODEL_LAYOUT, {"corpora": [path.stem for path in corpora]}) as writer:
        for path in corpora:
            counts[path.stem] = 0
            for recording in read_packed(path):
                for piece in split_glitches(recording, max_speed, min_frames):
                    clip = normalize(piece, keep_place)
                    writer.add(piece.name, clip.positions, piece.fps, corpus=corpus_of(recording, path.stem))
                    counts[path.stem] += 1
    return counts
