"""Reading ``.skeleton`` text: this package, against parsers that take one line after another.

One of them puts each joint into an array, with its place in the colour picture, as the published preparation keeps it;
the other is as lean as Python gets, and converts nothing but the coordinates.

Writes made-up recordings in the format (body IDs near 7.2e16, a quarter with two people), checks that both parsers give
the same bodies and bits, and prints median processor times, taken in turns.

    python benchmarks/parser.py [FILE.skeleton ...] [--files 8] [--rounds 7] [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from timing import in_turns

from mamp.readers.ntu import parse_skeleton_file

FIRST_ID = 72057594037931101  # beyond 2^53: as a float, neighbours are one


def write_recording(path: Path, frames: int, people: int, rng: np.random.Generator) -> Path:
    """A file as the Kinect v2 recorder writes it: ten numbers a body, twelve a joint."""
    lines = [str(frames)]
    for _ in range(frames):
        lines.append(str(people))
        for person in range(people):
            lines.append(f"{FIRST_ID + person} 0 1 1 1 1 0 -0.1{rng.integers(1e6)} 0.2{rng.integers(1e6)} 2")
            lines.append("25")
            for row in rng.normal(size=(25, 11)).astype(np.float32):
                lines.append(" ".join(f"{value:.7g}" for value in row) + " 2")
    path.write_text("\n".join(lines) + "\n")
    return path


def parse_line_by_line(path: Path) -> dict[int, NDArray[np.float32]]:
    """ID -> [n, 25, 3] of each body, in order of appearance."""
    bodies: dict[int, list[list[list[float]]]] = {}
    with path.open() as file:
        for _ in range(int(file.readline())):
            for _ in range(int(file.readline())):
                body = int(file.readline().split()[0])
                joints = []
                for _ in range(int(file.readline())):
                    values = file.readline().split()
                    joints.append([float(values[0]), float(values[1]), float(values[2])])
                bodies.setdefault(body, []).append(joints)
    return {body: np.array(frames, dtype=np.float32) for body, frames in bodies.items()}


def parse_into_arrays(path: Path) -> dict[int, NDArray[np.float32]]:
    """The same as one writes it first: an array for each joint, of all that the published preparation keeps of it."""
    bodies: dict[int, list[NDArray[np.float32]]] = {}
    with path.open() as file:
        lines = iter(file.readlines())
    for _ in range(int(next(lines))):
        for _ in range(int(next(lines))):
            body = int(next(lines).split()[0])
            joints, colors = np.zeros((25, 3), np.float32), np.zeros((25, 2), np.float32)
            for joint in range(int(next(lines))):
                values = next(lines).split()
                joints[joint] = np.array(values[:3], dtype=np.float32)
                colors[joint] = np.array(values[5:7], dtype=np.float32)
            bodies.setdefault(body, []).append(joints)
    return {body: np.stack(frames) for body, frames in bodies.items()}


def check(path: Path) -> None:
    """Raise unless both parsers find the same bodies, bit for bit."""
    expected, found = parse_line_by_line(path), parse_skeleton_file(path)
    if [body.id for body in found.bodies] != list(expected):
        raise SystemExit(f"{path}: bodies {[body.id for body in found.bodies]}, expected {list(expected)}")
    for body in found.bodies:
        if body.joints.tobytes() != expected[body.id].tobytes():
            raise SystemExit(f"{path}: the joints of body {body.id} differ")


def measure(files: list[Path], rounds: int) -> dict[str, float]:
    """Median seconds of each parser for all files."""
    for path in files:
        check(path)
    parsers = {"arrays": parse_into_arrays, "lean": parse_line_by_line, "mamp": parse_skeleton_file}
    runs = {name: partial(lambda parse: [parse(path) for path in files], parse) for name, parse in parsers.items()}
    seconds = in_turns(runs, rounds, time.process_time)
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    return {
        "files": len(files),
        "megabytes": megabytes,
        **{f"{name}_mb_a_second": megabytes / value for name, value in seconds.items()},
        "ratio_to_arrays": seconds["arrays"] / seconds["mamp"],
        "ratio_to_lean": seconds["lean"] / seconds["mamp"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, help="recordings to parse instead of made-up ones")
    parser.add_argument("--files", type=int, default=8, help="made-up recordings [%(default)s]")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each parser [%(default)s]")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="mamp-parser-") as folder:
        files = args.paths or [
            write_recording(Path(folder) / f"{i}.skeleton", int(rng.integers(40, 200)), 2 if i % 4 == 0 else 1, rng)
            for i in range(args.files)
        ]
        result = measure(files, args.rounds)
    if args.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:>26}  {value:,.2f}")


if __name__ == "__main__":
    main()
