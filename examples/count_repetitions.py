"""Count repetitions in a file
===========================

Count the repetitions of an exercise in a recording.

Run it with::

    python examples/count_repetitions.py squats.bvh

Prints how many there are, and when each begins and ends.
"""

from __future__ import annotations

import argparse

from mamp import MAMPEncoder, load
from mamp.repetitions import count_repetitions


def main() -> None:
    """Count in one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording")
    args = parser.parse_args()
    found = count_repetitions(load(args.recording), MAMPEncoder.from_pretrained())
    print(f"{found.count} repetitions" + (f", about {found.period:.1f} s each" if found.period else ""))
    for number, (start, end) in enumerate(zip(found.starts, found.ends, strict=True), 1):
        print(f"{number}: {start:.1f} to {end:.1f} s")


if __name__ == "__main__":
    main()
