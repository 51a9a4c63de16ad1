"""Where the joints of the model lie among the markers of the usual marker sets.

Plug-in Gait (full and lower body), CMU's 41, Helen Hayes, IOR, Qualisys, Motive's baseline, the anatomical markers of
OpenCap and Cortex, and joint centres as OpenSim, Visual3D and Theia name them. The sets overlap, and laboratories leave
out and add markers, so there is one vocabulary of anatomical points, and the ways to find each joint, best first.

Hip centres follow from the pelvis (Bell, Brand and Pedersen 1989: 14 % of its width inward, 19 % backward and 30 %
downward from the front spine). Other joints are in the middle of the markers on both sides of them; where there is only
the outer one, knee and ankle lie 0.2 and 0.14 of the width of the pelvis inward. Hands, neck and the middle of the
spine are put as for pose estimators (:mod:`mamp.layouts.estimators`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mamp.layouts import between, beyond

Weights = Mapping[str, float]
Points = dict[str, NDArray[np.float64]]

# Anatomical point -> its names without side, in capital letters and digits.
SIDED = {
    "ASI": "ASI ASIS IAS FWT WAISTFRONT ASISANT",
    "PSI": "PSI PSIS IPS BWT WAISTBACK",
    "KNE": "KNE KNEE KNEELATERAL KNEELAT LATKNEE LKNEE KNL LFC FLE LEK LFE KNEEOUT LATERALKNEE KNEEL LCONDYLE LEPI "
    "LKNE FEL LLFC KNEO",
    "KNM": "KNM KNEEMEDIAL KNEEMED MEDKNEE MKNEE MKNE MFC FME MEK MFE KNEEIN MEDIALKNEE KNEEM MCONDYLE MEPI KNEI "
    "KNEMED KMED KNEM",
    "ANK": "ANK ANKLE ANKLELATERAL ANKLELAT LATANKLE LANKLE LMAL LM FAL ANKLEOUT LATERALANKLE ANKLEL LMALLEOLUS LANK "
    "ANL LLM LLMAL",
    "ANM": "ANM ANKLEMEDIAL ANKLEMEDANKLE MANKLE MMAL MM TAM ANKLEIN MEDIALANKLE ANKLEM MMALLEOLUS MANK ANKMED AMED "
    "SPH ANKM MED",
    "HEE": "HEELBACK HEE HEEL CAL CALC CA FCC",
    "TOE": "TOE FOREFOOT2 FOREFOOT MT2 SMH FM2 FMT2 SM TOES METATARSAL2 2META MTP2 MTII",
    "TIP": "TIP TOETIP BIGTOE HALLUX HLX TT2",
    "MT1": "FOREFOOTIN MT1 FM1 FMT1 FM TOEIN D1M M1 1META METATARSAL1 MTP1 MTI BTO",
    "MT5": "FOREFOOTOUT FOREFOOT5 MT5 FM5 FMT5 VM TOEOUT D5M M5 5META METATARSAL5 MTP5 MTV SMALLTOE",
    "SHO": "SHO SHOULDER ACR AC ACROMION ACROMIUM ACRO SHOULDERTOP SAE ACROM",
    "CLA": "CLAVICLE",
    "ELB": "ELB ELBOW ELBOWLATERAL ELBOWLAT LATELBOW LELBOW HLE LEL ELBOWOUT LATERALELBOW ELBL LELB EPICL ELBO ELBLAT",
    "ELM": "ELM ELBOWMEDIAL ELBOWMED MEDELBOW MELBOW HME MEL ELBOWIN MEDIALELBOW ELBM MELB EPICM ELBI ELBMED",
    "WRA": "WRA RSP WRISTRADIUS WRISTLATERAL WRISTLAT LWRIST RS WRISTIN IWR RADIUS STYLR LATWRIST WRR WRISTRADIAL LWRI",
    "WRB": "WRB USP WRISTULNA WRISTMEDIAL WRISTMED MWRIST US WRISTOUT OWR ULNA STYLU MEDWRIST WRU WRISTULNAR MWRI",
    "WRI": "WRI WRIST WR",
    "FIN": "HM2 FIN FINGER M3 HM3 MC3 MCP3 HANDOUT FINGERBASE KNUCKLE HANDKNUCKLE HAND",
    "THM": "THM THUMB THMB",
    "FHD": "FHD HEADFRONT FRONTHEAD",
    "BHD": "BHD HEADBACK BACKHEAD",
    "HED": "HED HEAD EAR HEADSIDE TRAGUS TEMPLE",
    "HJC": "HJC HIPJC HIPJOINTCENTER HIPJOINTCENTRE HIPCENTER HIPCENTRE HIPJOINT HIPJNT HIPJCSTATIC HJCSTATIC FEP "
    "HIP THIGH4X4 THIGHORIGIN UPPERLEGORIGIN HIPORIGIN",
    "KJC": "KJC KNEEJC KNEEJOINTCENTER KNEEJOINTCENTRE KNEECENTER KNEECENTRE KNEEJOINT KNEEJNT FEO SHANK4X4 "
    "SHANKORIGIN LOWERLEGORIGIN KNEEORIGIN",
    "AJC": "AJC ANKLEJC ANKLEJOINTCENTER ANKLEJOINTCENTRE ANKLECENTER ANKLECENTRE ANKLEJOINT ANKLEJNT TIO FOOT4X4 "
    "FOOTORIGIN ANKLEORIGIN",
    "SJC": "SJC SHOULDERJC SHOULDERJOINTCENTER SHOULDERJOINTCENTRE SHOULDERCENTER SHOULDERCENTRE SHOULDERJOINT "
    "SHOULDERJNT HUP ACROMIAL GLENOHUMERAL GHJC UARM4X4 UPPERARMORIGIN UARMORIGIN SHOULDERORIGIN",
    "EJC": "EJC ELBOWJC ELBOWJOINTCENTER ELBOWJOINTCENTRE ELBOWCENTER ELBOWCENTRE ELBOWJOINT ELBOWJNT HUO LARM4X4 "
    "LOWERARMORIGIN LARMORIGIN FOREARMORIGIN ELBOWORIGIN",
    "WJC": "WJC WRISTJC WRISTJOINTCENTER WRISTJOINTCENTRE WRISTCENTER WRISTCENTRE WRISTJOINT WRISTJNT RAO RADIUSHAND "
    "HAND4X4 HANDORIGIN WRISTORIGIN",
    "FJC": "MTP TOEJC MTPJOINT MTPJC TOES4X4 TOESORIGIN TOEORIGIN TOEJOINT TOEJOINTCENTER TOEJOINTCENTRE",
}
CENTRAL = {
    "SACR": "WAISTBACK SACR VSAC SACRAL VSACRAL SACRUM S2 S1 SAC MPSIS MIDPSIS",
    "C7": "SPINETOP C7 CV7 BACKTOP C7T1",
    "CLAV": "CLAV SJN IJ CHESTTOP JUG JN SS SUP MANUBRIUM STERNUMTOP",
    "STRN": "STRN SXS XIPH PX XP CHEST STERNUM LSTERN STER",
    "T10": "T10 TV10",
    "TOPH": "ARIEL TOPHEAD HEADTOP TPHD VERTEX HEADVERTEX TOPOFHEAD",
    "FRONTH": "SGL FRONTHEAD HEADFRONT FRHD FORH FOREHEAD",
    "REARH": "REARHEAD HEADREAR BACKHEAD HEADBACK",
    "HEADC": "HEAD HEADJC HEADCENTER HEADCENTRE HEADORIGIN HEAD4X4 HEADJOINT",
    "NECKC": "NECK NECKJC NECKJOINT NECKCENTER NECKCENTRE TORSOORIGIN NECKORIGIN",
    "PELVIS": "PELVIS PELVISJC PELVIS4X4 PELVISORIGIN MIDHIP HIPS GROUNDPELVIS PELO MIDHIPS MIDHJC ROOT PELVISCENTER "
    "PELVISCENTRE",
    "THORAX": "TRXO",
}
_SIDED = {alias: point for point, aliases in SIDED.items() for alias in aliases.split()}
_CENTRAL = {alias: point for point, aliases in CENTRAL.items() for alias in aliases.split()}
_SIDES = {"L": "L", "R": "R", "LEFT": "L", "RIGHT": "R", "LT": "L", "RT": "R"}
_WORDS = re.compile(r"\d[Xx]\d|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
# What some tools add to the name of a point: Cortex calls virtual markers V_, OpenCap the anatomical ones _study.
_ADDED = ("V", "STUDY", "STATIC", "MARKER", "POS", "POSITION")
# Points of the outside of a joint that are called like those of its inside, where a file has two of one label.
_OTHER_SIDE = {"KNE": "KNM", "ANK": "ANM", "ELB": "ELM"}


def _mean(*points: str) -> Weights:
    weights: Counter[str] = Counter()
    for point in points:
        weights[point] += 1
    return {point: weight / len(points) for point, weight in weights.items()}


def _inward(point: str, share: float) -> Weights:
    """A point moved from its side's front spine of the pelvis towards the other's, by a share of their distance."""
    return {point: 1.0, "{O}ASI": share, "{S}ASI": -share}


# Joint of the model -> the ways to find it, best first, from points and from joints further up in this table.
# {S} is the side of points (L, R) and {O} the other one, {s} that of joints.
_SIDE_JOINTS: dict[str, tuple[Weights, ...]] = {
    "hip_{s}": ({"{S}HJC": 1}, {"{S}BELL": 1}, between(_mean("{S}ASI", "{S}PSI"), "{S}KNE", 0.15),
                between("{S}ASI", "{S}KNE", 0.18)),
    "knee_{s}": ({"{S}KJC": 1}, _mean("{S}KNE", "{S}KNM"), _inward("{S}KNE", 0.2), {"{S}KNE": 1}, {"{S}KNM": 1}),
    "ankle_{s}": ({"{S}AJC": 1}, _mean("{S}ANK", "{S}ANM"), _inward("{S}ANK", 0.14), {"{S}ANK": 1}, {"{S}ANM": 1},
                  between("{S}HEE", "{S}TOE", 0.25)),
    "foot_{s}": ({"{S}TOE": 1}, _mean("{S}MT1", "{S}MT5"), {"{S}FJC": 1}, {"{S}MT5": 1}, {"{S}MT1": 1},
                 between("ankle_{s}", "{S}TIP", 0.75)),
    "elbow_{s}": ({"{S}EJC": 1}, _mean("{S}ELB", "{S}ELM"), {"{S}ELB": 1}, {"{S}ELM": 1}),
    "shoulder_{s}": ({"{S}SJC": 1}, between("{S}SHO", "elbow_{s}", 0.15), {"{S}SHO": 1}),
    "wrist_{s}": ({"{S}WJC": 1}, _mean("{S}WRA", "{S}WRB"), {"{S}WRI": 1}, {"{S}WRA": 1}, {"{S}WRB": 1}),
    "hand_{s}": ({"{S}FIN": 1}, beyond("elbow_{s}", "wrist_{s}", 0.3)),
    "hand_tip_{s}": (beyond("wrist_{s}", "{S}FIN", 0.9), beyond("elbow_{s}", "wrist_{s}", 0.6)),
    "thumb_{s}": ({"{S}THM": 1}, {"hand_{s}": 1}),
}  # fmt: skip
_TRUNK: dict[str, tuple[Weights, ...]] = {
    "mid_pelvis": (_mean("LASI", "RASI", "LPSI", "RPSI"), _mean("LASI", "RASI", "SACR", "SACR"), {"PELVIS": 1},
                   _mean("LASI", "RASI")),
    "spine_base": (between("mid_pelvis", _mean("hip_left", "hip_right")), _mean("hip_left", "hip_right"),
                   {"mid_pelvis": 1}),
    "spine_shoulder": (_mean("C7", "CLAV"), _mean("C7", "C7", "LSHO", "RSHO"), _mean("CLAV", "CLAV", "LSHO", "RSHO"),
                       _mean("LCLA", "RCLA", "LSHO", "RSHO"), _mean("LSHO", "RSHO"), _mean("LSJC", "RSJC"),
                       {"THORAX": 1}, {"NECKC": 1}),
    "spine_mid": (between("spine_base", "spine_shoulder"),),
    "mid_head": (_mean("LFHD", "RFHD", "LBHD", "RBHD"), _mean("FRONTH", "REARH"), _mean("LHED", "RHED"),
                 _mean("LFHD", "RFHD"), _mean("LBHD", "RBHD"), {"HEADC": 1}, _mean("TOPH", "FRONTH")),
    "head": (between("spine_shoulder", "mid_head", 0.87), between("spine_shoulder", "TOPH", 0.75)),
    "neck": (between("spine_shoulder", "head", 0.4),),
}  # fmt: skip


def identify(label: str) -> str | None:
    """The point that a label names, if it is known: ``LKNE`` for ``L.Knee``, ``l_knee_study`` and ``Ann:LKNE``."""
    text = label.rsplit(":", 1)[-1]
    words = [word.upper() for word in _WORDS.findall(text)]
    words = [word for word in words if word not in _ADDED] if len(words) > 1 else words
    key = "".join(words)
    sides = [place for place, word in enumerate(words) if word in _SIDES]
    if len(sides) == 1:  # a word of its own: L.Knee, hip_r, WaistLFront
        point = _SIDED.get("".join(words[: sides[0]] + words[sides[0] + 1 :]))
        if point:
            return _SIDES[words[sides[0]]] + point
    for side in ("LEFT", "RIGHT", "L", "R"):
        if key.startswith(side) and key[len(side) :] in _SIDED:
            return side[0] + _SIDED[key[len(side) :]]
        if key.endswith(side) and key[: -len(side)] in _SIDED:
            return side[0] + _SIDED[key[: -len(side)]]
    return _CENTRAL.get(key)


def find_points(labels: Sequence[str], positions: NDArray[np.float64]) -> tuple[Points, dict[str, str]]:
    """Points [T, 3] that the labels of markers [T, N, 3] name, and these labels; what is exactly zero was not seen."""
    points: Points = {}
    used: dict[str, str] = {}
    for place, label in enumerate(labels):
        point = identify(label)
        if point is None:
            continue
        if used.get(point) == label and point[1:] in _OTHER_SIDE:
            point = point[0] + _OTHER_SIDE[point[1:]]
        if point not in points and np.isfinite(positions[:, place]).any():
            zero = (positions[:, place] == 0).all(-1, keepdims=True)
            points[point] = np.where(zero, np.nan, positions[:, place])
            used[point] = label
    return points, used


def is_marker_set(points: Points) -> bool:
    """Whether these points are on skin and bone, and no joints: the spines of the pelvis, or neck and chest."""
    found = set(points)
    return {"LASI", "RASI"} <= found or ({"LSHO", "RSHO"} <= found and bool({"C7", "CLAV", "STRN", "T10"} & found))


def place_joints(points: Points) -> tuple[Points, dict[str, list[str]]]:
    """Joints of the model, [T, 3] each, as far as they can be found, and the points that each is made of."""
    known = dict(points)
    of = {point: [point] for point in points}
    for side, other in ("LR", "RL"):
        hip = _bell(points, side, other)
        if hip is not None:
            known[f"{side}BELL"] = hip
            of[f"{side}BELL"] = [point for point in ("LASI", "RASI", "LPSI", "RPSI", "SACR") if point in points]
    joints: Points = {}
    sides = ((_SIDE_JOINTS, "L", "R", "left"), (_SIDE_JOINTS, "R", "L", "right"), (_TRUNK, "", "", ""))
    for table, own, opposite, side in sides:
        for joint, ways in table.items():
            name = joint.format(s=side)
            for way in ways:
                weights = {point.format(S=own, O=opposite, s=side): weight for point, weight in way.items()}
                if set(weights) <= set(known):
                    known[name] = joints[name] = sum(
                        (weight * known[point] for point, weight in weights.items()), np.zeros(3)
                    )
                    of[name] = list(dict.fromkeys(base for point in weights for base in of[point]))
                    break
    names = [joint for joint in joints if not joint.startswith("mid_")]
    return {joint: joints[joint] for joint in names}, {joint: of[joint] for joint in names}


def is_body(joints: Points) -> bool:
    """Whether joints are enough of a body: both legs to the knees, or both arms to the elbows."""
    return any({f"{a}_left", f"{a}_right", f"{b}_left", f"{b}_right"} <= set(joints)
               for a, b in (("hip", "knee"), ("shoulder", "elbow")))  # fmt: skip


def _bell(points: Points, side: str, other: str) -> NDArray[np.float64] | None:
    """Centre of a hip, [T, 3], from the front spines of the pelvis and its back, ``None`` where these are not there."""
    back = [points[name] for name in ("LPSI", "RPSI") if name in points]
    if len(back) != 2:
        back = [points["SACR"]] if "SACR" in points else []
    if not back or not {"LASI", "RASI"} <= set(points):
        return None
    front = (points["LASI"] + points["RASI"]) / 2
    across = points[f"{other}ASI"] - points[f"{side}ASI"]  # inward
    behind = sum(back, np.zeros(3)) / len(back) - front
    width = np.linalg.norm(across, axis=-1, keepdims=True)
    with np.errstate(all="ignore"):
        inward = across / width
        behind -= inward * np.einsum("tc,tc->t", behind, inward)[:, None]
        behind /= np.linalg.norm(behind, axis=-1, keepdims=True)
        down = np.cross(inward, behind) if side == "L" else np.cross(behind, inward)
    return points[f"{side}ASI"] + width * (0.14 * inward + 0.19 * behind + 0.3 * down)
