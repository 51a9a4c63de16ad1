"""Embed a folder
==============

Embed every recording of a folder, and print which are nearest to which.

Run it with::

    python examples/embed_folder.py recordings --pattern "*.bvh"
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from mamp import MAMPEncoder, MAMPError, load


def main() -> int:
    """Read, embed, compare."""
    parser = argparse.ArgumentParser(description="Embed the recordings of a folder; print nearest neighbours.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pattern", default="*.bvh", help="which files [*.bvh]")
    parser.add_argument("--weights", default="openmocap")
    parser.add_argument("--neighbours", type=int, default=3)
    args = parser.parse_args()

    recordings = []
    for path in sorted(args.folder.glob(args.pattern)):
        try:
            recordings.append(load(path))
        except MAMPError as error:
            print(f"left out: {error}", file=sys.stderr)
    if len(recordings) < 2:
        print(f"{args.folder}: expected at least two recordings named {args.pattern}", file=sys.stderr)
        return 1

    encoder = MAMPEncoder.from_pretrained(args.weights)
    embeddings = encoder.encode(recordings, progress=True)

    # What all recordings have in common says nothing about which are alike: centre first.
    centred = embeddings - embeddings.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    for recording, row in zip(recordings, similarity, strict=True):
        nearest = np.argsort(-row)[: min(args.neighbours, len(recordings) - 1)]
        print(recording.name, *(f"{recordings[i].name} ({row[i]:.2f})" for i in nearest), sep="   ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
