"""What a skeleton layout costs: joints of the model expressed in it and back, then the same probe.

    python benchmarks/layouts.py DATA_DIR --output benchmarks/layouts.json

DATA_DIR holds ``nw-ucla.npz``, ``msr-action3d.npz`` (Kinect v1, 20 joints) and ``hdm05-11.npz`` (motion capture with
toes, thumbs and fingers, 31 joints) as packed corpora (see mamp/prepare/packed.py). Each recording is expressed in the
model's 25 joints. For every layout these are expressed in the layout, as its tool would see the same body, and
converted back by the layout's mapping:

- a joint that the mapping takes as it is stands where the model's joint stands;
- the other joints that the mapping uses (ears, spine joints, toes) are put where the derived joints come out nearest,
  by least squares, starting from the joints that they help to make;
- joints that the mapping does not use do not matter.

So the table shows what is lost because the layout has fewer or other joints. It does not show that trackers place a hip
or a shoulder differently, nor how well they track.

Reported: distance between the joints and what came back, in centimetres, over the joints that the layout gives; cosine
between the two embeddings; and the accuracy of a linear probe (standardised embeddings, logistic regression, C = 0.1)
and of the nearest neighbour, with the training half converted as well, and with the training half as it was. Splits:
NW-UCLA trains on views 1 and 2 and tests on view 3; MSR-Action3D trains on odd subjects; HDM05 trains on three actors
and tests on the two others.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from probe import SETS, Probe, halves, read_set

from mamp import MAMPEncoder, Skeleton
from mamp.hub import describe
from mamp.layouts import MODEL_LAYOUT, Layout, find_layout, get_layout, list_layouts
from mamp.outputs import write_whole

GROUPS = {
    "trunk": ("spine_base", "spine_mid", "spine_shoulder"),
    "head": ("neck", "head"),
    "limbs": tuple(
        f"{part}_{side}"
        for side in ("left", "right")
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    ),
    "hands": tuple(f"{j}_{s}" for s in ("left", "right") for j in ("hand", "hand_tip", "thumb")),
    "feet": ("foot_left", "foot_right"),
}

# The bones of a Mixamo character, with one of the three bones of most fingers left out.
MIXAMO = ["Hips", "Spine", "Spine1", "Spine2", "Neck", "Head", "HeadTop_End"] + [
    side + bone
    for side in ("Left", "Right")
    for bone in (
        *("Shoulder", "Arm", "ForeArm", "Hand", "HandThumb1", "HandThumb2", "HandMiddle1"),
        *("UpLeg", "Leg", "Foot", "ToeBase"),
    )
]


def layouts() -> dict[str, Layout]:
    """The layouts to measure, by name."""
    known = {name: get_layout(name) for name in list_layouts() if name not in ("bvh", MODEL_LAYOUT.name)}
    known = {name: layout for name, layout in known.items() if layout.body == MODEL_LAYOUT.name}
    parents = [-1, 0, 1, 2, 3, 4, 5]
    for start in (7, 7 + (len(MIXAMO) - 7) // 2):
        parents += [3, start, start + 1, start + 2, start + 3, start + 4, start + 3]  # arm, thumb, finger
        parents += [0, start + 7, start + 8, start + 9]
    return {**known, "mixamo": find_layout([f"mixamorig:{bone}" for bone in MIXAMO], parents)}


def seen_by(layout: Layout) -> NDArray[np.float64]:
    """Weights [V, 25] that give the joints of the layout from the model's; rows of unused joints are zero."""
    back = layout.conversion(MODEL_LAYOUT).astype(np.float64)
    used = back != 0
    seen = np.zeros((len(layout.joints), len(MODEL_LAYOUT.joints)))
    taken = np.zeros(len(layout.joints), bool)
    for joint in np.flatnonzero(used.sum(axis=1) == 1):
        source = int(np.argmax(used[joint]))
        if not taken[source]:
            seen[source, joint], taken[source] = 1.0, True
    free = used.any(axis=0) & ~taken
    if not free.any():
        return seen
    rows = used[:, free].any(axis=1)
    share = np.abs(back[rows][:, free]).T
    seen[np.ix_(free, rows)] = share / share.sum(axis=1, keepdims=True)
    missing = np.eye(len(back))[rows] - back[rows] @ seen
    seen[free] += np.linalg.pinv(back[np.ix_(rows, free)]) @ missing
    return seen


