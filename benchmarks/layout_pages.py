"""Write docs/layouts.md and its pictures from the registered layouts and the measured costs.

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

from mamp.layouts import MODEL_LAYOUT, Layout

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "layouts.md"
PICTURES = ROOT / "docs" / "images" / "layouts"
COSTS = ROOT / "benchmarks" / "layouts.json"

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

INTRO = """# Skeleton layouts

<!-- Written by benchmarks/layout_pages.py; change that file, not this one. -->

The model has the 25 joints of Kinect v2. A recording with other joints is first converted to them by a table: each of
the 25 is *taken* directly from a joint, placed *between* joints, *extrapolated* beyond them, or *absent*. Absent joints
are NaN, like joints that were not tracked; `encode` leaves them out.

```python
import numpy as np
from mamp import Skeleton, get_layout

recording = Skeleton(np.random.rand(90, 17, 3), layout="coco17", fps=30)
for joint, how in recording.layout.describe(get_layout("ntu25")).items():
    print(joint, how)                     # head between left_ear and right_ear, ...
print(recording.layout.absent(get_layout("ntu25")))    # ('foot_left', 'foot_right', 'thumb_left', 'thumb_right')
```

`layout` is one of the names below, or a list of your joint names. A list is first compared with the registered layouts
(in any order, ignoring case and separators), and otherwise matched name by name, like the names of BVH and Mixamo
files; at least shoulders, elbows, hips and knees have to be recognised. Left and right are those of the person, not of
the picture. A layout defines only the order and names of joints; positions are always in metres, y up.

## Your own layout

```python
from mamp import register_layout

register_layout(
    "mine",
    joints=["root", "l_hip", "r_hip", "l_knee", "r_knee", "chest", "head_top"],
    mapping={
        "spine_base": "root",
        "hip_left": "l_hip", "hip_right": "r_hip", "knee_left": "l_knee", "knee_right": "r_knee",
        "spine_mid": {"root": 0.5, "chest": 0.5},       # between two
        "spine_shoulder": "chest",
        "head": {"chest": 0.3, "head_top": 0.7},
    },
)
```

Unknown names, weights that do not add up to one, and cycles among the parents are refused. Joints that the mapping
leaves out are logged as a warning (`layout 'mine' gives 8 of the model's 25 joints; absent ...`), derived joints as
information. The fewer joints a recording has, the less its embedding says.

## 2D keypoints

The weights were trained on 3D bodies. Positions with two coordinates, or with one coordinate that is the same for every
joint in every frame, are refused. Lift them to 3D first (with any lifter that writes `h36m17` or `coco17`), or pass
`Skeleton(..., allow_2d=True)` to continue without depth; we have not measured how good the embeddings are then.
"""

COST = """## What a conversion costs

