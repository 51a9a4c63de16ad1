"""Write synthetic recordings
==========================

Write BVH recordings of a few actions, made by formula.

Run it with::

    python examples/synthesize_bvh.py recordings --variations 4

``mamp.synthetic`` does the work.
"""

from __future__ import annotations

import argparse

from mamp.synthetic import ACTIONS, write_recordings


def main() -> None:
    """Read the arguments and write the files."""
    parser = argparse.ArgumentParser(description="Write BVH recordings of a few actions, made by formula.")
    parser.add_argument("directory", help="where to write")
    parser.add_argument("--variations", type=int, default=4, help="recordings of each action [4]")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each [4]")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same files [0]")
    parser.add_argument("--actions", nargs="+", choices=list(ACTIONS), help="all of them by default")
    args = parser.parse_args()
    paths = write_recordings(args.directory, args.variations, args.seconds, args.seed, args.actions)
    print(f"{len(paths)} recordings in {args.directory}")


if __name__ == "__main__":
    main()
