"""Compare two performances
========================

Compare a performance of an exercise with a template, joint by joint.

Run it with::

    python examples/compare_performances.py mine.bvh template.bvh

Prints how far apart the two are once they are aligned in time, the joints that differ most, and when.
"""

from __future__ import annotations

import argparse

from mamp import MAMPEncoder, load
from mamp.compare import compare


def main() -> None:
    """Align and compare two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("performance")
    parser.add_argument("template")
    parser.add_argument("--joints", type=int, default=5, help="how many joints to name [%(default)s]")
    args = parser.parse_args()
    found = compare(load(args.performance), load(args.template), MAMPEncoder.from_pretrained())
    print(f"distance {found.distance:.3f} (0: the same; grows with the difference)")
    for one in found.worst(args.joints):
        when = f"frame {one.frame}" if one.seconds is None else f"{one.seconds:.1f} s"
        print(f"{one.joint}: {100 * one.metres:.0f} cm on average, {100 * one.largest:.0f} cm at {when}")


if __name__ == "__main__":
    main()
