"""Layouts of hands: a body of its own, for weights that are trained on hands."""

from __future__ import annotations

from itertools import pairwise

from mamp.layouts.layout import tree

_FINGERS = ("index_finger", "middle_finger", "ring_finger", "pinky")
_LONG = [[f"{finger}_{joint}" for joint in ("mcp", "pip", "dip", "tip")] for finger in _FINGERS]
_THUMB = [f"thumb_{joint}" for joint in ("cmc", "mcp", "ip", "tip")]

# MediaPipe Hands, in its order: the wrist, then thumb to little finger from the palm to the tip.
HAND21 = tree(
    "hand21",
    "wrist -\n" + "\n".join(f"{b} {a}" for finger in (_THUMB, *_LONG) for a, b in pairwise(["wrist", *finger])),
    parts={
        "thumb": ("wrist", *_THUMB),
        **dict(zip(_FINGERS, _LONG, strict=True)),
    },
    body="hand21",
)

_OPENXR = ("index", "middle", "ring", "little")

# OpenXR hand tracking (XR_EXT_hand_tracking), in its order. MediaPipe has neither palm nor metacarpals of the fingers.
OPENXR26 = tree(
    "openxr26",
    "palm wrist, wrist -\n"
    "thumb_metacarpal wrist, thumb_proximal thumb_metacarpal, thumb_distal thumb_proximal, thumb_tip thumb_distal\n"
    + "\n".join(
        f"{f}_metacarpal wrist, {f}_proximal {f}_metacarpal, {f}_intermediate {f}_proximal, "
        f"{f}_distal {f}_intermediate, {f}_tip {f}_distal"
        for f in _OPENXR
    ),
    {
        "wrist": "wrist",
        **dict(zip(_THUMB, (f"thumb_{j}" for j in ("metacarpal", "proximal", "distal", "tip")), strict=True)),
        **{
            ours: f"{theirs}_{joint}"
            for theirs, finger in zip(_OPENXR, _LONG, strict=True)
            for ours, joint in zip(finger, ("proximal", "intermediate", "distal", "tip"), strict=True)
        },
    },
    body="hand21",
)

HANDS = (HAND21, OPENXR26)
