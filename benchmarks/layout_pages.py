"""Write the tables of docs/layouts.md and its pictures from the registered layouts and the measured costs.

python benchmarks/layout_pages.py            (page and pictures; the pictures need matplotlib)
python benchmarks/layout_pages.py --page     (the page only)
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from layouts import layouts, seen_by

from mamp.evaluate.page import markdown_table
from mamp.figures import DERIVED
from mamp.layouts import MODEL_LAYOUT, Layout

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "layouts.md"
PICTURES = ROOT / "docs" / "images" / "layouts"
MARK = "<!-- Below this line, written by benchmarks/layout_pages.py. -->\n"
COSTS = ROOT / "benchmarks" / "layouts.json"

WAYS = ("taken", "between", "extrapolated", "absent")
GROUPS = ("trunk", "head", "limbs", "hands", "feet", "all")
TITLES = {
    "ntu25": "Kinect v2 (NTU RGB+D, PKU-MMD): the joints of the model",
    "kinect20": "Kinect v1 (NW-UCLA, MSR-Action3D)",
    "azure32": "Azure Kinect body tracking",
    "sbu15": "Kinect v1 tracked by NITE (SBU Kinect Interaction)",
    "coco17": "COCO keypoints (MMPose, Detectron2, YOLO pose, ViTPose, MoveNet), lifted to 3D",
    "body25": "OpenPose BODY_25, 3D",
    "panoptic19": "CMU Panoptic Studio (`joints19`)",
    "h36m17": "Human3.6M, 17 joints (VideoPose3D, MotionBERT, MMPose lifters)",
    "mediapipe33": "MediaPipe Pose world landmarks",
    "smpl22": "SMPL-H and SMPL-X body joints (AMASS, HumanML3D)",
    "smpl24": "SMPL",
    "cmu31": "CMU and HDM05 motion capture (ASF/AMC)",
    "mmm21": "Master Motor Map (KIT-ML)",
    "xsens23": "Xsens MVN (MVNX)",
    "mixamo": "Mixamo, as an example of names that are matched (`bvh`)",
}
NOTES = {
    "azure32": "Names and order of the SDK's `k4abt_joint_id_t`. Its documentation writes `SPINE_NAVAL` where the "
    "header has `SPINE_NAVEL`; both are understood. `neck` is the foot of the neck and `head` its top.",
    "sbu15": "The feet in the files are at the ankles.",
    "coco17": "Feet and thumbs are absent. Hands and finger tips continue the forearm.",
    "body25": "In the order of OpenPose, right side first. Thumbs are absent.",
    "panoptic19": "Not the order of OpenPose: neck first, left side first. Feet and thumbs are absent.",
    "h36m17": "Right leg first, left arm first. The foot of the data set is the ankle. Some older configurations of "
    "MMPose name the left leg first; the arrays that lifters are trained on do not.",
    "mediapipe33": "Use the world landmarks (metres), not the image landmarks. Index, little finger and thumb are "
    "knuckles, the foot index is the tip of the foot. Left and right are the person's.",
    "smpl22": "The first 22 joints of SMPL, SMPL-H and SMPL-X, as forward kinematics gives them.",
    "smpl24": "The first 24 joints of SMPL; the hand joint is at the knuckles.",
    "mmm21": "The 21 joints of KIT-ML's features and arrays, in their order.",
    "xsens23": "The origin of a segment is the joint at its beginning: `LeftForeArm` is the left elbow.",
    "cmu31": "A joint stands at the end of the bone of its name: `lfemur` is the left knee.",
    "mixamo": "Any BVH or FBX skeleton whose joint names say what they are is taken this way; a joint stands at the "
    "start of the limb that it is named after. The prefix `mixamorig:` may be there or not.",
}

MEASURED = """\
We expressed recordings in the joints of each layout, as its tool would see the same body, and converted them back
(`benchmarks/layouts.py` describes how joints without a counterpart are placed). So the tables show what is lost with
the joints. They do not show that trackers place a hip or a shoulder differently, or how well they track.

- *Error* is the mean distance between the original joints and the result, over the joints that the layout gives.
- *Cosine* compares the embeddings before and after.
- *Linear* (logistic regression) and *1-NN* are probes on frozen embeddings, accuracy in %: *retrained* on converted
  clips, or *as trained* on unconverted ones. If fewer clips were probed than converted, it is every second one.