def round_trip(recording: Skeleton, layout: Layout, seen: NDArray[np.float64]) -> Skeleton:
    """The recording (in the model's joints) as the layout's tool would give it, in the model's joints again."""
    shape = (*recording.positions.shape[:2], len(layout.joints), 3)
    positions = np.full(shape, np.nan, np.float32)
    for joint, row in enumerate(seen):
        parts = np.flatnonzero(np.abs(row) > 1e-9)
        if parts.size:
            positions[:, :, joint] = np.einsum("mtvc,v->mtc", recording.positions[:, :, parts], row[parts])
    return recording.replace(positions=positions, layout=layout, confidence=None).to_layout(MODEL_LAYOUT)


def distances(before: list[Skeleton], after: list[Skeleton]) -> dict[str, float | None]:
    """Mean distance in centimetres by group of joints; ``None`` where the layout has none of the group."""
    error = [
        100 * np.linalg.norm(a.positions - b.positions, axis=-1).reshape(-1, len(MODEL_LAYOUT.joints))
        for a, b in zip(after, before, strict=True)
    ]
    rows = np.concatenate(error)
    result: dict[str, float | None] = {}
    for group, joints in {**GROUPS, "all": MODEL_LAYOUT.joints}.items():
        values = rows[:, [MODEL_LAYOUT.joints.index(joint) for joint in joints]]
        values = values[np.isfinite(values)]
        result[group] = round(float(values.mean()), 1) if values.size else None
    return result


def errors(recordings: list[Skeleton]) -> dict[str, Any]:
    """Rows of a set with the distances of each layout."""
    rows: dict[str, Any] = {MODEL_LAYOUT.name: {}}
    for title, layout in layouts().items():
        seen = seen_by(layout)
        there = [round_trip(recording, layout, seen) for recording in recordings]
        rows[title] = {"cm": distances(recordings, there)}
    return rows


def add_accuracies(
    encoder: MAMPEncoder, share: float, name: str, recordings: list[Skeleton], rows: dict[str, Any]
) -> Iterator[None]:
    """Add the accuracies to the rows of a set, one layout after the other."""
    labels, train = halves(name, recordings)
    plain = np.asarray(encoder.encode(recordings, token_share=share))
    unchanged = Probe(plain[train], labels[train])
    as_is = unchanged.accuracy(plain[~train], labels[~train])
    rows[MODEL_LAYOUT.name] = {"retrained": as_is, "unchanged": as_is}
    for title, layout in layouts().items():
        seen = seen_by(layout)
        there = [round_trip(recording, layout, seen) for recording in recordings]
        same = all(
            np.allclose(a.positions, b.positions, atol=1e-5, equal_nan=True)
            for a, b in zip(there, recordings, strict=True)
        )
        x = plain if same else np.asarray(encoder.encode(there, token_share=share))
        rows[title] |= {
            "cosine": round(float(np.mean(_cosine(plain, x))), 3),
            "retrained": Probe(x[train], labels[train]).accuracy(x[~train], labels[~train]),
            "unchanged": unchanged.accuracy(x[~train], labels[~train]),
        }
        yield


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def main() -> None:
    """Measure, and write the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument(
        "--sets", nargs="+", default=list(SETS), metavar="SET[/N]", help="probe each N-th recording; N 0 probes none"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--weights", default="openmocap", help="[%(default)s]")
    parser.add_argument("--token-share", type=float, default=1.0, help="look at that share of the tokens [%(default)s]")
    args = parser.parse_args()
    encoder = MAMPEncoder.from_pretrained(args.weights, device=args.device)
    facts = describe(args.weights)
    results: dict[str, Any] = {}
    chosen: dict[str, list[Skeleton]] = {}
    for name, _, every in (text.partition("/") for text in args.sets):
        recordings = [one.to_layout(MODEL_LAYOUT) for one in read_set(args.data / f"{name}.npz")]
        chosen[name] = recordings[:: int(every)] if every not in ("", "0") else recordings if not every else []
        train = sum(SETS[name](recording.info) for recording in chosen[name])
        counts = {
            "weights": f"{facts['name']}@{facts['revision']}" if "revision" in facts else args.weights,
            "token_share": args.token_share,
            "clips": len(recordings),
            "train_clips": train,
            "test_clips": len(chosen[name]) - train,
        }
        results[name] = {**counts, "layouts": errors(recordings)}
        write_whole(args.output, json.dumps(results, indent=1) + "\n")
    for name, recordings in chosen.items():
        if recordings:
            for _ in add_accuracies(encoder, args.token_share, name, recordings, results[name]["layouts"]):
                write_whole(args.output, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
