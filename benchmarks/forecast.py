"""Stores to train and to measure forecasting on: CMU with subjects held out, and other recordings to test on.

    python benchmarks/forecast.py cmu-amc.npz cmu-bvh43.npz cmu-bvh31.npz --output stores/cmu
    python benchmarks/forecast.py bandai-namco.npz --every 8 --output stores/bandai

The corpora are packed ones (``mamp.prepare.packed``). A recording whose name is SUBJECT_TAKE belongs to that subject:
the test clips are those of ``--test``. Names without a number are left out, since their subject may be one of these;
in a corpus without any such name, all clips are test clips. Recordings are cut where a joint is faster than 12 m/s,
and pieces of less than 64 frames are left out. Then::

    python -m mamp.train forecast --data stores/cmu --output runs/forecast
    python -m mamp.evaluate forecast --weights runs/forecast --data stores/cmu --output results/cmu
    python -m mamp.evaluate forecast --weights runs/forecast --data stores/bandai --output results/bandai
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from mamp.config import Preprocessing
from mamp.data import StoreWriter
from mamp.layouts import MODEL_LAYOUT
from mamp.prepare.packed import read_packed, split_glitches
from mamp.preprocessing import normalize

HELD_OUT = ("05", "07", "13", "35", "86")  # dance, walks, sports and everyday movements: a fifth of the frames
NAME = re.compile(r"(\d+)_\d+")
KEEP_PLACE = Preprocessing(center="none", max_people=None, absent_person="none")


def subjects(corpus: Path) -> list[str | None]:
    """Subject of each recording; ``None`` where the name has no number."""
    names = [recording.name.split("/")[-1] for recording in read_packed(corpus)]
    return [match[1] if (match := NAME.fullmatch(name)) else None for name in names]


def main() -> None:
    """Write a store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", type=Path, metavar="FILE.npz")
    parser.add_argument("--output", type=Path, required=True, metavar="STORE")
    parser.add_argument("--test", nargs="+", default=HELD_OUT, metavar="SUBJECT", help="held-out subjects %(default)s")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each N-th recording")
    parser.add_argument("--min-frames", type=int, default=64, metavar="N")
    args = parser.parse_args()
    info = {"source": "CMU, held-out subjects" if len(args.corpora) > 1 else args.corpora[0].stem}
    frames = {"train": 0, "test": 0}
    with StoreWriter(args.output, MODEL_LAYOUT, info) as writer:
        for corpus in args.corpora:
            found = subjects(corpus)
            for number, (subject, recording) in enumerate(zip(found, read_packed(corpus), strict=True)):
                if number % args.every or (subject is None and any(found)):
                    continue
                split = "test" if subject is None or subject in args.test else "train"
                for piece in split_glitches(recording, 12.0, args.min_frames):
                    positions = normalize(piece, KEEP_PLACE).positions
                    writer.add(piece.name, positions, piece.fps, subject=subject or "", split=split)
                    frames[split] += positions.shape[1]
    print(f"{args.output}: " + ", ".join(f"{split} {count / 1800:.1f} min" for split, count in frames.items()))


if __name__ == "__main__":
    main()