Absent joints are handled as `encode` does by default. In the Kinect v1 data sets thumbs, finger tips and neck are
derived themselves, so no layout can lose them there; HDM05 is motion capture with thumbs, fingers and toes."""


def shown() -> dict[str, Layout]:
    """Layouts in the order of the page."""
    known = {MODEL_LAYOUT.name: MODEL_LAYOUT, **layouts()}
    return {name: known[name] for name in [*TITLES, *sorted(set(known) - set(TITLES))]}


def page(costs: dict[str, Any]) -> str:
    """The text of docs/layouts.md: what is above the mark stays, the rest is written anew."""
    head = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    parts = [head + MARK, "## Overview\n\n" + _overview()]
    parts += [_section(name, layout) for name, layout in shown().items()]
    if costs:
        parts += ["## What a conversion costs\n\n" + MEASURED + "\n\n" + _embeddings(costs)]
        parts += map(_cost_table, costs.items())
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _embeddings(costs: dict[str, Any]) -> str:
    shares = sorted({result.get("token_share", 1.0) for result in costs.values()})
    weights = ", ".join(sorted({result["weights"] for result in costs.values()}))
    tokens = ", ".join(f"{100 * share:g} % of the tokens, those that move most" for share in shares)
    return f"Embeddings: `{weights}`, {'all tokens' if shares == [1.0] else tokens}."


def _overview() -> str:
    rows = []
    for name, layout in shown().items():
        how = [text.split()[0] for text in layout.describe(MODEL_LAYOUT).values()]
        rows.append([f"[`{name}`](#{name})", len(layout.joints), TITLES.get(name, ""), *map(how.count, WAYS)])
    return "\n".join(markdown_table(["layout", "joints", "from", *WAYS], rows, text=7))


def _cost_table(item: tuple[str, dict[str, Any]]) -> str:
    name, result = item
    header, probes = ["layout", "error, cm: trunk", *GROUPS[1:]], ""
    if result["test_clips"]:
        counts = f"{result['train_clips']} to train, {result['test_clips']} to test"
        probes = f"; probes: {counts}; 95 % intervals of at most ± {_half_width(result):.1f}"
        header += ["cosine", "linear, retrained", "as trained", "1-NN, retrained", "as trained"]
    rows = []
    for layout, row in result["layouts"].items():
        cells = [f"`{layout}`", *(_number(row.get("cm", {}).get(group)) for group in GROUPS)]
        cells.append(f"{row['cosine']:.3f}" if "cosine" in row else "")
        ways = [(probe, how) for probe in ("linear", "neighbour") for how in ("retrained", "unchanged")]
        cells += [_number(row[how][probe] if how in row else None) for probe, how in ways]
        rows.append(cells[: len(header)])
    title = f"### {name}\n\nErrors over {result['clips']} clips{probes}."
    return "\n".join([title, "", *markdown_table(header, rows, text=len(header))]) + "\n"


def _half_width(result: dict[str, Any]) -> float:
    """Half of the widest 95 % interval of the accuracies of a set, in points, by the normal distribution."""
    probed = [row[how] for row in result["layouts"].values() for how in ("retrained", "unchanged") if how in row]
    shares = [value / 100 for probe in probed for value in probe.values()]
    return 196 * max(share * (1 - share) for share in shares) ** 0.5 / result["test_clips"] ** 0.5


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _section(name: str, layout: Layout) -> str:
    weights = layout.conversion(MODEL_LAYOUT)
    lines = [f"## `{name}`", "", f"**{TITLES.get(name, 'Registered')}.**", ""]
    if name != MODEL_LAYOUT.name:
        lines += [f"![{name} and the joints of the model](images/layouts/{name}.png)", ""]
    lines += [NOTES[name], ""] if name in NOTES else []
    parents = [layout.joints[parent] if parent >= 0 else "root" for parent in layout.parents]
    named = zip(layout.joints, parents, strict=True)
    joints = ["Joints in order, each with its parent:", ""]
    joints += [", ".join(f"{index} {joint} ({parent})" for index, (joint, parent) in enumerate(named)) + ".", ""]
    joints += ["Left and right: " + ", ".join(f"{left} and {right}" for left, right in layout.pairs) + ".", ""]
    if name == MODEL_LAYOUT.name:
        return "\n".join([*lines, *joints])
    rows = []
    for row, (joint, how) in zip(weights, layout.describe(MODEL_LAYOUT).items(), strict=True):
        used = [f"{row[i]:.3g} {layout.joints[i]}" for i in np.flatnonzero(row)]
        rows.append([joint, how.split()[0], " + ".join(used).replace("+ -", "- ")])
    table = markdown_table(["joint of the model", "how", "weights"], rows, text=3)
    summary = "<details><summary>Its joints in order, and how the 25 joints of the model follow</summary>"
    return "\n".join([*lines, summary, "", *joints, *table, "", "</details>"])


# --- pictures -------------------------------------------------------------------------------------------------------

# A person seen from the front, arms out; the person's left is on the right of the picture.
_LEFT = {
    "shoulder": (0.18, 1.40), "elbow": (0.36, 1.18), "wrist": (0.53, 0.98), "hand": (0.59, 0.91),
    "hand_tip": (0.66, 0.82), "thumb": (0.53, 0.86), "hip": (0.10, 0.93), "knee": (0.13, 0.52), "ankle": (0.15, 0.10),
    "foot": (0.20, 0.03),
}  # fmt: skip
_CENTRE = {
    "spine_base": (0.0, 0.97), "spine_mid": (0.0, 1.20), "spine_shoulder": (0.0, 1.42), "neck": (0.0, 1.50),
    "head": (0.0, 1.63),
}  # fmt: skip
# Joints that no table uses, or that would stand on top of each other: word in the name -> where they are drawn.
_DRAWN = {
    "eyeinner": (0.02, 1.67), "eyeouter": (0.055, 1.67), "eye": (0.037, 1.67), "ear": (0.09, 1.64), "nose": (0.0, 1.61),
    "mouth": (0.03, 1.56), "heel": (0.13, 0.03), "clavicle": (0.07, 1.42), "collar": (0.07, 1.40),
    "smalltoe": (0.27, 0.04), "bigtoe": (0.20, -0.02), "ltoes": (0.24, -0.02), "rtoes": (0.24, -0.02),
    "pinky": (0.62, 0.94), "index": (0.60, 0.87), "lowerback": (0.0, 1.08), "spine1": (0.0, 1.12), "spine": (0.0, 1.06),
    "spine2": (0.0, 1.3), "spine3": (0.0, 1.32), "thumb1": (0.52, 0.92), "head": (0.0, 1.55),
}  # fmt: skip


def _model_pose() -> NDArray[np.float64]:
    pose = []
    for joint in MODEL_LAYOUT.joints:
        part, _, side = joint.rpartition("_")
        x, y = _LEFT[part] if side in ("left", "right") else _CENTRE[joint]
        pose.append((-x if side == "right" else x, y))
    return np.array(pose)


def _layout_pose(layout: Layout) -> NDArray[np.float64]:
    """Where the joints of a layout are drawn, [V, 2]."""
    seen = seen_by(layout)
    pose = seen @ _model_pose()
    rights = {right for _, right in layout.pairs}
    moved = {"spine3", "ear", "bigtoe", "smalltoe", "pinky", "index"}
    for joint, name in enumerate(layout.joints):
        key = "".join(filter(str.isalnum, name.lower().rsplit(":", 1)[-1]))
        word = next((w for w in sorted(_DRAWN, key=len, reverse=True) if key.endswith(w) or key.startswith(w)), None)
        if key.endswith("shoulder") and layout.name == "bvh":
            word = "collar"
        unused = not np.abs(seen[joint]).sum()
        if unused or (word in moved and "foot" not in key):
            x, y = _DRAWN[word or "head"]
            pose[joint] = (-x if name in rights else x, y)
    return pose


def draw(name: str, layout: Layout) -> bytes:
    """The layout and the model's joints side by side, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 6.2), dpi=80)
    pose = _layout_pose(layout)
    _draw_bones(left, layout, pose)
    for joint, (x, y) in enumerate(pose):
        left.plot(x, y, "o", color="#333333", markersize=4)
        left.annotate(str(joint), (x, y), xytext=(3, 3), textcoords="offset points", fontsize=7)
    left.set_title(f"{name}: {len(layout.joints)} joints", fontsize=10)
    how = [text.split()[0] for text in layout.describe(MODEL_LAYOUT).values()]
    _draw_bones(right, MODEL_LAYOUT, _model_pose())
    for joint, (x, y) in enumerate(_model_pose()):
        face = "white" if how[joint] == "absent" else DERIVED[how[joint]]
        right.plot(x, y, "o", markerfacecolor=face, markeredgecolor=DERIVED[how[joint]], markersize=6)
        right.annotate(str(joint), (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7)
    right.set_title("ntu25: the 25 joints of the model", fontsize=10)
    for kind, colour in DERIVED.items():
        face = "white" if kind == "absent" else colour
        right.plot([], [], "o", markerfacecolor=face, markeredgecolor=colour, label=f"{kind} ({how.count(kind)})")
    right.legend(loc="lower center", ncols=2, fontsize=8, frameon=False, bbox_to_anchor=(0.5, -0.07))
    for axes in (left, right):
        axes.set(xlim=(-0.8, 0.8), ylim=(-0.12, 1.82), aspect="equal")
        axes.axis("off")
        axes.text(-0.75, 1.75, "person's right", fontsize=7, color="#888888")
        axes.text(0.75, 1.75, "person's left", fontsize=7, color="#888888", ha="right")
    figure.tight_layout()
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png")
    plt.close(figure)
    Image.open(raw).convert("RGB").quantize(64).save(small, format="png", optimize=True)
    return small.getvalue()


def _draw_bones(axes: Any, layout: Layout, pose: NDArray[np.float64]) -> None:
    for joint, parent in enumerate(layout.parents):
        if parent >= 0:
            axes.plot(*zip(pose[joint], pose[parent], strict=True), color="#c8c8c8", linewidth=1.5, zorder=0)


def main() -> None:
    """Write the page and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="leave the pictures as they are")
    args = parser.parse_args()
    PAGE.write_text(page(json.loads(COSTS.read_text()) if COSTS.exists() else {}))
    if not args.page:
        PICTURES.mkdir(parents=True, exist_ok=True)
        for name, layout in shown().items():
            if name != MODEL_LAYOUT.name:
                (PICTURES / f"{name}.png").write_bytes(draw(name, layout))


if __name__ == "__main__":
    main()