We converted recordings in the model's 25 joints to each layout, as its tool would see the same body, and back with the
table of the layout (`benchmarks/layouts.py` describes how joints without a counterpart are placed). *Error* is the mean
distance between the original joints and the result, over the joints that the layout gives. *Cosine* compares the
embeddings before and after. The probes are linear (logistic regression) and nearest neighbour (1-NN) on frozen
`{weights}` embeddings ({share}), accuracy in %: *retrained* was trained on converted clips, *as trained* on unconverted
ones. Absent joints are handled as `encode` does by default. If fewer clips were probed than converted, it is every
second one; 95 % intervals are at most as wide as the heading says. The table shows what is lost with the joints. It
does not show that trackers place a hip or a shoulder differently, or how well they track. In the Kinect v1 data sets
thumbs, finger tips and neck are derived themselves, so no layout can lose them there; HDM05 is motion capture with
thumbs, fingers and toes.
"""


def picture_name(name: str) -> str:
    """File name of the picture of a layout."""
    return f"{name}.png"


def shown() -> dict[str, Layout]:
    """Layouts in the order of the page."""
    known = {MODEL_LAYOUT.name: MODEL_LAYOUT, **layouts()}
    return {name: known[name] for name in [*TITLES, *sorted(set(known) - set(TITLES))]}


def page(costs: dict[str, Any]) -> str:
    """The text of docs/layouts.md."""
    parts = [INTRO, "## Overview\n\n" + _overview()]
    parts += [_cost(costs), *map(_cost_table, costs.items())] if costs else []
    parts += [_section(name, layout) for name, layout in shown().items()]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _cost(costs: dict[str, Any]) -> str:
    shares = {result.get("token_share", 1.0) for result in costs.values()}
    share = ", ".join(f"{100 * share:g} % of the tokens, those that move most" for share in sorted(shares))
    weights = ", ".join(sorted({result["weights"] for result in costs.values()}))
    return COST.format(weights=weights, share="all tokens" if shares == {1.0} else share)


def _overview() -> str:
    rows = ["| layout | joints | from | taken | between | extrapolated | absent |", "| --- " * 7 + "|"]
    for name, layout in shown().items():
        how = [text.split()[0] for text in layout.describe(MODEL_LAYOUT).values()]
        counts = " | ".join(str(how.count(kind)) for kind in ("taken", "between", "extrapolated", "absent"))
        rows.append(f"| [`{name}`](#{name}) | {len(layout.joints)} | {TITLES.get(name, '')} | {counts} |")
    return "\n".join(rows)


def _cost_table(item: tuple[str, dict[str, Any]]) -> str:
    name, result = item
    probes = ""
    if result["test_clips"]:
        probes = (
            f"; probes: {result['train_clips']} to train, {result['test_clips']} to test, ± {_half_width(result):.1f}"
        )
    lines = [
        f"### {name} (errors over {result['clips']} clips{probes})",
        "",
        "| layout | error, cm: trunk | head | limbs | hands | feet | all |",
        "| --- " * 7 + "|",
    ]
    probed = bool(result["test_clips"])
    if probed:
        lines[-2] += " cosine | linear, retrained | as trained | 1-NN, retrained | as trained |"
        lines[-1] += " --- |" * 5
    for layout, row in result["layouts"].items():
        cm = row.get("cm", {})
        errors = [_number(cm.get(group)) for group in ("trunk", "head", "limbs", "hands", "feet", "all")]
        ways = [(probe, how) for probe in ("linear", "neighbour") for how in ("retrained", "unchanged")]
        right = [_number(row[how][probe] if how in row else None) for probe, how in ways]
        cosine = f"{row['cosine']:.3f}" if "cosine" in row else ""
        lines.append("| " + " | ".join([f"`{layout}`", *errors, *([cosine, *right] if probed else [])]) + " |")
    return "\n".join(lines) + "\n"


def _half_width(result: dict[str, Any]) -> float:
    """Half of the widest 95 % interval of the accuracies of a set, in points, by the normal distribution."""
    probed = [row[how] for row in result["layouts"].values() for how in ("retrained", "unchanged") if how in row]
    shares = [value / 100 for probe in probed for value in probe.values()]
    return 196 * max(share * (1 - share) for share in shares) ** 0.5 / result["test_clips"] ** 0.5


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _section(name: str, layout: Layout) -> str:
    weights = layout.conversion(MODEL_LAYOUT)
    lines = [f'<a id="{name}"></a>', "", f"## `{name}`: {TITLES.get(name, 'registered')}", ""]
    if name != MODEL_LAYOUT.name:
        lines += [f"![{name} and the joints of the model](images/layouts/{picture_name(name)})", ""]
    lines += [NOTES[name], ""] if name in NOTES else []
    parents = [layout.joints[parent] if parent >= 0 else "root" for parent in layout.parents]
    named = zip(layout.joints, parents, strict=True)
    lines += ["Joints, with the joint that each hangs on:", ""]
    lines += [", ".join(f"{index} {joint} ({parent})" for index, (joint, parent) in enumerate(named)) + ".", ""]
    lines += ["Left and right: " + ", ".join(f"{left} and {right}" for left, right in layout.pairs) + ".", ""]
    if name == MODEL_LAYOUT.name:
        return "\n".join(lines)
    lines += ["| joint of the model | how | weights |", "| --- | --- | --- |"]
    for row, (joint, how) in zip(weights, layout.describe(MODEL_LAYOUT).items(), strict=True):
        used = [f"{row[i]:.3g} {layout.joints[i]}" for i in np.flatnonzero(row)]
        lines.append(f"| {joint} | {how.split()[0]} | {' + '.join(used).replace('+ -', '- ')} |")
    return "\n".join(lines)


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
_COLOURS = {"taken": "#1a7f37", "between": "#0b61c4", "extrapolated": "#c4570b", "absent": "#b0b0b0"}


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
        face = "white" if how[joint] == "absent" else _COLOURS[how[joint]]
        right.plot(x, y, "o", markerfacecolor=face, markeredgecolor=_COLOURS[how[joint]], markersize=6)
        right.annotate(str(joint), (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7)
    right.set_title("ntu25: the 25 joints of the model", fontsize=10)
    for kind, colour in _COLOURS.items():
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
                (PICTURES / picture_name(name)).write_bytes(draw(name, layout))


if __name__ == "__main__":
    main()
