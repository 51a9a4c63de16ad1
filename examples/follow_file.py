"""Follow a file that grows
========================

Embed the frames of a file while another program writes them.

Run it with::

    python examples/follow_file.py frames.jsonl --layout ntu25 --like recordings/*.bvh

One line of the file is one frame, as JSON: [[x, y, z], ...] with a row for each joint, or a list of those, one for each
person; metres, y up, null for a joint (or a whole frame) that was not tracked. Prints one JSON line for each embedding;
with ``--like``, which of the recordings given it is nearest to. Stops when the file has not grown for ``--idle``
seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mamp import MAMPEncoder, get_layout, load
from mamp.streaming import StreamingEncoder

# %%
# The lines of a growing file
# ---------------------------


def follow(path: Path, idle: float) -> Iterator[str]:
    """Yield the lines of a file, those to come too, each when it is whole."""
    with path.open(encoding="utf-8") as file:
        line, last = "", time.monotonic()
        while time.monotonic() - last < idle:
            more = file.readline()
            if not more:
                time.sleep(0.05)
                continue
            line, last = line + more, time.monotonic()
            if line.endswith("\n"):
                yield line
                line = ""


# %%
# A line as a frame
# -----------------


def parse(line: str, joints: int) -> np.ndarray | None:
    """A line as [M, V, 3], or None for a frame without anybody."""
    frame = json.loads(line) or []
    rows = [row for row in frame if row is not None]
    if not rows:
        return None
    one = isinstance(rows[0][0], (int, float))
    people = [person or [None] * joints for person in ([frame] if one else frame)]
    return np.array([[joint or [np.nan] * 3 for joint in person] for person in people], np.float32)


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length one."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# %%
# From frames to embeddings
# -------------------------


def main() -> None:
    """Follow a file, and print what its windows are like."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--layout", default="ntu25", help="of the frames [%(default)s]")
    parser.add_argument("--fps", type=float, default=30, help="frames per second [%(default)s]")
    parser.add_argument("--window", type=int, default=120, help="frames of a window [%(default)s]")
    parser.add_argument("--hop", type=int, default=30, help="frames between two embeddings [%(default)s]")
    parser.add_argument("--like", nargs="*", default=[], metavar="FILE", help="recordings to compare with")
    parser.add_argument("--idle", type=float, default=10, metavar="SECONDS", help="when to stop [%(default)s]")
    args = parser.parse_args()

    encoder = MAMPEncoder.from_pretrained()
    live = StreamingEncoder(encoder, args.fps, args.window, args.hop, layout=args.layout)
    references = np.stack([encoder.encode(load(file)) for file in args.like]) if args.like else None
    # What all recordings have in common says nothing about which are alike: leave it out.
    common = 0 if references is None else references.mean(axis=0)

    def report(frame: int, embedding: np.ndarray) -> None:
        line: dict[str, object] = {"frame": frame, "seconds": round(frame / args.fps, 2)}
        if np.isnan(embedding).any():
            line["nearest"] = None  # nobody was there
        elif references is None:
            line["embedding"] = [round(float(value), 4) for value in embedding]
        else:
            likeness = unit(references - common) @ unit(embedding - common)
            best = int(np.argmax(likeness))
            line |= {"nearest": args.like[best], "cosine": round(float(likeness[best]), 3)}
        print(json.dumps(line), flush=True)

    frames = 0
    for text in follow(args.file, args.idle):
        frames += 1
        embedding = live.push(parse(text, len(get_layout(args.layout).joints)))
        if embedding is not None:
            report(frames, embedding)
    rest = live.flush()
    if rest is not None:
        report(frames, rest)


if __name__ == "__main__":
    main()
