"""Divide a session into segments
==============================

Say where a long recording changes, and which of its parts show the same movement; with the folder of a trained head,
name what it shows.

Run it with::

    python examples/segment_session.py session.bvh
    python examples/segment_session.py session.bvh --labels results/segment

Prints the segments, and the share of the time of each label. Without labels it needs ``pip install 'mamp[segment]'``.
"""

from __future__ import annotations

import argparse
from collections import Counter

from mamp import load
from mamp.segment import segment


def main() -> None:
    """Divide one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording")
    parser.add_argument("--labels")
    args = parser.parse_args()
    recording = load(args.recording)
    found = segment(recording, args.labels)
    seconds: Counter[str] = Counter()
    for one in found:
        print(f"{one.start:6.1f} to {one.end:6.1f} s  {one.label}")
        seconds[one.label] += one.end - one.start
    for label, length in seconds.most_common():
        print(f"{label}: {length:.1f} s in {found.label.count(label)} segments")


if __name__ == "__main__":
    main()
